"""All targets by name."""

from __future__ import annotations

from collections.abc import Callable

from fuzz.datagrams import fuzz_client_datagrams, fuzz_server_datagrams
from fuzz.formats import (
    fuzz_authorized,
    fuzz_frames,
    fuzz_messages,
    fuzz_names,
    fuzz_packets,
)
from fuzz.inside_client import fuzz_inside_client
from fuzz.inside_server import fuzz_inside_server
from fuzz.streams import fuzz_stream

Target = Callable[[bytes], None]

TARGETS: dict[str, Target] = {
    "packets": fuzz_packets,
    "messages": fuzz_messages,
    "frames": fuzz_frames,
    "names": fuzz_names,
    "authorized": fuzz_authorized,
    "server": fuzz_server_datagrams,
    "client": fuzz_client_datagrams,
    "inside-server": fuzz_inside_server,
    "inside-client": fuzz_inside_client,
    "stream": fuzz_stream,
}
