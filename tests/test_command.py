"""The ``snickers`` command."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers import __version__
from snickers.config.values import Configuration, Fault, Settings, Site, Static, Where
from snickers.control import command
from snickers.control.client import Denied, Lost, NotRunning, Refused
from snickers.control.command import Command, main, state_anyway
from snickers.control.keeper_client import NoKeeper

FAULT = Fault(Where("etc/sites.ini", 5), "b.example", "port", "must be a number")
STATIC = Site(name="a.example", kind=Static(root="/srv"))
GOOD = Configuration(Settings(state="/state"), {"a.example": STATIC})
FAULTY = Configuration(
    Settings(state="/state"), {"a.example": STATIC}, {"b.example": (FAULT,)}, (FAULT,)
)
STATELESS = Configuration(
    None, faults=(Fault(Where("x.ini", 1), "snickers", "https", "no such thing"),)
)
DENIED = {"faults": ["x.ini:5: [b.example] port: bad"], "broken": ["b.example"], "added": []}


class Out(io.TextIOWrapper):
    """Standard output or error, in memory, a terminal or not."""

    def __init__(self, terminal: bool = False) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding="utf-8", newline="\n")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def said(self) -> str:
        self.flush()
        return self.bytes.getvalue().decode()


class FakeClient:
    """A client that has its answers by name; an exception is raised."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[Any, ...]] = []
        self.path = ""

    def __call__(self, path: str) -> FakeClient:
        self.path = path
        return self

    def _answer(self, name: str, *asked: Any) -> Any:
        self.asked.append((name, *asked))
        answer = self.answers[name]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def status(self) -> Any:
        return self._answer("status")

    def site(self, host: str) -> Any:
        return self._answer("site", host)

    def plan(self) -> Any:
        return self._answer("plan")

    def reload(self) -> Any:
        return self._answer("reload")

    def snapshots(self, host: str) -> Any:
        return self._answer("snapshots", host)

    def certificates(self, host: str | None) -> Any:
        return self._answer("certificates", host)

    def take_in(self, host: str, files: Any) -> Any:
        return self._answer("take_in", host, files)

    def change(self, what: str) -> Iterator[Any]:
        return self._pieces("change", what)

    def act(self, verb: str, host: str, id: str = "", image: str = "") -> Iterator[Any]:
        return self._pieces("act", verb, host, *([id] if id else []), *([image] if image else []))

    def logs(self, host: str, tail: int, follow: bool) -> Iterator[Any]:
        return self._pieces("logs", host, tail, follow)

    def _pieces(self, name: str, *asked: Any) -> Iterator[Any]:
        for piece in self._answer(name, *asked):
            if isinstance(piece, BaseException):
                raise piece
            yield piece


class CommandCase(SynchronousTestCase):
    configuration = GOOD
    terminal = False
    absent = ""
    """What is wrong with the folders of all sites."""

    def run_command(self, *argv: str, environ: dict[str, str] | None = None, **answers: Any) -> int:
        self.out = Out(self.terminal)
        self.err = Out()
        self.client = FakeClient(**answers)
        self.loaded: list[str] = []
        made = Command(
            self.out,
            self.err,
            environ or {},
            load=self.load,
            connect=self.client,
            now=lambda: 1000.0,
            elapsed=lambda: 0.0,
            reach=self.client,
            sleep=lambda seconds: None,
            roots=lambda sites: {s.name: self.absent for s in sites if self.absent},
        )
        return made.run(argv)

    def load(self, path: str) -> Configuration:
        self.loaded.append(path)
        if isinstance(self.configuration, Exception):
            raise self.configuration
        return self.configuration

    def assertDone(self, said: str, *argv: str, **answers: Any) -> None:
        """*argv* says *said* and nothing is wrong."""
        status = self.run_command(*argv, **answers)
        self.assertEqual((self.err.said(), self.out.said(), status), ("", said, 0))

    def assertFails(self, why: str, *argv: str, **answers: Any) -> None:
        """*argv* fails, and *why* is all that standard error says."""
        status = self.run_command(*argv, **answers)
        self.assertEqual((self.err.said(), status), (why, 1))


