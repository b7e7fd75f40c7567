"""The tests: one module for each module of the source."""

from hypothesis import HealthCheck, settings
from twisted.trial.unittest import SynchronousTestCase

from tests.blocked import bound

# How long examples take says more of the machine, and of what else it does, than of the tests.
settings.register_profile(
    "snickers", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("snickers")

bound(SynchronousTestCase)
