"""What ``snickers teams`` shows of an answer, of this version and of others."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.control.show import Style
from snickers.control.show_teams import teams, would

BLUE = {
    "id": 1,
    "team": "blue",
    "pid": 100,
    "since": 1000.0,
    "live_since": 1000.0,
    "version": "0.1.0",
    "open": 3,
    "answers": 5000,
    "errors": 2,
}
RED = {**BLUE, "id": 2, "team": "red", "pid": 200, "since": 8000.0, "live_since": 8100.0}
RED |= {"version": "0.2.0", "open": 9, "answers": 70, "errors": 0}
FOLDERS = {"blue": "0.1.0 (abc) /srv/blue", "red": "0.2.0 (def) /srv/red"}
TRIAL = {
    "stage": "trial",
    "words": "red serves, on trial; blue stands by",
    "live": RED,
    "other": BLUE,
    "ending": [],
    "commits_in": 600.0,
}
ODD = st.sampled_from(
    [
        *(None, True, -1, 1.5, 1e300, "serving", "trial", "proving", "x\x1b[2J", [], [1], {}),
        *(BLUE, [BLUE, 1], {"team": "blue"}, {"team": 3}, {"team": "red", "since": "x"}),
        [{"team": "red", "finishing_since": 1, "ends_by": 1e300}],
        *({"team": "red", "pid": [], "open": {}}, [{"message": "a\nb"}, "c\x00"]),
    ]
)
KEYS = ("stage", "words", "live", "other", "ending", "commits_in", "taken_back", "alarms", "deploy")


class TeamsTests(SynchronousTestCase):
    def test_trial(self) -> None:
        """Both teams, and what commit and rollback would do."""
        self.assertEqual(
            teams(TRIAL, FOLDERS, 8400.0),
            [
                "red serves, on trial; blue stands by",
                "",
                "TEAM  STATE      SINCE  PID  RUNS   OPEN  ANSWERS  ERRORS  FOLDER HAS",
                "blue  stands by     2h  100  0.1.0     3     5000       2  0.1.0 (abc) /srv/blue",
                "red   live          5m  200  0.2.0     9       70       0  0.2.0 (def) /srv/red",
                "",
                "commit: red stays; blue finishes what it has open, and ends",
                "rollback: blue takes over again; red finishes what it has open, and ends",
                "without alarms it is committed by itself in 10m",
            ],
        )

    def test_serving(self) -> None:
        """One team serves: what a switch would do with the other."""
        answer = {**TRIAL, "stage": "serving", "live": BLUE, "other": None, "commits_in": None}
        self.assertEqual(
            would(answer, FOLDERS),
            [
                "switch: starts red (0.2.0 (def) /srv/red) to stand by, has it prove itself, and "
                "then take over; blue stands by until commit or rollback"
            ],
        )
        rows = teams(answer, FOLDERS, 8400.0)
        self.assertTrue(rows[4].startswith("red   -  "), rows)

    def test_ending(self) -> None:
        """Who still finishes what is open has a line of its own."""
        answer = {**TRIAL, "stage": "serving", "other": None, "ending": [BLUE]}
        self.assertIn("blue  ends ", teams(answer, FOLDERS, 8400.0)[3])

    def test_finishing(self) -> None:
        """Who was committed away and finishes what is open: since when, how much, until when."""
        one = {**BLUE, "finishing_since": 8000.0, "hurried": False, "ends_by": 94400.0}
        answer = {**TRIAL, "stage": "serving", "other": None, "ending": [one]}
        told = teams(answer, FOLDERS, 8400.0)
        self.assertIn("blue  finishes     7m", told[3])
        self.assertEqual(
            told[6],
            "blue: process 100 has finished what is open for 7m; 3 connections, for 24h at the "
            "most, or until the next start or deploy of that team",
        )
        one |= {"hurried": True, "ends_by": 8490.0, "open": 1}
        told = teams(answer, FOLDERS, 8400.0)
        self.assertIn("blue  ends ", told[3])
        self.assertEqual(told[6], "blue: process 100 ends; 1 connection, for 90s at the most")

    def test_proving(self) -> None:
        """A switch under way can be given up."""
        answer = {**TRIAL, "stage": "proving", "live": BLUE, "other": RED}
        self.assertEqual(
            would(answer, FOLDERS), ["rollback: red ends before it has taken over; blue goes on"]
        )
        self.assertIn("proves itself", teams(answer, FOLDERS, 8400.0)[4])

    def test_down(self) -> None:
        """While no team can be started a person is told what can be asked for."""
        self.assertEqual(
            would({"stage": "down", "good": "blue"}, {"blue": "1.0", "red": "2.0"}),
            ["restart: starts blue (1.0) at once", "switch: starts red (2.0) instead"],
        )
        self.assertEqual(
            would({"stage": "opening", "good": "blue"}, FOLDERS),
            ["nothing can be asked for right now"],
        )

    def test_last_deploy(self) -> None:
        """The last deployment and its end; one that has none goes on, or was killed."""
        deploy = {"team": "red", "source": "v2", "began": 8000.0, "ended": 8200.0, "failed": True}
        deploy["words"] = "check: no"
        told = teams({**TRIAL, "deploy": deploy}, FOLDERS, 8400.0)
        self.assertEqual(told[-1], "last deploy: red of v2, failed 3m ago: check: no")
        done = {**deploy, "source": "", "failed": False, "words": "red serves 2.0 and stays"}
        told = teams({**TRIAL, "deploy": done}, FOLDERS, 8400.0)
        self.assertEqual(told[-1], "last deploy: red, done 3m ago: red serves 2.0 and stays")
        told = teams({**TRIAL, "deploy": {**deploy, "ended": None}}, FOLDERS, 8400.0)
        words = "last deploy: red of v2, began 7m ago and has not ended: it goes on, or was killed"
        self.assertEqual(told[-1], words)

    def test_taken_back(self) -> None:
        """Why a newcomer was taken back stays to be read, and so do alarms."""
        alarms = [{"kind": "team ended", "site": "", "message": "blue \x1b ended"}]
        said = teams(
            {**TRIAL, "taken_back": "red erred", "alarms": alarms},
            FOLDERS,
            8400.0,
            Style(colour=True),
        )
        self.assertIn("\x1b[31mtaken back: red erred\x1b[0m", said)
        self.assertEqual(said[-1], "  team ended: blue \\x1b ended")

    @given(st.dictionaries(st.sampled_from(KEYS), ODD))
    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
    def test_any_answer(self, answer: dict[str, Any]) -> None:
        """An answer of any version is shown, without control characters."""
        for line in teams(answer, FOLDERS, 0.0):
            self.assertTrue(line.isprintable(), line)