class WhereTests(CommandCase):
    """The configuration, and the socket it means."""

    def test_given(self) -> None:
        """--config is read, and its state folder has the socket."""
        self.run_command("--config", "x.ini", "status", status={}, environ={"SNICKERS_CONFIG": "y"})
        self.assertEqual((self.loaded, self.client.path), (["x.ini"], "/state/control.sock"))

    def test_environment(self) -> None:
        """Without --config the environment says which."""
        self.run_command("status", status={}, environ={"SNICKERS_CONFIG": "y.ini"})
        self.assertEqual(self.loaded, ["y.ini"])

    def test_usual_places(self) -> None:
        """Without both: etc/sites.ini where there is one, else the system's."""
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.makedirs(self.mktemp())
        os.chdir(os.path.dirname(self.mktemp()))
        self.run_command("status", status={})
        self.assertEqual(self.loaded, ["/etc/snickers/sites.ini"])
        os.mkdir("etc")
        with open("etc/sites.ini", "w"):
            pass
        self.run_command("status", status={})
        self.assertEqual(self.loaded, ["etc/sites.ini"])

    def test_socket(self) -> None:
        """With --socket no configuration is read."""
        self.run_command("status", "--socket", "/x.sock", status={})
        self.assertEqual((self.loaded, self.client.path), ([], "/x.sock"))

    def test_faulty_sites_do_not_matter(self) -> None:
        """A site at fault does not hide the server."""
        self.configuration = FAULTY
        self.run_command("status", status={})
        self.assertEqual(self.client.path, "/state/control.sock")

    def test_faulty_settings(self) -> None:
        """[snickers] at fault does not hide the server either, when its state is understood."""
        self.configuration = STATELESS
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("[snickers]\nhttps = nonsense\nstate = ../var/state\n")
        self.run_command("status", "--config", path, status={})
        folder = os.path.dirname(os.path.abspath(path))
        self.assertEqual(self.client.path, os.path.join(folder, "../var/state", "control.sock"))

    def test_no_settings(self) -> None:
        """When it cannot be told where the server is, that is said, with the fault."""
        self.configuration = STATELESS
        self.assertFails(
            "snickers: nowhere.ini does not say where Snickers' state is (x.ini:1: [snickers] "
            "https: no such thing): put it right, or give --config FILE or --socket "
            "STATE/control.sock\n",
            "--config",
            "nowhere.ini",
            "status",
        )

    def test_nowhere(self) -> None:
        """Where nobody says which configuration, and there is none, the places are named."""
        self.configuration = STATELESS
        self.patch(os.path, "exists", lambda path: False)
        self.assertFails(
            "snickers: there is neither etc/sites.ini here nor /etc/snickers/sites.ini; give the "
            "configuration with --config FILE\n",
            "status",
        )

    def test_unreadable(self) -> None:
        """A configuration that cannot be read is an error in words."""
        self.configuration = PermissionError(13, "Permission denied")
        self.assertFails(
            "snickers: cannot read x.ini: Permission denied; give another one with --config FILE\n",
            "--config",
            "x.ini",
            "check",
        )

    def test_state_anyway(self) -> None:
        """The state of a faulty configuration is told only when there is no doubt."""
        folder = self.mktemp()
        os.mkdir(folder)
        for text, state in (
            ("[snickers]\nstate = /x\nhttps = nonsense\n", "/x"),
            ("[snickers]\nhttps = nonsense\n", Settings().state),
            ("[snickers]\nhttps nonsense\n", None),
            ("[snickers]\nstate =\n", None),
            ("[a.example]\ntype = static\n", None),
            ("\0", None),
        ):
            with open(os.path.join(folder, "a.ini"), "w") as file:
                file.write(text)
            self.assertEqual(state_anyway(os.path.join(folder, "a.ini")), state)
            self.assertEqual(state_anyway(folder), state)
        self.assertEqual(state_anyway(os.path.join(folder, "none.ini")), None)


