"""Answers as lines for people."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.control import show
from snickers.control.show import Style

PROFILE = settings(derandomize=True, deadline=None, max_examples=300)
COLOURED = Style(colour=True)
NOW = 1_000_000.0

scalars = st.sampled_from(
    [None, True, 0, 3, -1, 10**400, 2.5, float("nan"), float("inf"), "", "text", "a\nb\x1b[2J\x9b"]
)
json_values = scalars | st.lists(scalars, max_size=3)
KEYS = (
    "site",
    "sites",
    "since",
    "state",
    "certificate",
    "certificate_days",
    "alarms",
    "faults",
    "added",
    "changed",
    "removed",
    "settings",
    "options",
    "closes",
    "kind",
)
entries = st.dictionaries(
    st.sampled_from(KEYS), json_values | st.dictionaries(st.sampled_from("ab\r"), json_values)
)
answers = st.dictionaries(st.sampled_from(KEYS), json_values | st.lists(entries, max_size=3))


def status(*sites: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"version": "1.2.3", "pid": 7, "since": NOW - 7200, "sites": list(sites), **more}


class CopyTests(SynchronousTestCase):
    """Copies of a site's own folder."""

    def test_copies(self) -> None:
        """A line for each, with how old and how large it is; what is not known is a dash."""
        answer = {
            "site": "a.example",
            "copies": [
                {"id": "c1", "time": NOW - 7200, "size": 9_960_000, "why": "fell asleep"},
                {"id": "c2\x1b", "time": None, "size": None, "why": "x"},
                {"id": "c3", "time": NOW, "size": 512, "why": ""},
                {"id": "c4", "time": NOW, "size": 2_500_000_000_000, "why": ""},
            ],
        }
        self.assertEqual(
            show.copies(answer, NOW),
            [
                "COPY    AGE  SIZE  WHY",
                "c1       2h   10M  fell asleep",
                "c2\\x1b    -     -  x",
                "c3       0s  512B",
                "c4       0s  2.5T",
            ],
        )

    def test_none(self) -> None:
        """Without any it is said how to make one."""
        self.assertEqual(
            show.copies({"site": "a.example", "copies": []}, NOW),
            ["there is no copy yet; make one with: snickers snapshot a.example"],
        )

    @PROFILE
    @given(answers)
    def test_never_fails(self, answer: dict[str, Any]) -> None:
        """Whatever a later version answers."""
        self.assertNotRegex("".join(show.copies({**answer, "copies": [answer]}, NOW)), "\x1b")


class SmallTests(SynchronousTestCase):
    """Lengths of time, options, columns."""

    def test_span(self) -> None:
        """A length of time has the largest unit of which there are two."""
        for seconds, said in (
            (0, "0s"),
            (-5, "0s"),
            (119.4, "119s"),
            (120, "2m"),
            (5400, "90m"),
            (7200, "2h"),
            (172799, "48h"),
            (172800, "2d"),
            (float("inf"), "never"),
            (float("nan"), "-"),
            (None, "-"),
            ("soon", "-"),
        ):
            self.assertEqual(show.span(seconds), said)

    def test_option(self) -> None:
        """A value is said as it is written in a configuration."""
        for value, said in (
            (None, "(none)"),
            ("", "(none)"),
            ([], "(none)"),
            (True, "on"),
            (False, "off"),
            (1800.0, "1800"),
            (0.25, "0.25"),
            ("never", "never"),
            (["a", "b"], "a b"),
            ({"A": 1, "B": ["x"]}, "A=1 B=x"),
            ([["A", "1"], ["B", "2"]], "A 1 B 2"),
        ):
            self.assertEqual(show.option(value), said)

    def test_clean(self) -> None:
        """Control characters and those that turn the direction of writing are shown."""
        self.assertEqual(show.clean("a\x1b[2J\r\n\x9b\u202eé☃"), "a\\x1b[2J\\r\\n\\x9b\\u202eé☃")

    def test_table(self) -> None:
        """Columns are aligned by what is seen; colours take no room."""
        rows = [["a", "12", "x"], [COLOURED.paint("bbb", "red"), "3", ""]]
        self.assertEqual(
            show.table(rows, right=frozenset({1})),
            ["a    12  x", "\x1b[31mbbb\x1b[0m   3"],
        )

    def test_paint(self) -> None:
        """Without colours, and in no colour, text stays as it is."""
        self.assertEqual(show.PLAIN.paint("x", "red"), "x")
        self.assertEqual(COLOURED.paint("x", ""), "x")
        self.assertEqual(COLOURED.paint("x", "red"), "\x1b[31mx\x1b[0m")


