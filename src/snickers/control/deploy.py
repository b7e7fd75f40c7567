"""``snickers deploy``: a new version into the folder that is not live, and from there to the door.

Fetch, install, check against the live configuration, switch, watch, commit: one after the other,
and what fails ends it there, with the last lines of what was said. Nothing here touches the folder
or the process that serves; until the switch nobody has noticed, and after it the keeper takes a
newcomer back by itself.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from attrs import frozen

from snickers.control.client import ControlFailed, Lost
from snickers.control.keeper_client import KeeperClient, NoKeeper
from snickers.control.team_folders import deployed, is_checkout, look, note_deployed

LAST = 12
"""Lines of a failed step that are shown: enough for pip's and git's own words on what to do."""
KEEPER_BACK_WITHIN = 30.0
"""Seconds for which a keeper may be away that is followed by another one, on a busy machine."""
LOOK_EVERY = 1.0
"""Seconds between two looks at a newcomer that is watched."""
LATE = 30.0
"""Seconds that one which was to end is waited for beyond its time: the keeper kills it by then."""
LOADS = (
    "import importlib, pkgutil, snickers; "
    "[importlib.import_module(found.name) "
    "for found in pkgutil.walk_packages(snickers.__path__, 'snickers.')]"
)
"""Has the new version load every part of itself: a team that cannot says so in a log elsewhere."""


class DeployFailed(Exception):
    """A step failed: the text says which and why; `lines` are the last of what it printed."""

    def __init__(self, step: str, words: str, lines: Sequence[str] = ()) -> None:
        super().__init__(f"{step}: {words}")
        self.step = step
        self.lines = tuple(lines[-LAST:])


class Run(Protocol):
    """Runs a program."""

    def __call__(self, command: Sequence[str], folder: str) -> tuple[int, str]:
        """Run *command* in *folder*; return its exit status and all it printed."""


def run(command: Sequence[str], folder: str) -> tuple[int, str]:
    """Run *command* in *folder*; see `Run`."""
    environ = {
        name: value
        for name, value in os.environ.items()
        # The folder's own Python must not find this one's modules, or ask a person anything.
        if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    environ |= {"GIT_TERMINAL_PROMPT": "0", "PIP_NO_INPUT": "1"}
    # A checkout that is damaged must not have git find another one, around it.
    environ["GIT_CEILING_DIRECTORIES"] = os.path.dirname(os.path.abspath(folder))
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            # Whoever runs the teams must be able to read it, however careful root's shell is.
            umask=0o022,
        )
    except OSError as problem:
        return 127, f"{command[0]}: {problem.strerror}"
    return done.returncode, done.stdout.decode("utf-8", "replace")


@frozen
class Wanted:
    """What is to be deployed, and how."""

    source: str = ""
    """A branch, tag or commit; or the path of a wheel; empty: the newest of the branch."""
    watch: float = 60.0
    """Seconds to watch the newcomer before it stays."""
    commit: bool = True
    """Whether it stays after that, or a person decides."""
    force: bool = False
    """Whether it is deployed although the live team was made of the very same."""

    @property
    def wheel(self) -> bool:
        """Whether the source is a wheel."""
        return self.source.endswith(".whl")


class Deploy:
    """One deployment.

    *config* is the live configuration, *step* is called with words as it goes on, *sleep* waits so
    many seconds, *elapsed* is seconds since anything; while a newcomer is watched there are words
    every *tell_every* seconds. *note* is called with the team when it is under way, and again with
    how it has ended and whether it has failed.
    """

    def __init__(
        self,
        keeper: KeeperClient,
        config: str,
        wanted: Wanted,
        step: Callable[[str], None],
        sleep: Callable[[float], None],
        elapsed: Callable[[], float],
        runs: Run = run,
        tell_every: float = LOOK_EVERY,
        note: Callable[[str, str, bool | None], None] = lambda team, words, failed: None,
    ) -> None:
        self._keeper = keeper
        self._config = config
        self._wanted = wanted
        self._step = step
        self._sleep = sleep
        self._elapsed = elapsed
        self._runs = runs
        self._tell_every = tell_every
        self._note = note
        self.team = ""
        """Which team it goes to."""
        self._folder = self._live = ""

    def do(self) -> str:
        """Do all of it and return how it has ended; raises `DeployFailed` or `ControlFailed`."""
        self._choose(self._keeper.status())
        folder = self._folder
        with self._alone(folder):
            status = self._keeper.status()
            self._choose(status)
            if self._folder != folder:
                raise DeployFailed("teams", "they have changed over just now; again, if need be")
            return self._noted(status)

    def _noted(self, status: Mapping[str, Any]) -> str:
        """Do it, and leave a note of how it ended."""
        try:
            self._fetch()
            identity = self._identity()
            if not self._wanted.force and identity and identity == deployed(self._live):
                live = status["live"]["team"]
                return (
                    f"nothing new: {live} was made of the very same and serves; --force deploys "
                    f"it again, 'snickers teams restart' starts {live} anew"
                )
            self._note(self.team, "", None)
            words = self._deploy(identity, status)
        except (DeployFailed, ControlFailed) as problem:
            self._note(self.team, str(problem), True)
            raise
        except KeyboardInterrupt:
            self._note(self.team, "it was interrupted", True)
            raise
        self._note(self.team, words, False)
        return words

    def _deploy(self, identity: str, status: Mapping[str, Any]) -> str:
        self._clear_the_way(status)
        self._install(identity)
        self._check()
        self._switch()
        newcomer, version = self._watch()
        if not self._wanted.commit:
            return f"{self.team} serves {version}, on trial: 'snickers teams commit' has it stay"
        self._commit(newcomer)
        return f"{self.team} serves {version} and stays"

    @contextmanager
    def _alone(self, folder: str) -> Iterator[None]:
        """Keep others from deploying into *folder* meanwhile: pip and git would meet there."""
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            # There is none yet, or it is none: what comes next says so.
            yield
            return
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DeployFailed(
                    "teams", f"somebody else deploys into {folder} right now; again when that ends"
                ) from None
            yield
        finally:
            os.close(descriptor)

    # Which folder

    def _choose(self, status: Mapping[str, Any]) -> None:
        live, other = status.get("live"), status.get("other")
        if live is None:
            words = status.get("words", "no team serves")
            raise DeployFailed("teams", f"{words}; bring one up first ('snickers teams')")
        if other is not None or status.get("stage") != "serving":
            words = status.get("words", "teams are changing over")
            raise DeployFailed(
                "teams",
                f"{words}; 'snickers teams commit' or 'snickers teams rollback' first",
            )
        self.team = next(team for team in ("blue", "red") if team != live["team"])
        if any(not one.get("finishing_since") for one in self._ending(status)):
            # It may still load a part of itself from there.
            raise DeployFailed(
                "teams", f"{self.team} still finishes what it has open; again when it has ended"
            )
        self._folder = status["folders"][self.team]
        self._live = status["folders"][live["team"]]

    def _ending(self, status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return the processes of before that still run from the folder."""
        return [one for one in status.get("ending") or () if one["team"] == self.team]

    def _clear_the_way(self, status: Mapping[str, Any]) -> None:
        """Have what still finishes, from this folder, what it has open end soon, and wait for it:
        it may still load a part of itself from there."""
        if not self._ending(status):
            return
        try:
            for answer in self._keeper.change(f"hurry {self.team}"):
                if "progress" in answer:
                    self._step(str(answer["progress"]))
        except ControlFailed as problem:
            raise DeployFailed("teams", str(problem)) from None
        status, began = self._look(), self._elapsed()
        ends = [one.get("ends_by") or 0.0 for one in self._ending(status)]
        limit = max(ends, default=0.0) - (status.get("now") or 0.0) + LATE
        while self._ending(status):
            if self._elapsed() - began > limit:
                raise DeployFailed("teams", f"{self.team} does not end; see the keeper's log")
            self._sleep(LOOK_EVERY)
            status = self._look()

    def _look(self) -> dict[str, Any]:
        """Return the keeper's status; a keeper that is followed by another one is away for some
        seconds, and the teams go on meanwhile."""
        began = self._elapsed()
        while True:
            try:
                return self._keeper.status()
            except (NoKeeper, Lost):
                if self._elapsed() - began >= KEEPER_BACK_WITHIN:
                    raise
            self._sleep(LOOK_EVERY)

    def _must(self, step: str, words: str, command: Sequence[str], shown: str = "") -> str:
        """Run *command*, *shown* to a person like that; fail with *words* and what it said."""
        status, said = self._runs(command, self._folder)
        if status != 0:
            shown = shown or " ".join(command)
            raise DeployFailed(
                step, f"{words} ({shown}: exit status {status})", said.strip().splitlines()
            )
        return said.strip()

    # The steps

    def _fetch(self) -> None:
        wanted, folder = self._wanted, self._folder
        if wanted.wheel:
            if not os.path.isfile(wanted.source):
                raise DeployFailed("fetch", f"{wanted.source}: there is no such wheel")
            os.makedirs(folder, exist_ok=True)
            return
        if not is_checkout(folder):
            raise DeployFailed(
                "fetch",
                f"{folder} is no checkout of git's; make it one (git clone), or give --from WHEEL",
            )
        self._step(f"{self.team}: fetching into {folder}")
        git = ["git", "-C", folder]
        if wanted.source:
            self._must("fetch", "git could not fetch", [*git, "fetch", "--tags", "--prune"])
            # A branch means what it is there, not where this checkout left it.
            for at in (f"origin/{wanted.source}", wanted.source):
                verify = [*git, "rev-parse", "--verify", "--quiet", f"{at}^{{commit}}"]
                if self._runs(verify, folder)[0] == 0:
                    break
            else:
                words = f"there is no such branch, tag or commit where {folder} is fetched from"
                raise DeployFailed("fetch", f"{wanted.source}: {words}")
            self._must(
                "fetch",
                f"{wanted.source} could not be checked out",
                [*git, "checkout", "--detach", at],
            )
        else:
            status, _ = self._runs([*git, "symbolic-ref", "--quiet", "HEAD"], folder)
            if status != 0:
                raise DeployFailed(
                    "fetch", f"{folder} is on no branch: say what is wanted with --from REF"
                )
            self._must("fetch", "git could not pull", [*git, "pull", "--ff-only"])

    def _identity(self) -> str:
        """Return what is about to be deployed, exactly; empty where that cannot be said."""
        if self._wanted.wheel:
            try:
                with open(self._wanted.source, "rb") as file:
                    return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            except OSError as problem:
                words = f"{self._wanted.source}: {problem.strerror}"
                raise DeployFailed("fetch", words) from None
        git = ["git", "-C", self._folder]
        status, commit = self._runs([*git, "rev-parse", "HEAD"], self._folder)
        if status != 0:
            return ""
        status, changes = self._runs([*git, "status", "--porcelain", "-uno"], self._folder)
        return commit.strip() if status == 0 and not changes.strip() else ""

    def _install(self, identity: str) -> None:
        folder = self._folder
        python = os.path.join(folder, ".venv", "bin", "python")
        if not os.access(python, os.X_OK):
            self._step(f"{self.team}: making {folder}/.venv")
            base = getattr(sys, "_base_executable", sys.executable)
            self._must(
                "install",
                "the virtual environment could not be made",
                [base, "-m", "venv", os.path.join(folder, ".venv")],
            )
        self._step(f"{self.team}: installing")
        # Until it is whole it is nothing.
        self._made_of("")
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        source = os.path.abspath(self._wanted.source) if self._wanted.wheel else folder
        failed = "pip could not install it"
        self._must("install", failed, [*pip, "--upgrade", source])
        if self._wanted.wheel:
            # A wheel of a version that is there already would be passed over.
            self._must("install", failed, [*pip, "--force-reinstall", "--no-deps", source])
        self._made_of(identity)
        # Twisted remembers which plugins there are; who runs the teams may not write there.
        plugins = "from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))"
        self._runs([python, "-c", plugins], folder)

    def _made_of(self, identity: str) -> None:
        try:
            note_deployed(self._folder, identity)
        except OSError as problem:
            raise DeployFailed("install", f"{problem.filename}: {problem.strerror}") from None

    def _check(self) -> None:
        self._step(f"{self.team}: checking {self._config} with {look(self._folder).words()}")
        snickers = os.path.join(self._folder, ".venv", "bin", "snickers")
        self._must(
            "check",
            "the new version does not take the live configuration",
            [snickers, "--config", self._config, "check"],
        )
        python = os.path.join(self._folder, ".venv", "bin", "python")
        self._must(
            "check",
            "the new version cannot be loaded",
            [python, "-P", "-c", LOADS],
            f"{python}, with every module of Snickers",
        )

    def _switch(self) -> None:
        try:
            for answer in self._keeper.change("switch"):
                if "progress" in answer:
                    self._step(str(answer["progress"]))
        except ControlFailed as problem:
            raise DeployFailed("switch", str(problem)) from None

    def _watch(self) -> tuple[int, str]:
        """Watch the newcomer; return its number and its version."""
        status = self._look()
        newcomer = self._on_trial(status, None)
        began = self._elapsed()
        told = -self._tell_every
        while (passed := self._elapsed() - began) < self._wanted.watch:
            left = self._wanted.watch - passed
            live = status["live"]
            if passed - told >= self._tell_every:
                told = passed
                self._step(
                    f"{self.team}: watched for {left:.0f} s more; {live['answers']} answers, "
                    f"{live['errors']} errors, {live['alarms']} alarms"
                )
            self._sleep(min(LOOK_EVERY, left))
            status = self._look()
            self._on_trial(status, newcomer)
        return newcomer, str(status["live"]["version"]) or look(self._folder).words()

    def _on_trial(self, status: Mapping[str, Any], newcomer: int | None) -> int:
        live = status.get("live")
        if live is None or live["team"] != self.team or newcomer not in (None, live["id"]):
            words = status.get("taken_back") or status.get("words") or "it does not serve any more"
            raise DeployFailed("watch", str(words))
        return int(live["id"])

    def _commit(self, newcomer: int) -> None:
        status = self._look()
        # It may have been taken back since it was last looked at.
        self._on_trial(status, newcomer)
        if status.get("stage") == "serving":
            # It was committed meanwhile: by itself, or by another person.
            return
        live, before = status["live"], status.get("other")
        if before is not None and live["alarms"] > before["alarms"]:
            raise DeployFailed(
                "commit",
                f"{self.team} has alarms that the team before it has not ('snickers status'); it "
                "serves on trial: 'snickers teams commit' or 'snickers teams rollback'",
            )
        try:
            for answer in self._keeper.change("commit"):
                if "progress" in answer:
                    self._step(str(answer["progress"]))
        except ControlFailed as problem:
            raise DeployFailed("commit", str(problem)) from None