class CheckTests(CommandCase):
    """snickers check."""

    def test_no_faults(self) -> None:
        """A good configuration is said to be good."""
        self.assertDone("x.ini: 1 site, no faults\n", "--config", "x.ini", "check")

    def test_faults(self) -> None:
        """Each fault is a line of standard error that begins with its place."""
        self.configuration = FAULTY
        self.assertFails("etc/sites.ini:5: [b.example] port: must be a number\n", "check")
        self.assertEqual(self.out.said(), "")

    def test_json(self) -> None:
        """With --json the faults come in parts."""
        self.configuration = FAULTY
        self.assertEqual(self.run_command("--config", "x.ini", "check", "--json"), 1)
        self.assertEqual(
            json.loads(self.out.said()),
            {
                "config": "x.ini",
                "sites": ["a.example"],
                "broken": ["b.example"],
                "faults": [
                    {
                        "file": "etc/sites.ini",
                        "line": 5,
                        "section": "b.example",
                        "option": "port",
                        "message": "must be a number",
                    }
                ],
                "warnings": [],
            },
        )

    def test_warnings(self) -> None:
        """A folder that is missing may come later: it is told, and no fault."""
        self.absent = "/srv is gone"
        self.configuration = evolve(
            GOOD, sites={"a.example": evolve(STATIC, where=Where("x.ini", 3))}
        )
        self.assertEqual(self.run_command("--config", "x.ini", "check"), 0)
        self.assertEqual(self.err.said(), "x.ini:3: [a.example] root: warning: /srv is gone\n")
        self.assertEqual(self.out.said(), "x.ini: 1 site, no faults, 1 warning\n")
        self.run_command("check", "--json")
        (told,) = json.loads(self.out.said())["warnings"]
        self.assertEqual((told["option"], told["line"]), ("root", 3))

    def test_for_real(self) -> None:
        """The real reader's faults come out of the real command."""
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("[a.example]\ntype = statik\n")
        self.patch(command.sys, "stdout", Out())
        self.patch(command.sys, "stderr", Out())
        self.assertEqual(main(["--config", path, "check"]), 1)
        self.assertTrue(command.sys.stderr.said().startswith(f"{path}:2: [a.example] type: "))


class ServerTests(CommandCase):
    """What goes wrong between the command and the server."""

    def test_not_running(self) -> None:
        """Where nobody answers, it is said how to start it."""
        self.assertFails(
            "snickers: Snickers does not answer at X; is it running? Start it with: "
            "twistd -n snickers --config x.ini\n",
            "--config",
            "x.ini",
            "status",
            status=NotRunning("Snickers does not answer at X; is it running?"),
        )

    def test_not_running_with_teams(self) -> None:
        """Where a keeper has its socket another Snickers must not be started."""
        state = os.path.abspath(self.mktemp())
        os.makedirs(os.path.join(state, "teams"))
        with open(os.path.join(state, "teams", "keeper.sock"), "w"):
            pass
        self.configuration = Configuration(Settings(state=state), {"a.example": STATIC})
        self.assertFails(
            "snickers: Nobody. There are two teams: 'snickers teams' shows how they are.\n",
            *("--config", "x.ini", "status"),
            status=NotRunning("Nobody."),
        )

    def test_other_trouble(self) -> None:
        """Everything else is one clean line."""
        self.assertFails("snickers: not yours\n", "reload", reload=Denied("not yours"))
        self.assertFails("snickers: a\\nb\n", "status", "x", site=Refused(404, "a\nb"))

    def test_interrupted(self) -> None:
        """Ctrl-C ends it without a traceback."""
        self.assertEqual(self.run_command("plan", plan=KeyboardInterrupt()), 130)
        self.assertEqual(self.err.said(), "")

    def test_wrong_usage(self) -> None:
        """Wrong usage is status 2, help and version 0."""
        self.assertEqual(self.run_command("stauts"), 2)
        self.assertIn("did you mean status?", self.err.said())
        self.assertDone(f"snickers {__version__}\n", "--version")


