"""The test suite: ``trial tests``.

Hypothesis draws the same examples in every run, so that a failure is a failure
for everybody; set ``HYPOTHESIS_PROFILE=search`` to look for new ones.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "suite",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
