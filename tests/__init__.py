"""The tests: one module for each module of the source.

``SNICKERS_EXAMPLES``: the most examples that a test of Hypothesis's may try, for runs that look at
something else, as that with the lowest dependencies does.
"""

import os
from typing import Any

from hypothesis import HealthCheck, settings
from twisted.trial.unittest import SynchronousTestCase

from tests.blocked import bound

# How long examples take says more of the machine, and of what else it does, than of the tests.
settings.register_profile(
    "snickers", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("snickers")

most = int(os.environ.get("SNICKERS_EXAMPLES", "0"))
if most:
    _make = settings.__init__

    def _fewer(self: settings, *parent: Any, **said: Any) -> None:
        """Tests say for themselves how many examples they try: no profile changes that."""
        if isinstance(said.get("max_examples"), int):
            said["max_examples"] = min(said["max_examples"], most)
        _make(self, *parent, **said)

    settings.__init__ = _fewer  # type: ignore[method-assign]
    settings.register_profile("snickers", settings.get_profile("snickers"), max_examples=most)
    settings.load_profile("snickers")

bound(SynchronousTestCase)