class TopTests(CommandCase):
    """snickers top."""

    answer = {"pid": 7, "sites": [{"site": "a.example", "state": "serving", "requests": 3}]}

    def test_looks(self) -> None:
        """Each look is a block of lines; it ends after as many as are asked for."""
        self.assertEqual(self.run_command("top", "--times", "2", status=self.answer), 0)
        self.assertEqual(self.client.asked, [("status",)] * 2)
        self.assertEqual(self.out.said().count("a.example"), 2)
        self.assertNotIn("\x1b", self.out.said())

    def test_json(self) -> None:
        """A line for each look."""
        self.assertEqual(self.run_command("--json", "top", "--times", "2", status=self.answer), 0)
        for line in self.out.said().splitlines():
            found = json.loads(line)
            self.assertEqual(found["time"], 1000.0)
            self.assertEqual(found["sites"][0]["requests"], 3)

    def test_screen(self) -> None:
        """A terminal has a screen for it, and its own back however it ends."""
        self.terminal = True
        self.assertEqual(self.run_command("top", "--times", "1", status=self.answer), 0)
        self.assertTrue(self.out.said().startswith("\x1b[?1049h"))
        self.assertTrue(self.out.said().endswith("\x1b[?1049l"))
        self.assertFails("snickers: gone\n", "top", status=Lost("gone"))
        self.assertTrue(self.out.said().endswith("\x1b[?1049l"))

    def test_interrupted(self) -> None:
        """Ctrl-C is how it is ended."""
        self.terminal = True
        self.assertEqual(self.run_command("top", status=KeyboardInterrupt()), 0)
        self.assertTrue(self.out.said().endswith("\x1b[?1049l"))

    def test_restarting(self) -> None:
        """A Snickers that is away for a moment ends no screen; what is not one ends with a line."""

        class Away(FakeClient):
            def status(self) -> Any:
                self.asked.append(("status",))
                if len(self.asked) == 2:
                    raise Lost("gone")
                return TopTests.answer

        self.patch(sys.modules[__name__], "FakeClient", Away)
        self.assertFails("snickers: gone\n", "top", "--times", "3")
        self.terminal = True
        self.assertEqual(self.run_command("top", "--times", "3"), 0)
        self.assertIn("does not answer", self.out.said())
        self.assertEqual(self.out.said().count("a.example"), 2)


class CopyTests(CommandCase):
    """snickers snapshot, snapshots, restore."""

    def test_listed(self) -> None:
        """A line for each copy, and JSON for programs."""
        copy = {"id": "c1", "time": 400, "size": 5_300_000, "why": "asked for"}
        answer = {"site": "a.example", "copies": [copy]}
        self.assertEqual(self.run_command("snapshots", "a.example", snapshots=answer), 0)
        self.assertIn("c1", self.out.said())
        self.assertIn("5.3M", self.out.said())
        self.assertEqual(self.client.asked, [("snapshots", "a.example")])

    def test_acting(self) -> None:
        """Which copy it is about is said, progress and result are shown."""
        events = [{"progress": "copying"}, {"done": True, "id": "c1"}]
        for words, asked, shown in (
            (["snapshot", "a.example"], ("snapshot", "a.example"), "is kept as copy c1"),
            (["restore", "a.example", "c1"], ("restore", "a.example", "c1"), "is as in copy c1"),
            (
                ["snapshot", "prove", "a.example"],
                ("prove", "a.example"),
                "copy c1 has proved itself: a server lives from it",
            ),
            (
                ["snapshot", "verify", "a.example"],
                ("verify", "a.example"),
                "all copies are as they were made",
            ),
        ):
            self.setUp()
            self.assertEqual(self.run_command(*words, act=events), 0)
            self.assertEqual(self.client.asked, [("act", *asked)])
            self.assertEqual(self.out.said(), f"a.example: copying\na.example: {shown}\n")


