"""What may be typed behind ``snickers``."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout

from twisted.trial.unittest import SynchronousTestCase

from snickers import __version__
from snickers.control.usage import TEAM_ACTS, TOP_EVERY, VERBS, WATCH, parse


class UsageTests(SynchronousTestCase):
    def refused(self, *argv: str, status: int = 2) -> str:
        """What is printed for *argv*, which ends with *status*."""
        said = io.StringIO()
        with redirect_stderr(said), redirect_stdout(said):
            end = self.assertRaises(SystemExit, parse, argv)
        self.assertEqual(end.code, status)
        return said.getvalue()

    def test_options_before_and_behind_the_verb(self) -> None:
        """The common options are taken on either side of the verb, and stay unset otherwise."""
        common = ["--json", "--config", "x", "--socket", "y"]
        for argv in ([*common, "status"], ["status", *common], ["--json", "status", *common[1:]]):
            found = parse(argv)
            self.assertEqual((found.json, found.config, found.socket), (True, "x", "y"))
        found = parse(["status"])
        self.assertEqual((found.json, found.config, found.socket), (False, None, None))

    def test_verbs_and_hosts(self) -> None:
        """Verbs have the arguments that they need."""
        self.assertEqual(parse(["status"]).host, None)
        for verb in ("status", "wake", "sleep", "restart", "logs"):
            found = parse([verb, "a.example"])
            self.assertEqual((found.verb, found.host), (verb, "a.example"))
        for verb in ("wake", "sleep", "restart", "update", "rollback", "logs"):
            self.assertIn("HOST", self.refused(verb))
        for verb in ("check", "plan", "reload"):
            self.assertEqual(parse([verb]).verb, verb)
            self.assertIn("a.example", self.refused(verb, "a.example"))

    def test_certificates(self) -> None:
        """Which certificates are to be shown, or what is to be imported for whom."""
        for words, found in (
            ([], (None, ())),
            (["a.example"], ("a.example", ())),
            (["import", "a.example", "c", "k"], ("a.example", ("c", "k"))),
            (["import", "a.example", "c", "k", "ca"], ("a.example", ("c", "k", "ca"))),
        ):
            options = parse(["certs", *words])
            self.assertEqual((options.host, options.files), found)
        for words in (["import"], ["import", "a.example", "c"], ["import", *"abcde"]):
            self.assertIn("HOST CERT KEY", self.refused("certs", *words))
        self.assertIn("unrecognized arguments: b.example", self.refused("certs", "a", "b.example"))
        self.assertEqual(parse(["renew", "a.example"]).host, "a.example")
        self.assertIn("HOST", self.refused("renew"))

    def test_teams(self) -> None:
        """What teams are to do, and what is to be deployed."""
        self.assertEqual(parse(["teams"]).act, None)
        for act in TEAM_ACTS:
            self.assertEqual(parse(["teams", act]).act, act)
        self.assertIn("there are switch, commit", self.refused("teams", "swap"))
        found = parse(["deploy"])
        self.assertEqual((found.source, found.watch, found.commit), ("", WATCH, True))
        found = parse(["deploy", "--from", "v2", "--watch", "5m", "--no-commit"])
        self.assertEqual((found.source, found.watch, found.commit), ("v2", 300.0, False))
        self.assertIn("'5x' is not a duration", self.refused("deploy", "--watch", "5x"))

    def test_image(self) -> None:
        """Only an update may be to another image."""
        self.assertEqual(parse(["update", "a.example"]).image, "")
        self.assertEqual(parse(["update", "a.example", "--image", "lamp:8"]).image, "lamp:8")
        self.assertIn("--image", self.refused("wake", "a.example", "--image", "lamp:8"))

    def test_copies(self) -> None:
        """What is to be done with copies, of which site, with which copy."""
        for words, found in (
            (["snapshot", "a.example"], ("snapshot", "a.example", "")),
            (["snapshot", "prove", "a.example"], ("prove", "a.example", "")),
            (["snapshot", "prove", "a.example", "c1"], ("prove", "a.example", "c1")),
            (["snapshot", "verify", "a.example"], ("verify", "a.example", "")),
            (["snapshot", "prove"], ("snapshot", "prove", "")),
        ):
            options = parse(words)
            self.assertEqual((options.act, options.host, options.id), found)
        options = parse(["restore", "a.example", "c1"])
        self.assertEqual((options.host, options.id), ("a.example", "c1"))
        self.assertEqual(parse(["snapshots", "a.example"]).host, "a.example")
        self.assertIn("ID", self.refused("restore", "a.example"))
        self.assertIn("HOST", self.refused("snapshots"))
        self.assertIn("verify HOST", self.refused("snapshot"))
        self.assertIn("a.example b", self.refused("snapshot", "a.example", "b"))

    def test_logs(self) -> None:
        """Logs have a length, and may be followed."""
        found = parse(["logs", "a"])
        self.assertEqual((found.follow, found.tail), (False, 100))
        found = parse(["logs", "-f", "a", "--tail", "0"])
        self.assertEqual((found.follow, found.tail), (True, 0))
        for wrong in ("-1", "all", "²", "1234567"):
            self.assertIn("is not a number of lines", self.refused("logs", "a", f"--tail={wrong}"))

    def test_typing_error(self) -> None:
        """The nearest verb is named, or all of them."""
        self.assertIn("'stauts' is not known; did you mean status?", self.refused("stauts"))
        self.assertIn("did you mean snapshot?", self.refused("snapshoot"))
        self.assertIn("'qqq' is not known; there are check, plan", self.refused("qqq"))

    def test_nothing(self) -> None:
        """Without a verb all of them are shown, each with a line, and all options."""
        for argv in ([], ["--json"], ["--config", "x"]):
            said = self.refused(*argv)
            for verb, does in VERBS.items():
                self.assertRegex(said, rf"(?m)^  {verb}\b.*  {does}")
            for option in ("--config", "--socket", "--json", "--version"):
                self.assertIn(option, said.partition("\n\n")[0])

    def test_unknown_option(self) -> None:
        """An unknown option is wrong usage, and no abbreviation is guessed."""
        self.refused("--jso", "status")
        self.refused("status", "--jso")

    def test_top(self) -> None:
        """How often to look, and how many times; looking is not to be the work that is seen."""
        found = parse(["top"])
        self.assertEqual((found.every, found.times), (TOP_EVERY, 0))
        found = parse(["top", "--every", "500ms", "--times", "3"])
        self.assertEqual((found.every, found.times), (0.5, 3))
        self.assertIn("too short", self.refused("top", "--every", "10ms"))
        self.assertIn("not a duration", self.refused("top", "--every", "5"))

    def test_version(self) -> None:
        """The version is printed."""
        self.assertEqual(self.refused("--version", status=0), f"snickers {__version__}\n")

    def test_help(self) -> None:
        """Help names every verb; a verb has help of its own."""
        said = self.refused("--help", status=0)
        for verb, does in VERBS.items():
            self.assertIn(f"  {verb}", said)
            self.assertIn(does, said)
        self.assertIn("--tail N", self.refused("logs", "--help", status=0))
