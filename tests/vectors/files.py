"""Where the known answers are, and what is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DATA = HERE.parent / "data"
PACKETS = DATA / "packets.json"
MESSAGES = DATA / "messages.json"


def read(path: Path) -> dict[str, Any]:
    """Read a file of known answers."""
    content: dict[str, Any] = json.loads(path.read_text("ascii"))
    return content
