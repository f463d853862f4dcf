"""The rule against floods: nobody is sent much who has not asked for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from curvecp_tx.secure.paths import AMPLIFICATION_LIMIT
from tests.model.judge import Judge


@dataclass(slots=True)
class Account:
    """What a port has to do with one host."""

    came: int = 0
    went: int = 0
    reached: bool = False


class Accounts:
    """One port's traffic with each host, in bytes.

    A host can prove that it receives only after something has reached it. Before
    that, a port may send it three times what came in its name.

    :param sought: hosts that the port's owner has chosen to talk to.
    """

    def __init__(self, judge: Judge, sought: Iterable[str] = ()) -> None:
        self._judge = judge
        self._sought = frozenset(sought)
        self._accounts: dict[str, Account] = {}

    def received(self, host: str, size: int) -> None:
        """Note what came in a host's name."""
        self._with(host).came += size

    def sent(self, host: str, size: int) -> None:
        """Note what leaves for a host; here the rule is checked."""
        account = self._with(host)
        account.went += size
        if not (account.reached or host in self._sought):
            self._judge.demand(
                account.went <= AMPLIFICATION_LIMIT * account.came,
                f"{host} gets {account.went} bytes for {account.came}",
            )

    def reached(self, host: str) -> None:
        """Note that something has reached a host."""
        self._with(host).reached = True

    def _with(self, host: str) -> Account:
        return self._accounts.setdefault(host, Account())