class StatusTests(SynchronousTestCase):
    """The status."""

    def test_line_a_site(self) -> None:
        """Each site has a line of its own under a head; what runs is named as its tools do."""
        answer = status(
            {
                "site": "alice.example",
                "state": "ready",
                "id": "59486dc6596c71045b94",
                "since": NOW - 600,
                "requests": 12041,
                "connections": 3,
                "certificate_days": 63.9,
                "detail": "",
            },
            {"site": "b.example", "state": "serving", "since": None, "requests": 0},
            {"site": "c.example", "kind": "process", "state": "awake", "id": "4711"},
            config="etc/sites.ini",
        )
        self.assertEqual(
            show.status(answer, NOW),
            [
                "Snickers 1.2.3, pid 7, up 2h, etc/sites.ini",
                "",
                "SITE           STATE    RUNS AS       SINCE  REQUESTS  CONNECTIONS  CERTIFICATE"
                "  DETAIL",
                "alice.example  ready    59486dc6596c    10m     12041            3          63d",
                "b.example      serving  -                 -         0            -            -",
                "c.example      awake    pid 4711          -         -            -            -",
            ],
        )

    def test_standing_by(self) -> None:
        """That nobody is let in is the first thing to see."""
        answer = {**status(), "standing_by": True}
        self.assertIn("stands by: nobody is let in", show.status(answer, NOW)[0])

    def test_no_sites(self) -> None:
        """That there is no site is said."""
        self.assertEqual(show.status(status(), NOW)[-1], "no sites")

    def test_alarms_and_faults(self) -> None:
        """What is wrong stands below, in whatever form it came."""
        answer = status(
            alarms=[
                {"site": "a.example", "kind": "certificate", "message": "ends soon\nrenew it"},
                {"site": "", "kind": "configuration", "message": "is empty"},
                "in words",
            ],
            faults=[
                "x.ini:1: [a] port: bad",
                {"file": "x.ini", "line": 2, "section": "b", "option": "to", "message": "bad"},
                {"file": "x.ini", "line": 3, "section": "", "option": "", "message": "bad"},
            ],
        )
        self.assertEqual(
            show.status(answer, NOW)[3:],
            [
                "",
                "alarms:",
                "  a.example: certificate: ends soon",
                "    renew it",
                "  configuration: is empty",
                "  in words",
                "",
                "faults:",
                "  x.ini:1: [a] port: bad",
                "  x.ini:2: [b] to: bad",
                "  x.ini:3: bad",
            ],
        )

    def test_a_fault_that_is_an_alarm(self) -> None:
        """A fault that an alarm tells already is not told again."""
        answer = status(
            alarms=[
                {"kind": "configuration", "site": "a", "message": "x.ini:1: one\nx.ini:2: two"}
            ],
            faults=["x.ini:1: one", "x.ini:2: two", "x.ini:3: three"],
        )
        self.assertEqual(
            show.status(answer, NOW)[-6:],
            [
                "alarms:",
                "  a: configuration: x.ini:1: one",
                "    x.ini:2: two",
                "",
                "faults:",
                "  x.ini:3: three",
            ],
        )
        del answer["faults"][2]
        self.assertNotIn("faults:", show.status(answer, NOW))

    def test_colours(self) -> None:
        """States and certificates that end soon are coloured; a state unknown here is not."""
        lines = show.status(
            status(
                {"site": "a", "state": "ready", "certificate_days": 60},
                {"site": "b", "state": "crashed", "certificate_days": 13.5},
                {"site": "c", "state": "dreaming", "certificate_days": -0.5},
            ),
            NOW,
            COLOURED,
        )
        self.assertIn("\x1b[32mready\x1b[0m", lines[3])
        self.assertIn(" 60d", lines[3])
        self.assertIn("\x1b[31mcrashed\x1b[0m", lines[4])
        self.assertIn("\x1b[33m13d\x1b[0m", lines[4])
        self.assertIn("c     dreaming", lines[5])
        self.assertIn("\x1b[31mexpired\x1b[0m", lines[5])

    def test_detail_is_clean(self) -> None:
        """What a container said cannot steer the terminal."""
        answer = status({"site": "a", "state": "crashed", "detail": "\x1b]0;owned\x07"})
        self.assertIn("\\x1b]0;owned\\x07", show.status(answer, NOW)[-1])

    @PROFILE
    @given(answers)
    def test_any_answer(self, answer: dict[str, Any]) -> None:
        """No answer of another version makes it fail, or brings a control character through."""
        for lines in (
            show.status(answer, NOW),
            show.site(answer, NOW),
            show.difference(answer, True),
            show.difference(answer, False),
        ):
            for line in lines:
                self.assertIsNone(re.search("[\x00-\x1f\x7f-\x9f]", line))