class CertificateTests(CommandCase):
    """snickers certs, certs import, renew."""

    ROW = {"site": "a.example", "source": "acme", "days": 60.5, "step": "waiting"}

    def setUp(self) -> None:
        self.paths = []
        for data in (b"CERT", b"KEY", b"CHAIN"):
            path = self.mktemp()
            with open(path, "wb") as file:
                file.write(data)
            self.paths.append(path)

    def test_listed(self) -> None:
        """A line for each site's certificate, and JSON for programs."""
        answer = {"certificates": [self.ROW]}
        self.assertEqual(self.run_command("certs", certificates=answer), 0)
        self.assertIn("acme", self.out.said())
        self.assertEqual(self.client.asked, [("certificates", None)])
        self.assertEqual(self.run_command("--json", "certs", "a.example", certificates=answer), 0)
        self.assertEqual(json.loads(self.out.said()), answer)
        self.assertEqual(self.client.asked, [("certificates", "a.example")])

    def test_renew(self) -> None:
        """Progress and the end are shown."""
        events = [{"progress": "ordering"}, {"done": True}]
        self.assertDone(
            "a.example: ordering\na.example: shows its newest certificate\n",
            *("renew", "a.example"),
            act=events,
        )
        self.assertEqual(self.client.asked, [("act", "renew", "a.example")])

    def test_imported(self) -> None:
        """Files are read here and sent whole; what became of them is said."""
        answer = {
            "problems": [],
            "notes": ["put in order"],
            "folder": "/certs/a.example",
            "names": ["a.example"],
            "issuer": "An authority",
            "advice": "write this",
        }
        for count in (2, 3):
            self.assertDone(
                "put in order\na.example: the certificate for a.example, signed by An authority, "
                "is in /certs/a.example\nwrite this\n",
                *("certs", "import", "a.example", *self.paths[:count]),
                take_in=answer,
            )
            [(_, host, files)] = self.client.asked
            self.assertEqual(host, "a.example")
            self.assertEqual(files["certificate"], (self.paths[0], b"CERT"))
            self.assertEqual(files["key"], (self.paths[1], b"KEY"))
            chain = ("CHAIN", b"") if count == 2 else (self.paths[2], b"CHAIN")
            self.assertEqual(files["chain"], chain)

    def test_not_fit(self) -> None:
        """Every problem is a line, and the last one says that nothing was changed."""
        answer = {"problems": ["x: expired", "y: \x1b[31mtoo short"], "notes": []}
        self.assertFails(
            "x: expired\ny: \\x1b[31mtoo short\n"
            "snickers: certs import a.example: nothing was changed\n",
            *("certs", "import", "a.example", *self.paths[:2]),
            take_in=answer,
        )

    def test_placed_here(self) -> None:
        """What the server may not write is written here, where the configuration says; then the
        server reads it. The key is shown to nobody."""
        directory = os.path.abspath(self.mktemp())
        self.configuration = Configuration(
            Settings(state="/state", certificate_directory=directory), {}
        )
        socket = self.mktemp()
        with open(socket, "wb"):
            pass
        answer = {
            "problems": [],
            "folder": "/elsewhere/a.example",
            "names": ["a.example"],
            "issuer": "R",
            "obstacle": "read-only",
            "undone": [["key.pem", "SECRET", True], ["cert.pem", "C", False]],
        }
        words = ("--json", "--socket", socket, "certs", "import", "a.example", *self.paths[:2])
        status = self.run_command(*words, take_in=dict(answer), act=[{"done": True}])
        self.assertEqual((self.err.said(), status), ("", 0))
        self.assertNotIn("SECRET", self.out.said())
        self.assertEqual(self.client.asked[1:], [("act", "renew", "a.example")])
        with open(os.path.join(directory, "a.example", "key.pem")) as file:
            self.assertEqual(file.read(), "SECRET")
        # Where the site does not look there yet, there is nothing to read.
        self.run_command(*words, take_in={**answer, "advice": "write this"})
        self.assertEqual(len(self.client.asked), 1)

    def test_not_placed_here(self) -> None:
        """Who may not write either is told what helps."""
        answer = {
            "folder": "/x/a.example",
            "obstacle": "it is read-only",
            "undone": [["key.pem", "SECRET", True]],
        }
        given = ("--config", "x.ini", "--socket", "/nowhere.sock")
        words = (*given, "certs", "import", "a.example", *self.paths[:2])
        for configuration in (GOOD, STATELESS):
            self.configuration = configuration
            self.assertEqual(self.run_command(*words, take_in=dict(answer)), 1)
            self.assertIn("it is read-only; run this as root", self.err.said())
            self.assertNotIn("SECRET", self.err.said() + self.out.said())

    def test_no_file(self) -> None:
        """A file that cannot be read, or is none of the kind, is said without asking anybody."""
        missing = self.mktemp()
        self.assertFails(
            f"snickers: cannot read {missing}: No such file or directory\n",
            *("certs", "import", "a.example", self.paths[0], missing),
        )
        with open(missing, "wb") as file:
            file.truncate(1 << 30)
        self.assertFails(
            f"snickers: {missing} has more than 60000 bytes: it is no certificate and no key\n",
            *("certs", "import", "a.example", self.paths[0], missing),
        )
        self.assertEqual(self.client.asked, [])


