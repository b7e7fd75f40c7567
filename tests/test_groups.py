"""The processor time of control groups, of both versions."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import groups


class MetersTests(SynchronousTestCase):
    """`meters`."""

    def test_first_version(self) -> None:
        """The group of the controller counts, under whichever name it is mounted."""
        listed = "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/docker/abc\n"
        self.assertEqual(
            groups.meters(listed, "/m"),
            [
                "/m/cpu,cpuacct/docker/abc/cpuacct.usage",
                "/m/cpuacct/docker/abc/cpuacct.usage",
                "/m/docker/abc/cpu.stat",
            ],
        )

    def test_second_version(self) -> None:
        """There is one group for all."""
        listed = "0::/system.slice/docker-abc.scope\n"
        self.assertEqual(groups.meters(listed, "/m"), ["/m/system.slice/docker-abc.scope/cpu.stat"])

    def test_root(self) -> None:
        """The group of everybody is the group of nobody."""
        self.assertEqual(groups.meters("2:cpuacct:/\n0::/\n"), [])

    @settings(derandomize=True, deadline=None)
    @given(st.text(alphabet="0:/,cpuat\n", max_size=60))
    def test_anything(self, listed: str) -> None:
        """Whatever is listed, what is looked at is one of two files below where groups are."""
        for path in groups.meters(listed, "/m"):
            self.assertTrue(path.startswith("/m/"))
            self.assertIn(os.path.basename(path), ("cpuacct.usage", "cpu.stat"))


class UsedTests(SynchronousTestCase):
    """`used` and `groups_of`."""

    def said(self, text: str) -> float | None:
        path = self.mktemp()
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return groups.used(path)

    def test_units(self) -> None:
        """Version 1 says nanoseconds, version 2 microseconds among other lines."""
        self.assertEqual(self.said("2500000000\n"), 2.5)
        self.assertEqual(self.said("usage_usec 2500000\nuser_usec 9\n"), 2.5)

    def test_nothing(self) -> None:
        """What says nothing, or is not there, is not known."""
        for text in ("", "user_usec 9\n", "usage_usec x\n"):
            self.assertIsNone(self.said(text))
        self.assertIsNone(groups.used("/no/such/file"))

    def test_of(self) -> None:
        """The groups of a process are the kernel's words; one that is gone has none."""
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            self.assertEqual(groups.groups_of(os.getpid()), file.read())
        self.assertEqual(groups.groups_of(0, self.mktemp()), "")