class SiteTests(SynchronousTestCase):
    """One site in detail."""

    def test_last_words(self) -> None:
        """What a failed server wrote last stands below, line by line, and drives no terminal."""
        shown = show.site(
            {"site": "a.example", "state": "crashed", "last_words": "one\ntwo\x1b[2J"}, 0
        )
        self.assertEqual(shown[-2:], ["    one", "    two\\x1b[2J"])

    def test_detail(self) -> None:
        """What is known is a line each, what is not known is left out, what is new comes last."""
        answer = {
            "site": "alice.example",
            "also": ["www.alice.example"],
            "kind": "container",
            "state": "ready",
            "since": NOW - 600,
            "requests": 12,
            "waiting": 0,
            "id": "",
            "certificate": {"source": "files", "names": ["alice.example"], "fault": "unreadable"},
            "certificate_days": 63.9,
            "detail": "",
            "colour": "green",
            "life": {"state": "ready"},
        }
        self.assertEqual(
            show.site(answer, NOW),
            [
                "alice.example",
                "  type         container",
                "  also         www.alice.example",
                "  state        ready",
                "  since        10m ago",
                "  requests     12",
                "  waiting      0",
                "  certificate  63d left, from files, for alice.example, unreadable",
                "  colour       green",
            ],
        )

    def test_certificate(self) -> None:
        """Where the certificate comes from, who has signed it, and what is going on with it."""
        certificate = {"source": "internal (acme: none yet)", "issuer": "Snickers"}
        answer = {
            "site": "a.example",
            "certificate": certificate,
            "certificate_days": 89.9,
            "certificate_step": "proving by http-01",
        }
        self.assertEqual(
            show.site(answer, NOW),
            [
                "a.example",
                "  certificate  89d left, from internal (acme: none yet), signed by Snickers, "
                "proving by http-01",
            ],
        )
        for step, said in (
            ("proving by http-01", "certificate: proving by http-01"),
            ("waiting", "certificate: internal (acme: none yet)"),
        ):
            listed = show.status({"sites": [{**answer, "certificate_step": step}]}, NOW)
            self.assertTrue(listed[-1].endswith(said), listed[-1])
        quiet = {**answer, "certificate": {"source": "acme"}, "certificate_step": "waiting"}
        self.assertTrue(show.status({"sites": [quiet]}, NOW)[-1].endswith("89d"))
        self.assertEqual(show.site(quiet, NOW)[1], "  certificate  89d left, from acme")

    def test_image(self) -> None:
        """What a server was made from has a line, and what is to be known of that."""
        answer = {
            "site": "a.example",
            "notice": "A newer image is here: it is used at the next start.",
            "id": "77",
            "declared_image": "lamp:7",
            "image": "lamp@sha256:7",
        }
        self.assertEqual(
            show.site(answer, NOW),
            [
                "a.example",
                "  to know    A newer image is here: it is used at the next start.",
                "  server     77",
                "  image      lamp:7",
                "  made from  lamp@sha256:7",
            ],
        )
        listed = show.status({"sites": [answer]}, NOW)
        self.assertTrue(any("A newer image is here" in line for line in listed))

    def test_pinned(self) -> None:
        """Where another image is used than the file names, it is said which is the file's."""
        answer = {"site": "a.example", "declared_image": "lamp:7", "pinned": "lamp:8"}
        self.assertEqual(
            show.site(answer, NOW), ["a.example", "  in the file  lamp:7", "  pinned to    lamp:8"]
        )

    def test_expired(self) -> None:
        """A certificate that has ended is expired, not left."""
        self.assertEqual(
            show.site({"site": "a", "certificate_days": -2}, NOW), ["a", "  certificate  expired"]
        )

    def test_empty(self) -> None:
        """A site of which nothing is known is its name."""
        self.assertEqual(show.site({"site": "a"}, NOW), ["a"])


