"""How a state machine is played in a test, and its failure told."""

from __future__ import annotations

import os

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

SEARCHING = os.environ.get("HYPOTHESIS_PROFILE") == "search"

SETTINGS = settings(
    max_examples=2000 if SEARCHING else 300,
    stateful_step_count=100 if SEARCHING else 50,
)
"""How often, and for how many events."""

RUNS = f"{SETTINGS.max_examples} runs of {SETTINGS.stateful_step_count} events"
"""The same in words."""


def play(machine: type[RuleBasedStateMachine]) -> None:
    """Let Hypothesis play a machine.

    :raises AssertionError: with the shortest story that breaks a rule.
    """
    try:
        run_state_machine_as_test(machine, settings=SETTINGS)
    except AssertionError as error:
        # Hypothesis tells the story in notes, which trial does not print.
        notes = getattr(error, "__notes__", [])
        raise AssertionError("\n".join((str(error), *notes))) from error
