"""The test suite: ``trial tests``.

Hypothesis draws the same examples in every run, so that a failure is a failure
for everybody; set ``HYPOTHESIS_PROFILE=search`` to look for new ones.

The reactor counts on the monotonic clock: the time-outs of tests are for tests that
hang, not for virtual machines whose wall clock is set forward.
"""

import os

from hypothesis import HealthCheck, settings
from twisted.internet import reactor

from curvecp_tx.net.clock import make_monotonic

settings.register_profile(
    "suite",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

make_monotonic(reactor)
