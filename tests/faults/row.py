"""One case of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One case.

    :ivar name: a letter for the section, and a number.
    :ivar priority: 0 if a release must not fail it, 1 if a stable one must not.
    :ivar case: what happens.
    :ivar rule: what must hold then.
    :ivar reference: what the reference was measured to do before.
    :ivar needs: what a machine must have for all of the row's tests to run.
    """

    name: str
    priority: int
    case: str
    rule: str
    reference: str | None = None
    needs: str | None = None

    @property
    def section(self) -> str:
        """The section's letter."""
        return self.name[0]


ROOT = "root, for network namespaces"
PEER = "the reference's tools"
