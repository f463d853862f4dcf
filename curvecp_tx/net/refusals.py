"""Tells the administrator which limit keeps clients out."""

from __future__ import annotations

from operator import attrgetter

from curvecp_tx.net.report import Report
from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.counters import Counters

_TEXTS = {
    "refused_limit": (
        "the limit of {limits.clients} clients is reached; new ones are refused "
        "(--clients sets it)"
    ),
    "refused_per_ip": (
        "an address has {limits.per_ip} clients; more from there are refused "
        "(--max-per-ip sets the limit)"
    ),
    "refused_per_key": (
        "a key has as many clients as it may; more are refused (--max-per-key and "
        "max= among the authorized keys set the limit)"
    ),
    "refused_hello_rate": (
        "an address sends more than {limits.hello_rate:g} Hellos a second; some get no "
        "answer (--hello-rate sets the limit)"
    ),
    "refused_hello_total": (
        "more Hellos come than can be answered; some get none (no option sets this "
        "limit)"
    ),
    "refused_initiate_rate": (
        "an address sends more than {limits.hello_rate:g} Initiates a second; some get "
        "no answer (--hello-rate sets the limit)"
    ),
    "refused_start_rate": (
        "more clients come than may be started in a second; some have to wait "
        "(--start-rate sets the limit)"
    ),
    "refused_unauthorized": (
        "a client was refused whose key is not authorized (--authorized-keys names "
        "the list)"
    ),
}
"""What is said where a counter has grown."""

_counts = attrgetter(*_TEXTS)


class Refusals:
    """Says in the log that clients are refused: of each kind, once a minute."""

    def __init__(self, report: Report, counters: Counters) -> None:
        self._report = report
        self._counters = counters
        self._seen = _counts(counters)

    def look(self, limits: Limits) -> None:
        """Say what is new since the last look."""
        counts = _counts(self._counters)
        if counts == self._seen:
            return
        for name, count, before in zip(_TEXTS, counts, self._seen, strict=True):
            if count != before:
                self._report.error_sometimes(name, _TEXTS[name], limits=limits)
        self._seen = counts
