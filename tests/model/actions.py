"""What applications may do, as values that Hypothesis can make up and print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hypothesis import strategies as st

from tests.model.judge import Mischief

if TYPE_CHECKING:
    from tests.model.applications import Application


class Action(Protocol):
    """Something that an application does."""

    def __call__(self, application: Application) -> None: ...


@dataclass(frozen=True)
class Write:
    """Write some bytes."""

    size: int

    def __call__(self, application: Application) -> None:
        """Do it."""
        application.write(self.size)


@dataclass(frozen=True)
class HalfClose:
    """End one's own stream."""

    def __call__(self, application: Application) -> None:
        """Do it."""
        application.half_close()


@dataclass(frozen=True)
class Close:
    """Close the connection."""

    def __call__(self, application: Application) -> None:
        """Do it."""
        application.close()


@dataclass(frozen=True)
class Abort:
    """Break the connection off."""

    def __call__(self, application: Application) -> None:
        """Do it."""
        application.abort()


@dataclass(frozen=True)
class Pause:
    """Take nothing for now."""

    def __call__(self, application: Application) -> None:
        """Do it."""
        application.pause()


@dataclass(frozen=True)
class Resume:
    """Take again what comes."""

    def __call__(self, application: Application) -> None:
        """Do it."""
        application.resume()


@dataclass(frozen=True)
class Produce:
    """Register a producer.

    :ivar chunk: bytes that it writes at a time.
    :ivar chunks: how many times, before it unregisters.
    :ivar streaming: whether it writes of its own accord until it is paused;
        otherwise, when it is asked.
    """

    chunk: int
    chunks: int
    streaming: bool

    def __call__(self, application: Application) -> None:
        """Do it."""
        application.produce(self.chunk, self.chunks, self.streaming)


@dataclass(frozen=True)
class Raise:
    """Fail; only for use inside a callback."""

    def __call__(self, application: Application) -> None:
        """Do it."""
        application.fail()
        raise Mischief


CALLBACKS = ("made", "data", "read ended", "write ended", "lost")
"""When an application may have planned to do something."""

SIZES = st.sampled_from(
    (0, 1, 2, 100, 511, 512, 513, 1023, 1024, 1025, 3000, 9000, 30_000)
)
LARGE_SIZES = st.sampled_from((65_535, 65_536, 65_537, 131_072, 131_073, 200_000))

WRITES = st.builds(Write, SIZES)
LARGE_WRITES = st.builds(Write, LARGE_SIZES)
PRODUCING = st.builds(
    Produce,
    chunk=st.sampled_from((1, 100, 1024, 5000, 70_000)),
    chunks=st.integers(0, 4),
    streaming=st.booleans(),
)
FLOW = st.sampled_from((Pause(), Resume()))
ENDINGS = st.sampled_from((HalfClose(), Close()))

ACTIONS = st.one_of(WRITES, FLOW, PRODUCING, ENDINGS, st.just(Abort()))
PLANNED = st.one_of(ACTIONS, st.just(Raise()))
