"""How programs are started: as the reactor does it, in less time.

``spawnProcess`` looks at each of our descriptors, to know which ones a program must
not inherit, and at each signal. With a few hundred pipes that takes several times as
long as the start itself. The system can close descriptors by number, and takes the
signals as they come. All else is left to Twisted, and so is whatever is out of the
ordinary.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import (
    IProcessProtocol,
    IProcessTransport,
    IReactorProcess,
)
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.process import Process

from curvecp_tx.net.libc_spawn import CLOSE_FROM, find_spawn

DEFAULT_SIGNALS = tuple(
    int(number) for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
)
"""What a program finds as it is by default, whatever we do with it. The two that are
left out cannot be anything else."""


def start_program(
    reactor: IReactorProcess,
    protocol: IProcessProtocol,
    executable: bytes,
    arguments: Sequence[bytes],
    environment: Mapping[bytes, bytes],
    directory: str | None,
    descriptors: Mapping[int, int | str],
) -> IProcessTransport:
    """Do what the reactor's ``spawnProcess`` does.

    A reactor that has one of its own, as those for tests have, is asked for it.

    :param descriptors: ``childFDs``.
    :raises OSError: if the program does not start.
    """
    theirs: Any = reactor.spawnProcess
    if getattr(theirs, "__func__", None) is not PosixReactorBase.spawnProcess:
        process: IProcessTransport = theirs(
            protocol,
            executable,
            arguments,
            environment,
            directory,
            childFDs=descriptors,
        )
        return process
    return QuickProcess(
        reactor,
        executable,
        arguments,
        environment,
        directory,
        protocol,
        childFDs=descriptors,
    )


def file_actions(descriptors: Mapping[int, int]) -> list[tuple[int, ...]] | None:
    """Tell how a program gets these descriptors, and no others.

    :param descriptors: for each number in the program, which of ours it is.
    :return: ``None`` if copies to some would destroy others.
    """
    if any(
        ours != theirs and ours in descriptors for theirs, ours in descriptors.items()
    ):
        return None
    # A copy is open in the program, be it one onto itself.
    actions: list[tuple[int, ...]] = [
        (os.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in descriptors.items()
    ]
    end = max(descriptors, default=-1) + 1
    between = [number for number in range(end) if number not in descriptors]
    actions += [(os.POSIX_SPAWN_CLOSE, number) for number in between]
    return [*actions, (CLOSE_FROM, end)]


class QuickProcess(Process):
    """A process that is started in less time.

    It replaces a step that is private to Twisted. Should that have another name one
    day, then nobody calls ours, and programs start as they would without us.
    """

    def _trySpawnInsteadOfFork(
        self,
        path: str | None,
        uid: int | None,
        gid: int | None,
        executable: bytes,
        args: Sequence[bytes],
        environment: Mapping[bytes, bytes],
        kwargs: Mapping[str, Any],
    ) -> bool:
        fdmap = kwargs.get("fdmap")
        if fdmap and path is None and uid is None and gid is None:
            # What fails has its reason; the ordinary way knows how to tell it.
            with suppress(OSError, ValueError):
                if self._spawn(executable, args, environment, fdmap):
                    return True
        ordinary: Any = super()._trySpawnInsteadOfFork
        started: bool = ordinary(path, uid, gid, executable, args, environment, kwargs)
        return started

    def _spawn(
        self,
        executable: bytes,
        arguments: Sequence[bytes],
        environment: Mapping[bytes, bytes],
        descriptors: Mapping[int, int],
    ) -> bool:
        """Start it; tell whether this is possible at all."""
        spawn, actions = find_spawn(), file_actions(descriptors)
        unwanted = getattr(self._reactor, "_neverUseSpawn", False)
        if spawn is None or actions is None or unwanted:
            return False
        self.pid = spawn(
            executable,
            list(arguments),
            environment,
            file_actions=actions,
            setsigdef=DEFAULT_SIGNALS,
        )
        self.status = -1
        return True