class LookingTests(CommandCase):
    """snickers status, plan, reload."""

    def test_status(self) -> None:
        """The status is shown with the time that has passed, without colours in a pipe."""
        answer = {"sites": [{"site": "a.example", "state": "ready", "since": 400}]}
        self.assertEqual(self.run_command("status", status=answer), 0)
        self.assertRegex(self.out.said(), r"a\.example +ready +- +10m")
        self.assertNotIn("\x1b", self.out.said())

    def test_colours(self) -> None:
        """On a terminal there are colours, unless they are not wanted or not understood."""
        self.terminal = True
        answer = {"sites": [{"site": "a.example", "state": "ready"}]}
        for environ, coloured in (
            ({}, True),
            ({"NO_COLOR": "1"}, False),
            ({"TERM": "dumb"}, False),
        ):
            self.run_command("status", status=answer, environ=environ)
            self.assertEqual("\x1b[32mready" in self.out.said(), coloured)

    def test_status_of_one_site(self) -> None:
        """One site is shown in detail."""
        self.assertDone(
            "a.example\n  state  ready\n",
            "status",
            "a.example",
            site={"site": "a.example", "state": "ready"},
        )
        self.assertEqual(self.client.asked, [("site", "a.example")])

    def test_json(self) -> None:
        """With --json the answer is printed as it is."""
        answer = {"sites": [], "new in the next version": ["é"]}
        for verb in ("status", "plan", "reload"):
            self.assertEqual(self.run_command(verb, "--json", **{verb: answer}), 0)
            self.assertEqual(json.loads(self.out.said()), answer)

    def test_plan(self) -> None:
        """A plan without faults is done."""
        self.assertDone("nothing would change\n", "plan", plan={"added": [], "faults": []})

    def test_faults(self) -> None:
        """Faults are told on standard error, and what becomes of their sites."""
        self.assertFails(
            "x.ini:5: [b.example] port: bad\n"
            "snickers: 1 fault; what is at fault (b.example) stays on its last good version, or "
            "without one answers 503\n",
            "reload",
            reload=DENIED,
        )
        self.assertEqual(self.out.said(), "")
        self.run_command("plan", "--json", plan=DENIED)
        self.assertEqual(json.loads(self.out.said()), DENIED)
        self.assertIn("would stay on its last good version", self.err.said())

    def test_a_fault_of_all(self) -> None:
        """A fault in [snickers] leaves everything as it was, and that is what is said."""
        answer = {"faults": ["x.ini:2: [snickers] https: bad"], "broken": [], "held": True}
        words = "1 fault; with one in [snickers], or in what all sites depend on, everything"
        said = f"x.ini:2: [snickers] https: bad\nsnickers: {words}"
        self.assertFails(f"{said} stays as it was\n", "reload", reload=answer)
        self.assertFails(f"{said} would stay as it was\n", "plan", plan=answer)

    def test_warnings(self) -> None:
        """What is no fault and may not work is told, and what was asked for is done."""
        answer = {"added": [{"site": "b.example"}], "warnings": ["x.ini:5: [b.example] root: gone"]}
        self.assertEqual(self.run_command("reload", reload=answer), 0)
        self.assertEqual(self.err.said(), "x.ini:5: [b.example] root: gone\n")


