"""A deployment: each step in its order, each failure told with what was said, the live team left
alone."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from snickers.control.client import Lost, Refused
from snickers.control.deploy import LAST, LOADS, Deploy, DeployFailed, Wanted, run
from snickers.control.keeper_client import KeeperClient, NoKeeper
from snickers.control.team_folders import deployed, note_deployed
from tests.test_team_folders import metadata

BLUE = {"id": 1, "team": "blue", "version": "1.0", "answers": 900, "errors": 1, "alarms": 0}
RED = {"id": 2, "team": "red", "version": "2.0", "answers": 0, "errors": 0, "alarms": 0}
NEWEST = Wanted()


class Keeper:
    """A keeper whose teams do as they are told, unless a test says otherwise."""

    def __init__(self, folders: dict[str, str]) -> None:
        self.now: dict[str, Any] = {
            "stage": "serving",
            "words": "blue serves",
            "live": BLUE,
            "other": None,
            "ending": [],
            "taken_back": "",
            "folders": folders,
        }
        self.asked: list[str] = []
        self.refuses = ""

    def status(self) -> dict[str, Any]:
        return dict(self.now)

    def change(self, what: str) -> Iterator[dict[str, Any]]:
        self.asked.append(what)
        if self.refuses:
            raise Refused(200, self.refuses)
        yield {"progress": f"{what}ing"}
        if what == "switch":
            self.now |= {"stage": "trial", "live": RED, "other": BLUE}
        else:
            self.now |= {"stage": "serving", "other": None}
        yield {"done": "done"}


class DeployTests(SynchronousTestCase):
    def setUp(self) -> None:
        root = Path(self.mktemp()).absolute()
        self.folders = {team: str(root / team) for team in ("blue", "red")}
        self.red = root / "red"
        (self.red / ".git").mkdir(parents=True)
        python = self.red / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text("")
        python.chmod(0o755)
        self.keeper = Keeper(self.folders)
        self.steps: list[str] = []
        self.ran: list[str] = []
        self.fails: dict[str, str] = {}
        self.says: dict[str, str] = {}
        self.noted: list[tuple[str, str, bool | None]] = []
        self.slept = 0.0
        self.sleeping: Callable[[], None] = lambda: None

    def runs(self, command: Sequence[str], folder: str) -> tuple[int, str]:
        self.assertEqual(folder, self.folders["red"])
        words = " ".join(command).replace(str(self.red), "RED")
        self.ran.append(words)
        for part, said in self.fails.items():
            if part in words:
                return 1, said
        return 0, next((said for part, said in self.says.items() if part in words), "")

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.sleeping()

    def deploy(self, wanted: Wanted = NEWEST) -> str:
        deploy = Deploy(
            cast("KeeperClient", self.keeper),
            "/etc/sites.ini",
            wanted,
            self.steps.append,
            self.sleep,
            lambda: self.slept,
            self.runs,
            note=lambda *noted: self.noted.append(noted),
        )
        return deploy.do()

    def failed(self, wanted: Wanted = NEWEST) -> DeployFailed:
        with self.assertRaises(DeployFailed) as caught:
            self.deploy(wanted)
        return caught.exception

    def test_whole(self) -> None:
        """The newest of the branch is pulled, installed, checked, switched to, watched and
        committed."""
        self.assertEqual(self.deploy(), "red serves 2.0 and stays")
        self.assertEqual(
            [words for words in self.ran if "getPlugins" not in words],
            [
                "git -C RED symbolic-ref --quiet HEAD",
                "git -C RED pull --ff-only",
                "git -C RED rev-parse HEAD",
                "git -C RED status --porcelain -uno",
                "RED/.venv/bin/python -m pip --disable-pip-version-check install --quiet "
                "--upgrade RED",
                "RED/.venv/bin/snickers --config /etc/sites.ini check",
                f"RED/.venv/bin/python -P -c {LOADS}",
            ],
        )
        self.assertEqual(self.keeper.asked, ["switch", "commit"])
        self.assertEqual(self.slept, 60.0)
        self.assertEqual(self.steps[0], f"red: fetching into {self.red}")
        self.assertIn("red: watched for 60 s more; 0 answers, 0 errors, 0 alarms", self.steps)

    def test_two_at_once(self) -> None:
        """Who deploys into a folder is alone with it until the end; the second one is told so."""
        told: list[str] = []
        runs = self.runs

        def meanwhile(command: Sequence[str], folder: str) -> tuple[int, str]:
            if "pull" in command:
                told.append(str(self.failed()))
            return runs(command, folder)

        self.runs = meanwhile  # type: ignore[method-assign]
        self.assertEqual(self.deploy(), "red serves 2.0 and stays")
        self.assertEqual(
            told,
            [f"teams: somebody else deploys into {self.red} right now; again when that ends"],
        )

    def test_changed_over_meanwhile(self) -> None:
        """Where another deployment has just ended, the folder that was chosen may be live now:
        nothing is done to it."""
        told = iter([self.keeper.status(), self.keeper.status() | {"live": RED}])
        self.patch(self.keeper, "status", lambda: next(told))
        self.assertIn("changed over just now", str(self.failed()))
        self.assertEqual(self.ran, [])

    def test_a_branch_or_tag(self) -> None:
        """A branch is what it is at the origin; a tag or commit is itself."""
        self.deploy(Wanted("next", 0))
        self.assertIn("git -C RED checkout --detach origin/next", self.ran)
        self.ran.clear()
        self.keeper = Keeper(self.folders)
        self.fails = {"origin/v2^{commit}": ""}
        self.deploy(Wanted("v2", 0))
        self.assertEqual(
            self.ran[:4],
            [
                "git -C RED fetch --tags --prune",
                "git -C RED rev-parse --verify --quiet origin/v2^{commit}",
                "git -C RED rev-parse --verify --quiet v2^{commit}",
                "git -C RED checkout --detach v2",
            ],
        )

    def test_no_branch_or_tag(self) -> None:
        """What is neither is told in words of ours, and nothing is checked out."""
        self.fails = {"origin/v3^{commit}": "", "v3^{commit}": ""}
        words = str(self.failed(Wanted("v3", 0)))
        self.assertIn("v3: there is no such branch, tag or commit where", words)
        self.assertFalse(any("checkout" in each for each in self.ran))

    def test_a_wheel(self) -> None:
        """A wheel needs no checkout, and is installed although its version may be there."""
        wheel = self.red.parent / "snickers-2.0-py3-none-any.whl"
        wheel.write_text("")
        (self.red / ".git").rmdir()
        self.deploy(Wanted(str(wheel), 0))
        self.assertFalse(any("git" in words for words in self.ran))
        self.assertIn(f"--upgrade {wheel}", self.ran[0])
        self.assertIn(f"--force-reinstall --no-deps {wheel}", self.ran[1])
        self.keeper = Keeper(self.folders)
        found = self.failed(Wanted("/nonexistent.whl"))
        self.assertEqual(str(found), "fetch: /nonexistent.whl: there is no such wheel")

    def test_new_environment(self) -> None:
        """A folder without a virtual environment is given one."""
        (self.red / ".venv" / "bin" / "python").unlink()
        self.deploy(Wanted(watch=0))
        self.assertTrue(any(words.endswith(" -m venv RED/.venv") for words in self.ran))

    def test_nothing_to_fetch(self) -> None:
        """A folder that is no checkout, or is on no branch, needs to be told what is wanted."""
        self.fails = {"symbolic-ref": ""}
        self.assertIn("say what is wanted with --from REF", str(self.failed()))
        (self.red / ".git").rmdir()
        self.assertIn("is no checkout of git's", str(self.failed()))
        self.assertEqual(self.keeper.asked, [])

    def test_step_fails(self) -> None:
        """Each step that fails ends it there, with the last lines of what was said; nothing has
        been switched."""
        said = "\n".join(f"line {number}" for number in range(40))
        for part, step in (
            ("pull", "fetch"),
            ("pip", "install"),
            ("check", "check"),
        ):
            self.fails = {f" {part}": said}
            found = self.failed()
            self.assertEqual(found.step, step)
            self.assertIn("exit status 1", str(found))
            self.assertEqual(found.lines, tuple(said.splitlines()[-LAST:]))
        self.assertEqual(self.keeper.asked, [])

    def test_cannot_be_loaded(self) -> None:
        """A version of which a part cannot be loaded is not switched to; its own words say why."""
        self.fails = {LOADS: "Traceback\nModuleNotFoundError: No module named 'x'"}
        found = self.failed()
        self.assertEqual(found.step, "check")
        self.assertIn("cannot be loaded", str(found))
        self.assertNotIn("importlib", str(found))
        self.assertEqual(found.lines[-1], "ModuleNotFoundError: No module named 'x'")
        self.assertEqual(self.keeper.asked, [])

    def test_loads(self) -> None:
        """Every module of Snickers is loaded: of this one, all can be."""
        status, said = run([sys.executable, "-c", f"{LOADS}; print('whole')"], os.getcwd())
        self.assertEqual((status, said), (0, "whole\n"))

    def live_has(self, identity: str) -> None:
        """Have blue, which is live, be made of *identity*."""
        folder = Path(self.folders["blue"])
        (folder / ".venv").mkdir(parents=True, exist_ok=True)
        note_deployed(str(folder), identity)

    def test_nothing_new(self) -> None:
        """When the live team was made of the very same nothing is installed, and that is no
        failure; with --force it is. Nothing is remembered of it."""
        self.says = {"rev-parse HEAD": "c0ffee\n"}
        self.live_has("c0ffee")
        words = self.deploy()
        self.assertIn("nothing new: blue was made of the very same and serves; --force", words)
        self.assertFalse(any("pip" in words for words in self.ran))
        self.assertEqual((self.keeper.asked, self.noted), ([], []))
        self.assertEqual(self.deploy(Wanted(watch=0, force=True)), "red serves 2.0 and stays")
        self.assertEqual(deployed(self.folders["red"]), "c0ffee")

    def test_something_new(self) -> None:
        """Another commit is new, and so is whatever is changed in a checkout, or unknown."""
        for live, says in (
            ("c0ffee", {"rev-parse HEAD": "beef"}),
            ("", {"rev-parse HEAD": "c0ffee"}),
            ("c0ffee", {"rev-parse HEAD": "c0ffee", "--porcelain": " M file"}),
            ("c0ffee", {}),
        ):
            self.keeper = Keeper(self.folders)
            self.live_has(live)
            self.says = says
            self.assertEqual(self.deploy(Wanted(watch=0)), "red serves 2.0 and stays")
        self.keeper = Keeper(self.folders)
        self.live_has("c0ffee")
        self.fails, self.says = {"rev-parse HEAD": ""}, {}
        self.assertEqual(self.deploy(Wanted(watch=0)), "red serves 2.0 and stays")

    def test_wheel_again(self) -> None:
        """A wheel is known by what is in it, not by its name."""
        wheel = self.red.parent / "snickers-2.0-py3-none-any.whl"
        wheel.write_text("one")
        wanted = Wanted(str(wheel), 0)
        self.deploy(wanted)
        self.live_has(deployed(self.folders["red"]))
        self.keeper = Keeper(self.folders)
        self.assertIn("nothing new", self.deploy(wanted))
        wheel.write_text("two")
        self.assertEqual(self.deploy(wanted), "red serves 2.0 and stays")

    def test_failed_is_not_there(self) -> None:
        """What could not be installed whole is not taken for installed."""
        self.says = {"rev-parse HEAD": "c0ffee"}
        self.deploy(Wanted(watch=0))
        self.keeper = Keeper(self.folders)
        self.fails = {"pip": "no"}
        self.failed()
        self.assertEqual(deployed(self.folders["red"]), "")

    def test_remembered(self) -> None:
        """What is under way is noted, and how it ended: well, failed, or interrupted."""
        self.deploy()
        self.assertEqual(
            self.noted, [("red", "", None), ("red", "red serves 2.0 and stays", False)]
        )
        self.noted.clear()
        self.keeper = Keeper(self.folders)
        self.fails = {" pull": "no"}
        found = self.failed()
        self.assertEqual(self.noted, [("red", str(found), True)])
        self.noted.clear()
        self.fails = {}

        def interrupted() -> None:
            raise KeyboardInterrupt

        self.sleeping = interrupted
        with self.assertRaises(KeyboardInterrupt):
            self.deploy()
        self.assertEqual(self.noted[-1], ("red", "it was interrupted", True))

    def test_told_now_and_then(self) -> None:
        """Where each word is a line there are few, however often it is looked at."""
        deploy = Deploy(
            cast("KeeperClient", self.keeper),
            "/etc/sites.ini",
            Wanted(watch=25),
            self.steps.append,
            self.sleep,
            lambda: self.slept,
            self.runs,
            tell_every=10.0,
        )
        deploy.do()
        told = [words.split(";")[0] for words in self.steps if "watched" in words]
        self.assertEqual(told, [f"red: watched for {left} s more" for left in (25, 15, 5)])
        self.assertEqual(self.slept, 25.0)

    def test_switch_fails(self) -> None:
        """What the keeper says is said."""
        self.keeper.refuses = (
            "red has not proven itself: it ended with status 3 (see the log); blue goes on"
        )
        self.assertEqual(str(self.failed()), f"switch: {self.keeper.refuses}")

    def test_taken_back(self) -> None:
        """A newcomer that is taken back while it is watched ends it, with the reason."""

        def taken_back() -> None:
            if self.slept >= 3:
                words = "red erred; blue takes over again"
                self.keeper.now |= {"stage": "serving", "live": BLUE, "taken_back": words}

        self.sleeping = taken_back
        self.assertEqual(str(self.failed()), "watch: red erred; blue takes over again")
        self.assertEqual(self.keeper.asked, ["switch"])

    def test_taken_back_at_last(self) -> None:
        """One that is taken back after the last look, before it is committed, does not count as
        one that stays; nor does one that has just ended."""
        words = "red erred; blue takes over again"
        for now in (
            {"stage": "serving", "live": BLUE, "other": None, "taken_back": words},
            {"stage": "taking", "live": None, "other": BLUE, "taken_back": words},
        ):
            self.keeper = Keeper(self.folders)
            looks: list[dict[str, Any]] = []

            def status(now: dict[str, Any] = now, looks: list[Any] = looks) -> dict[str, Any]:
                looks.append(self.keeper.now)
                # At first, when it has switched, and before it would commit.
                return dict(self.keeper.now) | (now if len(looks) == 3 else {})

            self.keeper.status = status  # type: ignore[method-assign]
            self.assertEqual(str(self.failed(Wanted(watch=0))), f"watch: {words}")
            self.assertEqual(self.keeper.asked, ["switch"])

    def test_another_keeper(self) -> None:
        """While a keeper is followed by another one the newcomer is watched on; when none comes the
        deployment fails with the words of that."""
        known = self.keeper.status
        for seconds in (3.0, inf):
            with self.subTest(seconds=seconds):
                self.keeper.now |= {"stage": "serving", "live": BLUE, "other": None}
                self.keeper.asked.clear()
                self.slept = 0.0

                def status(seconds: float = seconds) -> dict[str, Any]:
                    if 5 <= self.slept < 5 + seconds:
                        raise (NoKeeper if self.slept < 6 else Lost)("the keeper is away")
                    return known()

                self.keeper.status = status  # type: ignore[method-assign]
                if seconds == inf:
                    with self.assertRaisesRegex(Lost, "the keeper is away"):
                        self.deploy(Wanted(watch=60))
                    self.assertEqual(self.keeper.asked, ["switch"])
                else:
                    self.deploy(Wanted(watch=60))
                    self.assertEqual(self.keeper.asked, ["switch", "commit"])

    def test_another_process(self) -> None:
        """A newcomer that was replaced by another process of its team has failed, too."""

        def replaced() -> None:
            self.keeper.now |= {"live": {**RED, "id": 3}, "words": "red is being started"}

        self.sleeping = replaced
        self.assertEqual(str(self.failed()), "watch: red is being started")

    def test_alarms(self) -> None:
        """With alarms that the team before has not, nothing is committed: a person has to say."""

        def alarm() -> None:
            self.keeper.now |= {"live": {**RED, "alarms": 1}}

        self.sleeping = alarm
        found = self.failed()
        self.assertEqual(found.step, "commit")
        self.assertIn("'snickers teams rollback'", str(found))
        self.assertEqual(self.keeper.asked, ["switch"])

    def test_no_commit(self) -> None:
        """Without commit it stays on trial."""
        words = self.deploy(Wanted(watch=5, commit=False))
        self.assertIn("on trial", words)
        self.assertEqual(self.keeper.asked, ["switch"])

    def test_committed_meanwhile(self) -> None:
        """By `commit after`, or by somebody: then there is nothing left to do."""

        def committed() -> None:
            self.keeper.now |= {"stage": "serving", "other": None}

        self.sleeping = committed
        self.assertEqual(self.deploy(), "red serves 2.0 and stays")
        self.assertEqual(self.keeper.asked, ["switch"])

    def test_not_now(self) -> None:
        """While nobody serves, one is on trial, or the folder's last process still ends, nothing
        is touched."""
        for now, words in (
            ({"live": None, "words": "no team serves"}, "bring one up first"),
            ({"stage": "trial", "other": RED, "words": "on trial"}, "'snickers teams commit'"),
            ({"ending": [RED]}, "red still finishes what it has open"),
        ):
            self.keeper = Keeper(self.folders)
            self.keeper.now |= now
            found = self.failed()
            self.assertEqual(found.step, "teams")
            self.assertIn(words, str(found))
        self.assertEqual(self.ran, [])

    def finishing(self, words: str = "") -> None:
        """A process of red's finishes what it has open, and ends when it is told to."""
        member = {**RED, "finishing_since": 5.0, "hurried": False, "ends_by": 86400.0}
        self.keeper.now |= {"ending": [member], "now": 100.0}

        def change(what: str, known: Any = self.keeper.change) -> Iterator[dict[str, Any]]:
            if what != "hurry red":
                yield from known(what)
                return
            self.keeper.asked.append(what)
            if words:
                raise Refused(200, words)
            self.keeper.now["ending"] = [{**member, "hurried": True, "ends_by": 190.0}]
            yield {"progress": "red still finishes 1 connection of before; it has 30s more"}
            yield {"done": "done"}

        self.patch(self.keeper, "change", change)

    def test_still_finishes(self) -> None:
        """What finishes, from the folder, what it has open is hurried and waited for before
        anything is installed there."""
        self.finishing()

        def gone() -> None:
            self.assertFalse([words for words in self.ran if "pip" in words])
            if self.slept >= 20:
                self.keeper.now["ending"] = []
                self.sleeping = lambda: None

        self.sleeping = gone
        self.assertEqual(self.deploy(Wanted(watch=0)), "red serves 2.0 and stays")
        self.assertEqual(self.keeper.asked, ["hurry red", "switch", "commit"])
        self.assertIn("red still finishes 1 connection of before; it has 30s more", self.steps)

    def test_finishes_for_ever(self) -> None:
        """It is not waited for for ever, nor is anything installed then."""
        self.finishing()
        self.assertIn("red does not end", str(self.failed()))
        self.assertLess(self.slept, 130)
        self.assertFalse([words for words in self.ran if "pip" in words])

    def test_nothing_new_hurries_nobody(self) -> None:
        """...and neither does what the keeper refuses go any further."""
        self.finishing("the keeper ends")
        self.assertIn("the keeper ends", str(self.failed()))
        self.assertFalse([words for words in self.ran if "pip" in words])

    def test_what_is_installed(self) -> None:
        """What is checked is said by its version."""
        metadata(self.red, "2.0.1")
        (self.red / ".git").rmdir()
        wheel = self.red.parent / "a.whl"
        wheel.write_text("")
        self.deploy(Wanted(str(wheel), 0))
        self.assertIn("red: checking /etc/sites.ini with 2.0.1", self.steps)


class RunTests(SynchronousTestCase):
    def test_run(self) -> None:
        """Both outputs, the status, the folder; no keeper's modules, no questions."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        script = (
            "import os, sys; print(os.getcwd()); print(os.environ.get('PYTHONPATH'),"
            " os.environ['GIT_TERMINAL_PROMPT'], sys.stdin.read(), file=sys.stderr); sys.exit(4)"
        )
        self.patch(os, "environ", {"PYTHONPATH": "/x"})
        self.assertEqual(
            run([sys.executable, "-uc", script], str(folder)), (4, f"{folder}\nNone 0 \n")
        )

    def test_readable(self) -> None:
        """What is installed can be read by who runs the teams, whatever umask root has."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.addCleanup(os.umask, os.umask(0o077))
        self.assertEqual(run(["mkdir", "made"], str(folder)), (0, ""))
        self.assertEqual(stat.S_IMODE((folder / "made").stat().st_mode), 0o755)

    def test_not_there(self) -> None:
        """A program that is not there is a failure like others."""
        status, said = run(["/nonexistent/pip"], "/")
        self.assertEqual((status, said), (127, "/nonexistent/pip: No such file or directory"))
