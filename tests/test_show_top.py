"""What ``snickers top`` shows of two answers, of this version and of others."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.control.show import Style
from snickers.control.show_top import busy, top

ODD = st.sampled_from([None, True, -1, 1.5, 1e308, float("nan"), "a\x1b[2J\n", [], [1], {}])
KEYS = ("site", "state", "since", "requests", "connections", "waiting", "detail", "pid")


def answer(pid: int = 7, **requests: int) -> dict[str, Any]:
    """The status of a Snickers whose sites have had so many *requests*."""
    sites = [{"site": name, "state": "asleep", "requests": n} for name, n in requests.items()]
    return {"version": "1", "pid": pid, "since": 900.0, "sites": sites}


class BusyTests(SynchronousTestCase):
    def test_rate(self) -> None:
        """Requests a second since the look before, the busiest first."""
        found = busy(answer(a=5, b=30), answer(a=5, b=10), 2.0)
        self.assertEqual([(one.site, one.rate) for one in found], [("b", 10.0), ("a", 0.0)])
        self.assertEqual(found[0].entry()["requests_per_second"], 10.0)

    def test_no_rate(self) -> None:
        """At the first look, of a new site, and of another process nothing is known yet."""
        for before in (None, answer(), answer(6, a=1), answer(a=9)):
            self.assertEqual([one.rate for one in busy(answer(a=5), before, 2.0)], [0.0])
        self.assertEqual(busy(answer(a=5), answer(a=1), 0.0)[0].rate, 0.0)

    def test_order(self) -> None:
        """Of those that get no requests: who is waited for, who is connected, who is awake."""
        new = answer(a=0, b=0, c=0, d=0)
        new["sites"][1]["state"] = "awake"
        new["sites"][2]["connections"] = 2
        new["sites"][3]["waiting"] = 1
        self.assertEqual([one.site for one in busy(new, None, 1.0)], ["d", "c", "b", "a"])


class TopTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """A line about Snickers, the sums, a line a site."""
        new = answer(a=5, b=30)
        new["sites"][1].update(state="awake", since=940.0, connections=3, waiting=1)
        new["alarms"] = [{"message": "x"}]
        self.assertEqual(
            top(new, busy(new, answer(a=5, b=10), 2.0), 1000.0),
            [
                "Snickers 1, pid 7, up 100s",
                "10.0 requests/s, 3 connections, 1 server awake of 2 sites, "
                "1 alarm (snickers status)",
                "",
                "SITE  STATE   SINCE  REQ/S  REQUESTS  CONNECTIONS  WAITING  DETAIL",
                "b     awake     60s   10.0        30            3        1",
                "a     asleep      -      -         5            0        0",
            ],
        )

    def test_height(self) -> None:
        """No more lines than the window has, the last of which the cursor needs."""
        new = answer(**{f"s{n:02}": n for n in range(40)})
        lines = top(new, busy(new, None, 1.0), 1000.0, 12)
        self.assertEqual((len(lines), lines[-1]), (11, "and 34 quieter sites"))
        self.assertEqual(len(top(new, busy(new, None, 1.0), 1000.0, 46)), 44)

    def test_no_answer(self) -> None:
        """A Snickers that does not answer is said to do so."""
        self.assertEqual(len(top({}, [], 1000.0)), 1)

    @given(st.dictionaries(st.sampled_from((*KEYS, "sites", "alarms")), ODD), ODD, ODD)
    def test_odd(self, new: dict[str, Any], one: Any, other: Any) -> None:
        """No answer makes it fail, and nothing of one gets to the terminal."""
        entry = dict.fromkeys(KEYS, one)
        new.setdefault("sites", [entry, other, {**entry, "site": "b", "requests": 3}])
        for line in top(new, busy(new, {**new, "pid": other}, 1.0), 1000.0, 9, Style()):
            self.assertNotIn("\x1b", line)
            self.assertNotIn("\n", line)
