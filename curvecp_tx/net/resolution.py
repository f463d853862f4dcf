"""Host names to addresses, the way the reactor does it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred, FirstError, gatherResults, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from twisted.python.failure import Failure
from zope.interface import implementer


def resolve_hosts(reactor: Any, hosts: Iterable[str]) -> Deferred[list[str]]:
    """Turn hosts, addresses or names, into addresses, in the same order.

    :param reactor: provides ``IReactorPluggableNameResolver`` if there are names.
    :return: fires with one address or more, or fails with ``DNSLookupError``.
    """
    gathered = gatherResults(
        [_resolve(reactor, host) for host in hosts], consumeErrors=True
    )
    # Not the list itself: once it has fired, cancelling it does nothing, not even
    # to what its callbacks wait for.
    found: Deferred[list[str]] = Deferred(lambda _: gathered.cancel())
    gathered.addCallbacks(_flatten, _first_failure).chainDeferred(found)
    return found


def _flatten(lists: Sequence[list[str]]) -> list[str]:
    return [address for addresses in lists for address in addresses]


def _first_failure(reason: Failure) -> Failure:
    error: Any = reason.value
    return error.subFailure if isinstance(error, FirstError) else reason


def _resolve(reactor: Any, host: str) -> Deferred[list[str]]:
    try:
        ip_address(host)
    except ValueError:
        receiver = _Collector(host)
        reactor.nameResolver.resolveHostName(receiver, host)
        return receiver.done
    return succeed([host])


@implementer(IResolutionReceiver)
class _Collector:
    """Collects the addresses of one name."""

    def __init__(self, host: str) -> None:
        self.done: Deferred[list[str]] = Deferred()
        self._host = host
        self._addresses: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Nothing: addresses will come."""

    def addressResolved(self, address: IAddress) -> None:
        """Take an address."""
        host: str = address.host  # type: ignore[attr-defined]
        if host not in self._addresses:
            self._addresses.append(host)

    def resolutionComplete(self) -> None:
        """Give what was found."""
        if self._addresses:
            self.done.callback(self._addresses)
        else:
            self.done.errback(DNSLookupError(f"no address for {self._host}"))