class ActingTests(CommandCase):
    """snickers wake, sleep, restart."""

    events = [{"progress": "pulling"}, {"something": "new"}, {"done": True}]

    def test_plain(self) -> None:
        """Away from a terminal each step is a line."""
        for verb, end in (
            ("wake", "is awake"),
            ("sleep", "is asleep"),
            ("restart", "has restarted"),
            ("update", "is up to date"),
            ("rollback", "has its server of before back"),
        ):
            self.assertDone(
                f"a.example: pulling\na.example: {end}\n", verb, "a.example", act=self.events
            )
            self.assertEqual(self.client.asked, [("act", verb, "a.example")])

    def test_image(self) -> None:
        """An update may be to another image."""
        argv = ("update", "a.example", "--image", "lamp:8")
        self.assertEqual(self.run_command(*argv, act=self.events), 0)
        self.assertEqual(self.client.asked, [("act", "update", "a.example", "lamp:8")])

    def test_terminal(self) -> None:
        """On a terminal one line is kept up to date."""
        self.terminal = True
        self.assertEqual(
            self.run_command("wake", "a.example", act=self.events, environ={"NO_COLOR": "1"}), 0
        )
        self.assertEqual(
            self.out.said(),
            "\r\x1b[Ka.example: pulling 0 s\r\x1b[Ka.example: is awake (0.0 s)\n\r\x1b[K",
        )

    def test_json(self) -> None:
        """With --json each event is a line, also on a terminal."""
        self.terminal = True
        self.assertEqual(self.run_command("wake", "a.example", "--json", act=self.events), 0)
        self.assertEqual([json.loads(line) for line in self.out.said().splitlines()], self.events)

    def test_failed(self) -> None:
        """What the server could not do is told in its words, made clean."""
        events = [{"progress": "pulling"}, {"error": "no such\x1b image"}]
        why = "snickers: wake a.example: no such\\x1b image\n"
        self.assertFails(why, "wake", "a.example", act=events)
        self.assertFails(why, "wake", "a.example", "--json", act=events)
        self.assertEqual([json.loads(line) for line in self.out.said().splitlines()], events)

    def test_trouble(self) -> None:
        """Trouble with the server is the last line of --json, too."""
        events = [{"progress": "pulling"}, Lost("went away")]
        self.assertFails("snickers: went away\n", "wake", "a.example", "--json", act=events)
        self.assertEqual(self.out.said().splitlines()[-1], '{"error": "went away"}')

    def test_another_configuration(self) -> None:
        """Where two configurations could be meant, a socket that nobody listens at is told with
        the one that was read; whoever has named one needs no such words."""
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        folder = os.path.abspath(self.mktemp())
        os.makedirs(os.path.join(folder, "etc"))
        os.chdir(folder)
        for path in ("etc/sites.ini", "usual.ini"):
            with open(path, "w"):
                pass
        self.patch(command, "USUAL", f"{folder}/usual.ini")
        hint = (
            f" (etc/sites.ini of this folder was read; for {folder}/usual.ini: "
            f"--config {folder}/usual.ini)\n"
        )
        no_keeper = NoKeeper("no keeper listens at x")
        self.assertFails(f"snickers: no keeper listens at x{hint}", "teams", status=no_keeper)
        self.run_command("status", status=NotRunning("Nobody."))
        self.assertTrue(self.err.said().endswith(hint), self.err.said())
        self.assertFails(
            "snickers: no keeper listens at x\n",
            *("--config", "etc/sites.ini", "teams"),
            status=no_keeper,
        )

    def test_interrupted(self) -> None:
        """Ctrl-C ends the waiting and says that the rest goes on."""
        events = [{"progress": "pulling"}, KeyboardInterrupt()]
        self.assertEqual(self.run_command("wake", "a.example", act=events), 130)
        self.assertEqual(
            self.err.said(), "snickers: no longer waiting; wake a.example goes on without you\n"
        )


class TeamsTests(CommandCase):
    """snickers teams, and deploy."""

    answer = {
        "stage": "serving",
        "words": "blue serves",
        "live": {"id": 1, "team": "blue", "pid": 7, "version": "1", "since": 940.0},
        "other": None,
        "ending": [],
        "folders": {"blue": "/nonexistent/blue", "red": "/nonexistent/red"},
    }
    changes = [{"progress": "red: is started"}, {"done": "red serves"}]

    def test_shown(self) -> None:
        """Which is live, since when, what each folder holds, and what a switch would do; the
        keeper's socket is in the state folder."""
        self.assertEqual(self.run_command("teams", status=self.answer), 0)
        self.assertEqual(self.client.path, "/state/teams/keeper.sock")
        said = self.out.said()
        self.assertIn("blue  live     60s    7  1", said)
        self.assertIn("nothing installed /nonexistent/red", said)
        self.assertIn("switch: starts red", said)

    def test_json(self) -> None:
        """With --json the answer itself, and what the folders hold."""
        self.run_command("teams", "--json", status=self.answer)
        told = json.loads(self.out.said())
        self.assertEqual(told["held"]["red"], {"version": "", "commit": "", "changed": False})
        self.assertEqual(told["words"], "blue serves")

    def test_changed(self) -> None:
        """Each step is a line, and so is the end."""
        for act in ("switch", "commit", "rollback", "restart"):
            self.assertDone(
                "teams: red: is started\nteams: red serves\n", "teams", act, change=self.changes
            )
            self.assertEqual(self.client.asked, [("change", act)])
        self.run_command("teams", "switch", "--json", change=self.changes)
        self.assertEqual([json.loads(x) for x in self.out.said().splitlines()], self.changes)

    def test_failed(self) -> None:
        """What the keeper could not do is said in its words, with status 1."""
        changes = [{"progress": "red: is started"}, Refused(200, "red ended; blue goes on")]
        why = "snickers: teams switch: red ended; blue goes on\n"
        self.assertFails(why, "teams", "switch", change=changes)
        self.assertFails(why, "teams", "switch", "--json", change=changes)
        self.assertEqual(
            json.loads(self.out.said().splitlines()[-1]), {"failed": "red ended; blue goes on"}
        )

    def test_no_keeper(self) -> None:
        """Without a keeper the words say what one is."""
        problem = NoKeeper("no keeper listens at x")
        self.assertFails("snickers: no keeper listens at x\n", "teams", status=problem)

    def test_interrupted(self) -> None:
        """Ctrl-C ends the waiting and says that the rest goes on."""
        changes = [{"progress": "red: is started"}, KeyboardInterrupt()]
        self.assertEqual(self.run_command("teams", "switch", change=changes), 130)
        self.assertEqual(
            self.err.said(), "snickers: no longer waiting; teams switch goes on without you\n"
        )

    def test_deploy_failed(self) -> None:
        """A step that fails is named, behind the last lines of what it said."""
        why = (
            "snickers: deploy: fetch: /nonexistent/red is no checkout of git's; make it one (git "
            "clone), or give --from WHEEL\n"
        )
        self.assertFails(why, "deploy", status=self.answer)
        folder = os.path.abspath(self.mktemp())
        os.makedirs(os.path.join(folder, ".git"))
        answer = {**self.answer, "folders": {"blue": "/nonexistent/blue", "red": folder}}
        self.assertEqual(self.run_command("deploy", "--from", "x", status=answer), 1)
        *lines, last = self.err.said().splitlines()
        self.assertIn("  fatal: not a git repository", lines[0])
        self.assertIn("snickers: deploy: fetch: git could not fetch (git -C", last)
        self.assertEqual(self.run_command("deploy", "--json", "--from", "x", status=answer), 1)
        told = json.loads(self.out.said().splitlines()[-1])
        self.assertEqual(told["step"], "fetch")

    def test_deploy_interrupted(self) -> None:
        """Ctrl-C in the middle has a status of its own."""
        self.assertEqual(self.run_command("deploy", status=KeyboardInterrupt()), 130)


