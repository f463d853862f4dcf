"""What must hold under faults and attack: a row for each case, with its rule.

Which tests hold a row stands in :mod:`tests.faults.holders`. Cases that only runs of
hours or weeks can tell about are not here.
"""

from __future__ import annotations

from tests.faults import rows_hostile, rows_network, rows_system

SECTIONS = {
    "A": "Handshake",
    "B": "Streams, loss and changes of path",
    "C": "Hostile packets",
    "D": "Exhaustion of resources",
    "E": "Processes and the operating system",
    "F": "Keys, configuration, nonces",
    "G": "Generated tests, and care with secrets",
}

ROWS = rows_network.ROWS + rows_hostile.ROWS + rows_system.ROWS