class DifferenceTests(SynchronousTestCase):
    """Plans and reloads."""

    answer = {
        "added": [{"site": "c.example", "kind": "static"}],
        "changed": [
            {
                "site": "a.example",
                "kind": "container",
                "options": {"memory": [None, 512], "idle after": [1800.0, "never"]},
                "closes": 2,
            }
        ],
        "removed": [{"site": "b.example", "kind": "proxy", "closes": 1}],
        "settings": [
            {"option": "https", "old": "tcp:1", "new": "tcp:2", "needs_restart": True},
            {"option": "keep alive", "old": 5.0, "new": 6.0, "needs_restart": False},
            "anything",
        ],
    }

    def test_plan(self) -> None:
        """Each change stands under its site, old to new, with what it closes."""
        self.assertEqual(
            show.difference(self.answer, done=False),
            [
                "+ c.example (static)",
                "~ a.example (container): closes 2 connections",
                "    memory: (none) → 512",
                "    idle after: 1800 → never",
                "- b.example (proxy): closes 1 connection",
                "~ [snickers]",
                "    https: tcp:1 → tcp:2 (only after a restart of Snickers)",
                "    keep alive: 5 → 6",
                "    anything",
                "",
                "3 sites would change, 3 connections would be closed",
            ],
        )

    def test_reload(self) -> None:
        """What was done is said as done."""
        lines = show.difference({"removed": [{"site": "b.example", "closes": 1}]}, done=True)
        self.assertEqual(
            lines, ["- b.example: closed 1 connection", "", "1 site changed, 1 connection closed"]
        )

    def test_nothing(self) -> None:
        """That nothing changes is said."""
        self.assertEqual(show.difference({}, done=False), ["nothing would change"])
        nothing = "nothing has changed since the files were read last"
        self.assertEqual(show.difference({"added": []}, done=True), [nothing])

    def test_applied_before(self) -> None:
        """What was applied a moment before somebody asked is what the person wants to know."""
        before = {"added": [{"site": "neu.localhost", "kind": "static"}], "seconds": 1.2}
        self.assertEqual(
            show.difference({"added": [], "before": before}, done=True),
            [
                "what differs was applied 1s ago:",
                "+ neu.localhost (static)",
                "",
                "1 site changed, no connection closed",
            ],
        )

    def test_faults_alone(self) -> None:
        """Where nothing has changed for a fault, the fault is what there is to say."""
        answer = {"faults": ["x"], "before": {"added": [{"site": "a"}], "seconds": 1.0}}
        self.assertEqual(show.difference(answer, done=True), [])
        self.assertEqual(show.difference(answer, done=False), [])

    def test_nothing_closed(self) -> None:
        """That no connection is closed is said, for it is what one wants to know."""
        lines = show.difference({"added": [{"site": "a"}]}, done=False)
        self.assertEqual(lines[-1], "1 site would change, no connection would be closed")


class CertificatesTests(SynchronousTestCase):
    """Certificates."""

    def test_line_a_site(self) -> None:
        """A line a site: names, source, issuer, days left, the next renewal, what is going on."""
        answer = {
            "certificates": [
                {
                    "site": "a.example",
                    "names": ["a.example", "b.example", "c.example", "d.example", "e.example"],
                    "wanted": "acme",
                    "source": "acme",
                    "issuer": "Let's Encrypt E7",
                    "days": 60.2,
                    "next": NOW + 30 * 86400,
                    "step": "waiting",
                    "fault": "",
                },
                {
                    "site": "b.example",
                    "names": ["b.example"],
                    "wanted": "acme",
                    "source": "internal (acme: none yet)",
                    "days": -1,
                    "next": NOW - 5,
                    "step": "ordering",
                    "fault": "the authority is away\x07",
                },
                {"site": "c.example", "wanted": "internal", "source": "", "days": None},
            ]
        }
        self.assertEqual(
            show.certificates(answer, NOW),
            [
                "SITE       ALSO                    FROM                       SIGNED BY         "
                "   LEFT  NEXT  NOW",
                "a.example  b.example c.example +2  acme                       Let's Encrypt E7  "
                "    60d   30d  waiting",
                "b.example  -                       internal (acme: none yet)  -                 "
                "expired   now  ordering",
                "c.example  -                       internal                   -                 "
                "      -     -  not asked for yet",
                "",
                "what is wrong:",
                "  b.example: the authority is away\\x07",
            ],
        )

    def test_none(self) -> None:
        """That there is no site is said; an entry of another version is shown as far as it goes."""
        self.assertEqual(show.certificates({}, NOW), ["no sites"])
        self.assertEqual(len(show.certificates({"certificates": [{}]}, NOW)), 2)

    def test_imported(self) -> None:
        """What was imported: what was put right, where it is, what is to be done."""
        answer = {
            "notes": ["put in order"],
            "folder": "/c/a.example",
            "names": ["a.example", "b.example"],
            "issuer": "R",
            "advice": "write this",
        }
        self.assertEqual(
            show.imported("a.example", answer),
            [
                "put in order",
                "a.example: the certificate for a.example, b.example, signed by R, is in "
                "/c/a.example",
                "write this",
            ],
        )
        self.assertEqual(show.imported("a.example", {"notes": ["x"], "problems": ["y"]}), ["x"])