class LogsTests(CommandCase):
    """snickers logs."""

    def test_bytes_as_they_are(self) -> None:
        """In a pipe a log is its bytes."""
        pieces = [b"one\n\xff", b"\x1b[2Jtwo"]
        self.assertEqual(self.run_command("logs", "a.example", "--tail", "5", logs=pieces), 0)
        self.out.flush()
        self.assertEqual(self.out.bytes.getvalue(), b"".join(pieces))
        self.assertEqual(self.client.asked, [("logs", "a.example", 5, False)])

    def test_terminal(self) -> None:
        """A terminal is not steered by a log."""
        self.terminal = True
        self.assertDone(
            "\x1b[31mone\x1b[0m\n\\x1b[2Jtwo",
            "logs",
            "a.example",
            logs=[b"\x1b[31mone\x1b[0m\n\x1b", b"[2Jtwo"],
        )

    def test_json(self) -> None:
        """With --json each line is an object."""
        self.assertDone(
            '{"line": "one"}\n{"line": "tw\ufffdo"}\n{"line": "three"}\n',
            "logs",
            "a.example",
            "--json",
            logs=[b"one\r\ntw", b"\xffo\nthree"],
        )

    def test_following_ends_with_ctrl_c(self) -> None:
        """Ctrl-C is how following ends: all is well."""
        self.assertDone("one\n", "logs", "-f", "a.example", logs=[b"one\n", KeyboardInterrupt()])
        self.assertEqual(self.client.asked, [("logs", "a.example", 100, True)])

    def test_interrupted(self) -> None:
        """Ctrl-C before the end of what there was is an interruption."""
        self.assertEqual(self.run_command("logs", "a", logs=[KeyboardInterrupt()]), 130)

    def test_broken_off(self) -> None:
        """A log that breaks off fails after what had come."""
        self.assertFails("snickers: went away\n", "logs", "a", logs=[b"one\n", Lost("went away")])
        self.assertEqual(self.out.said(), "one\n")

    def test_nobody_reads(self) -> None:
        """That nobody reads any more ends it quietly, also when Python ends."""
        reader, writer = os.pipe()
        os.close(reader)
        out = os.fdopen(writer, "w")
        self.addCleanup(out.close)
        err = Out()
        client = FakeClient(logs=[b"one\n", b"two\n"])
        made = Command(out, err, {}, load=lambda path: GOOD, connect=client)
        self.assertEqual(made.run(["logs", "-f", "a.example"]), 0)
        self.assertEqual(err.said(), "")
        out.write("what was still buffered")
        out.flush()
