"""What a descriptor of a process says."""

from __future__ import annotations

import os
import signal
import subprocess

from twisted.trial.unittest import SynchronousTestCase

from snickers.pidfd import has_ended


class HasEndedTests(SynchronousTestCase):
    """`has_ended`, with real processes."""

    def test_life(self) -> None:
        """One that runs, or is stopped, has not; one that has ended has, waited for or not."""
        process = subprocess.Popen(["sleep", "60"])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        descriptor = os.pidfd_open(process.pid)
        self.addCleanup(os.close, descriptor)
        self.assertFalse(has_ended(descriptor))
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        self.assertFalse(has_ended(descriptor))
        process.kill()
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOWAIT)
        self.assertTrue(has_ended(descriptor))
        process.wait()
        self.assertTrue(has_ended(descriptor))
