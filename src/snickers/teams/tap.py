"""The wiring of the keeper: from its command line to the service that ``twistd`` runs.

It names the real reactor and the environment. It starts nothing: ``twistd`` sheds privileges after
`makeService` has returned.
"""

# Twisted's functions for processes have no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import faulthandler
import fcntl
import grp
import os
import pwd
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python import usage

from snickers import __version__, ending
from snickers.alarm import Alarm
from snickers.alarm_command import AlarmCommand
from snickers.config.files import NEITHER, WHERE, named, usual
from snickers.listening import handed_over
from snickers.teams.configured import Configured, Misconfigured, read
from snickers.teams.processes import FIRST
from snickers.teams.service import Front, KeeperService, State
from snickers.tls.threads import OwnThreads

HIGH = 200
"""Descriptors from here on are out of the way of those that are handed over."""


class Options(usage.Options):
    """The command line behind ``twistd snickers-teams``."""

    synopsis = "--blue DIR --red DIR [--config FILE]"
    longdesc = (
        "Hold the listening sockets, and run Snickers from one of two folders: each has its own "
        "virtual environment in .venv."
    )
    optParameters = [
        ["blue", "b", None, "The folder of the team blue."],
        ["red", "r", None, "The folder of the team red."],
        ["config", "c", "", f"The teams' configuration; default: {WHERE}."],
        ["team-user", None, "", "The user that the teams become, if the keeper is root."],
        ["team-group", None, "", "The group that the teams become; default: the user's."],
    ]

    def postOptions(self) -> None:
        for team in ("blue", "red"):
            if not self[team]:
                raise usage.UsageError(
                    f"--{team} DIR is missing: the folder of the team {team}, with its .venv"
                )
        if os.path.realpath(self["blue"]) == os.path.realpath(self["red"]):
            raise usage.UsageError("--blue and --red are the same folder; each team needs its own")


def _user(name: str, group: str) -> tuple[int, int] | None:
    """Return whom the teams' own files belong to; ``None``: who runs the keeper."""
    if not name:
        return None
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        ending.fail(f"--team-user {name}: there is no such user")
    try:
        return found.pw_uid, grp.getgrnam(group).gr_gid if group else found.pw_gid
    except KeyError:
        ending.fail(f"--team-group {group}: there is no such group")


def team_arguments(config: str, user: str, group: str) -> list[str]:
    """Return what the program of a team gets."""
    arguments = ["--nodaemon", "--pidfile="]
    if user:
        arguments += ["--uid", user, "--gid", group or str(pwd.getpwnam(user).pw_gid)]
    return [*arguments, "snickers", "--config", config]


def give_up_pidfile(path: str, pid: int) -> None:
    """Remove the pidfile at *path*, if it names *pid*: twistd takes any that runs for another one.

    Raises `OSError` if that cannot be done.
    """
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            named = file.read().strip()
        if named == str(pid):
            os.unlink(path)
    except FileNotFoundError:
        pass


def replace(fronts: Sequence[Front], pidfile: str = "") -> None:
    """Have a newer keeper go on in this very process, with the same sockets.

    *pidfile* is twistd's, ``""`` if there is none. Raises `OSError` as long as this one can go on.
    """
    if not os.access(sys.executable, os.X_OK):
        raise OSError(0, f"{sys.executable} cannot be run")
    variables = {k: v for k, v in os.environ.items() if not k.startswith("LISTEN_")}
    variables["LISTEN_FDS"] = str(len(fronts))
    variables["LISTEN_FDNAMES"] = ":".join(name for name, _ in fronts)
    if pidfile:
        give_up_pidfile(pidfile, os.getpid())
    # Copies out of the way first: what lies from FIRST on is the reactor's, and is not needed by
    # the time it is overwritten.
    moved = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, HIGH) for _, sock in fronts]
    sys.stdout.flush()
    try:
        for index, descriptor in enumerate(moved):
            os.dup2(descriptor, FIRST + index)
        # What is ignored stays so until the newer one has its own handlers; without any of them a
        # signal would end it.
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], variables)
    except OSError as problem:
        # The reactor's own descriptors are gone. Whoever is started next takes up the teams.
        print(
            f"the newer keeper cannot be run: {problem.strerror}", file=sys.__stderr__, flush=True
        )
        os._exit(1)


def sound(path: str) -> None:
    """What a newer keeper is asked before it takes this one's place: can it read *path*?"""
    read(path)


def makeService(options: Options) -> KeeperService:
    """Read what concerns the keeper and connect everything; start nothing.

    Faults end the start: a line each on stderr, exit status 1.
    """
    from twisted.internet import reactor

    # systemd ends one that hangs by SIGABRT: the journal then has what it was doing.
    faulthandler.enable(2)
    given = named(options["config"])
    path = os.path.abspath(usual(given))
    if not given and not os.path.exists(path):
        ending.fail(f"snickers: {NEITHER}")
    configured = _configured(path)
    user, group = options["team-user"], options["team-group"]
    owner = _user(user, group)
    # Relative to where twistd is by then.
    pidfile = str(options.parent["pidfile"] or "") if options.parent else ""
    environ = {**handed_over(), **os.environ}
    if environ.get("LISTEN_PID") == str(os.getpid()):
        # Meant for us, also when twistd goes on under another number.
        del environ["LISTEN_PID"]
    steady: Any = reactor
    # A clock that nobody can set: a step would stall, or end, every deadline.
    steady.seconds = time.monotonic

    def sound_now() -> Deferred[str]:
        script = "import sys; from snickers.teams.tap import sound; sound(sys.argv[1])"
        found: Deferred[Any] = getProcessOutputAndValue(
            sys.executable, ["-P", "-c", script, path], env=dict(os.environ), reactor=reactor
        )

        def words(result: tuple[bytes, bytes, int]) -> str:
            _, said, status = result
            if status == 0:
                return ""
            lines = said.decode("utf-8", "replace").strip().splitlines()
            return lines[-1] if lines else f"it ended with status {status}"

        return found.addCallbacks(words, lambda failure: str(failure.value))

    return KeeperService(
        reactor,
        time.time,
        environ,
        configured,
        lambda: read(path),
        {team: os.path.abspath(options[team]) for team in ("blue", "red")},
        team_arguments(path, user, group),
        State(configured.state, owner),
        Alarm(AlarmCommand(reactor, configured.alarm_command), time.time),  # type: ignore[arg-type]
        OwnThreads(reactor, 1, "keeper"),  # type: ignore[arg-type]
        lambda fronts: replace(fronts, pidfile),
        sound_now,
        lambda line: ending.fail(f"{path}: {line}", logged=not ending.log_shown(options.parent)),
        {"keeper_version": __version__, "keeper_pid": os.getpid(), "config": path},
    )


def _configured(path: str) -> Configured:
    try:
        return read(path)
    except Misconfigured as problem:
        ending.fail(*problem.lines)
