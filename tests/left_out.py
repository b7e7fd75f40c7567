"""The reporter of ``./test``: trial's own tree, then plainly what was left out and how it went.

It must never let a run without tests pass for a success, nor hide that a test did not run.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from twisted.internet import reactor
from twisted.trial.reporter import TreeReporter


def left_out(skips: Iterable[tuple[str, str]]) -> list[str]:
    """Return lines that say, for each reason, how many tests of which modules it left out.

    *skips* are pairs of a test's id and the reason.
    """
    reasons: Mapping[str, Counter[str]] = defaultdict(Counter)
    for test, reason in skips:
        reasons[reason][".".join(test.split(".")[:2])] += 1
    lines = []
    for reason, modules in sorted(reasons.items()):
        lines.append(f"  {reason}")
        lines += [f"    {module}: {count}" for module, count in sorted(modules.items())]
    return ["Left out:", *lines] if lines else ["Nothing was left out."]


class PlainReporter(TreeReporter):
    """Ends with ``N passed, N failed, N skipped`` on a line of its own, always the last."""

    def wasSuccessful(self) -> bool:
        """Whether tests ran, none failed, and none was left out that must not be."""
        if not self.testsRun or (self.skips and os.environ.get("SNICKERS_REQUIRE_ALL")):
            return False
        return super().wasSuccessful()

    def done(self) -> None:
        super().done()
        failed = len(self.failures) + len(self.errors) + len(self.unexpectedSuccesses)
        passed = self.successes + len(self.expectedFailures)
        lines = left_out((test.id(), str(reason)) for test, reason in self.skips)
        if not self.testsRun:
            lines.append("No test ran.")
            # In several processes trial ends its reactor, which does not run yet, and then runs it.
            reactor.callWhenRunning(reactor.stop)
        elif not failed and not self.wasSuccessful():
            lines.append("Failed, because nothing may be left out here.")
        for line in ["", *lines, f"{passed} passed, {failed} failed, {len(self.skips)} skipped"]:
            self._stream.write(line + "\n")
        self._stream.flush()
