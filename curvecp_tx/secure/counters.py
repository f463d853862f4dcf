"""What happened, as plain integers with the reason in the name."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Counters:
    """Counts of one listener or dialer since it began.

    ``dropped_…`` counts datagrams that were thrown away in silence; ``refused_…``
    counts well-formed requests that were not granted; ``lost_…`` counts messages
    or datagrams that could not be passed on, for the peer to send again.
    """

    datagrams_received: int = 0
    datagrams_sent: int = 0
    messages_received: int = 0
    messages_sent: int = 0
    hellos: int = 0
    cookies: int = 0
    initiates: int = 0
    connections: int = 0
    path_changes: int = 0

    dropped_bad_size: int = 0
    dropped_bad_magic: int = 0
    dropped_bad_source: int = 0
    dropped_wrong_extension: int = 0
    dropped_low_order_key: int = 0
    dropped_bad_hello: int = 0
    dropped_no_nonce: int = 0
    dropped_bad_cookie: int = 0
    dropped_used_key: int = 0
    dropped_bad_initiate: int = 0
    dropped_wrong_name: int = 0
    dropped_bad_vouch: int = 0
    dropped_unknown_connection: int = 0
    dropped_replay: int = 0
    dropped_bad_box: int = 0
    dropped_unexpected: int = 0

    refused_hello_rate: int = 0
    refused_hello_total: int = 0
    refused_initiate_rate: int = 0
    refused_start_rate: int = 0
    refused_limit: int = 0
    refused_per_ip: int = 0
    refused_per_key: int = 0
    refused_unauthorized: int = 0
    refused_policy: int = 0
    refused_handler: int = 0
    refused_draining: int = 0

    ended_idle: int = 0

    lost_unvalidated_path: int = 0
    lost_handler_full: int = 0
    lost_waiting_full: int = 0
    lost_receive_error: int = 0
    lost_send_error: int = 0

    def count(self, name: str) -> None:
        """Count one of what has this name."""
        setattr(self, name, getattr(self, name) + 1)

    def as_dict(self) -> dict[str, int]:
        """Give all counts by name."""
        return asdict(self)
