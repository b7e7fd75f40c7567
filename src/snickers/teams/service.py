"""The service that ``twistd snickers-teams`` runs: the listening sockets, and a keeper over them.

Sockets are there before privileges are shed, and are never closed before the process ends: not when
teams come and go, and not when the keeper puts a newer one in its own place. It must never leave a
half-started keeper behind: what cannot be started ends the start, in words.
"""

# Twisted's ports have no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from snickers.alarm import Alarm
from snickers.control.socketfile import ControlUnavailable, OwnersPort
from snickers.control.socketfile import listen as listen_for_asks
from snickers.heartbeat import Heartbeat, every
from snickers.listening import CannotListen, bind, inherited
from snickers.notify import Notifier
from snickers.teams import notices, record
from snickers.teams.asks import Asking, Asks
from snickers.teams.configured import Configured
from snickers.teams.ends import WATCHDOG, leaves_within
from snickers.teams.keeper import Keeper
from snickers.teams.moves import DUTY, ENDED, TAKEN_BACK
from snickers.teams.pair import Command, Stage
from snickers.teams.processes import (
    IProcess,
    Reaper,
    become_subreaper,
    began,
    environment,
    sockets_of,
    spawn,
    take_up,
)
from snickers.teams.recorder import Recorder
from snickers.teams.survivors import holder, survivors
from snickers.tls.threads import Threads

REAP_EVERY = 1.0
"""Seconds between two looks for children that teams have left behind."""

CLOSE_WITHIN = 20.0
"""Seconds that the keeper needs at its end beside the teams' own: to hear of it, and to write down
that they have gone, on a busy disk; and until it says again how long it takes."""

RENEW_AGAIN = 1.0
"""Seconds until a newer keeper is tried again while teams change over."""
QUIET = (Stage.DOWN, Stage.SERVING, Stage.TRIAL)
"""The stages in which nothing is on its way between the keeper and a team."""

ANSWERED_WITHIN = 5
"""Tries by which who has asked should have had the answer; one who only stays is not waited for."""

UPDATE = "keeper"
"""The alarm that a newer keeper would not start: one that starts ends it."""
KEPT = (DUTY, ENDED, TAKEN_BACK, UPDATE)
"""The kinds of alarms that a later keeper goes on with; others are about this process."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a folder is opened: itself, and no link to another one."""

Front = tuple[str, socket.socket]
"""A listening socket, and the name it is handed over by."""


class CannotKeep(Exception):
    """The keeper cannot start; the text says why and what would be right."""


class State:
    """The keeper's folder in the state folder: ``STATE/teams``.

    The teams write there, too, and with *owner* they are another user than the keeper, who may be
    root: so the folder is opened once and everything reached through its descriptor, no link is
    followed, and only what the keeper itself has written is believed.
    """

    def __init__(self, state: str, owner: tuple[int, int] | None = None) -> None:
        self.folder = os.path.join(state, "teams")
        self._owner = owner
        self._descriptor = -1
        self._lock = -1

    def path(self, name: str) -> str:
        """Return the path of the file *name*, for others."""
        return os.path.join(self.folder, name)

    def own_path(self, name: str) -> str:
        """Return a path of the file *name* that leads into this very folder, for this process."""
        return f"/proc/self/fd/{self._descriptor}/{name}"

    @property
    def shared(self) -> bool:
        """Whether the teams are another user than the keeper."""
        return self._owner is not None

    def open(self) -> None:
        """Have the folder, and hold its lock as long as this process lives; raises `CannotKeep`."""
        try:
            self._make_state()
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            self._descriptor = os.open(self.folder, _FOLDER)
            self._claim()
            self._lock = os.open(
                "keeper.lock",
                os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
                dir_fd=self._descriptor,
            )
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotKeep(
                f"another keeper runs with {self.folder}; end it first, or give this one another "
                "[snickers] state"
            ) from None
        except OSError as problem:
            raise CannotKeep(
                f"cannot use {self.folder}: {problem.strerror}; [snickers] state must be a folder "
                "in which the keeper may make files"
            ) from None

    def _make_state(self) -> None:
        """Have the state folder be there. One that is made here is the teams', who write there."""
        state = os.path.dirname(self.folder)
        if os.path.lexists(state):
            self._for_the_teams(state)
            return
        os.makedirs(state, mode=0o700)
        if self._owner is not None:
            descriptor = os.open(state, _FOLDER)
            try:
                os.fchown(descriptor, *self._owner)
            finally:
                os.close(descriptor)

    def _for_the_teams(self, state: str) -> None:
        """Raise `CannotKeep` if the teams cannot write to the folder *state*, for all one sees."""
        found = os.stat(state)
        if self._owner is None or not stat.S_ISDIR(found.st_mode):
            return
        uid, gid = self._owner
        others = stat.S_IWGRP | stat.S_IWOTH
        if uid not in (0, found.st_uid) and not found.st_mode & others:
            raise CannotKeep(
                f"{state} belongs to user {found.st_uid}, and the teams, which become user {uid}, "
                f"may not write there: chown -R {uid}:{gid} {state}"
            )

    def _claim(self) -> None:
        """Have the folder belong to the user of the teams; raises `CannotKeep` if it cannot."""
        owner = os.fstat(self._descriptor).st_uid
        if self._owner is None:
            wanted = os.geteuid()
        else:
            wanted = self._owner[0]
            if owner == os.geteuid():
                os.fchown(self._descriptor, *self._owner)
                owner = wanted
        if owner != wanted:
            raise CannotKeep(
                f"{self.folder} belongs to another user (uid {owner}): run the keeper as that "
                "one, or remove the folder while no team runs"
            )

    def close(self) -> None:
        """Let go of the lock."""
        for descriptor in (self._lock, self._descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock = self._descriptor = -1

    def read(self) -> bytes:
        """Return what the last keeper has written down; nothing, if there is nothing."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open("keeper.json", flags, dir_fd=self._descriptor)
        except OSError:
            return b""
        found = os.fstat(descriptor)
        # It says whom to signal: what others may have put there says nothing.
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            os.close(descriptor)
            return b""
        with open(descriptor, "rb") as file:
            return file.read(1 << 20)

    def write(self, data: bytes) -> None:
        """Write it down durably. Blocks."""
        folder, new = self._descriptor, "keeper.json.new"
        with suppress(FileNotFoundError):
            os.unlink(new, dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(new, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(new, "keeper.json", src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)


def boot() -> str:
    """Return which boot of the host this is."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


class KeeperService(Service):
    """The keeper as a service.

    :param environ: the process' own, with the ``LISTEN_`` variables it was started with.
    :param reading: returns the configuration as it is now; blocks.
    :param folders: of the teams, by name.
    :param arguments: what a team's program gets.
    :param replace: puts a newer keeper in the place of this process, and hands it the sockets;
        raises `OSError` if it cannot.
    :param sound: says in words what is wrong with a keeper that would be started now, ``""`` if
        nothing is; fires with that.
    :param fail: ends the start, with a line.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        wall: Callable[[], float],
        environ: Mapping[str, str],
        configured: Configured,
        reading: Callable[[], Configured],
        folders: Mapping[str, str],
        arguments: Sequence[str],
        state: State,
        alarm: Alarm,
        threads: Threads,
        replace: Callable[[Sequence[Front]], None],
        sound: Callable[[], Deferred[str]],
        fail: Callable[[str], None],
        about: Mapping[str, Any],
    ) -> None:
        self._reactor = reactor
        self._wall = wall
        self._environ = environ
        self._configured = configured
        self._reading = reading
        self._folders = folders
        self._arguments = arguments
        self._state = state
        self._alarm = alarm
        self._threads = threads
        self._replace = replace
        self._sound = sound
        self._fail = fail
        self._about = about
        self._notifier = Notifier(environ)
        self._heartbeat = Heartbeat(
            reactor, self._notifier, every(environ, os.getpid()), self.again
        )
        self._fronts: list[Front] = []
        self._bound = False
        """Whether these are ours, and nothing was handed over."""
        self._cannot = ""
        """Why the addresses could not be listened on."""
        self._signals: dict[int, Any] = {}
        self._ear: notices.Ear | None = None
        self._port: OwnersPort | None = None
        self._reaping = LoopingCall(Reaper().reap)
        self._reaping.clock = reactor
        self._serves = False
        self._words = ""
        """What goes on, as it was told last."""
        self._ending = False
        self._recorder = Recorder(
            reactor, threads.run, alarm, state.path("keeper.json"), self._data, state.write
        )
        self.written = self._recorder.written
        self.keeper = Keeper(
            reactor, wall, self._launch, began, alarm, self._recorder.changed, self._tell
        )
        self.asks = Asks(self.keeper, self.status, self.ask, self.written)

    # Starting

    def privilegedStartService(self) -> None:
        """Take the sockets that were handed over, or bind."""
        try:
            given = inherited(self._environ)
            for name in given.keys() - {"https", "http"}:
                self.log.warn(
                    "a socket was handed over as {name!r} and is not used; FileDescriptorName="
                    " (LISTEN_FDNAMES) must be https or http",
                    name=name,
                )
            for name in ("https", "http"):
                self._fronts += [(name, sock) for sock in given.get(name, ())]
            self._bound = not self._fronts
            for name, listen in self._configured.addresses:
                if name not in given:
                    self._fronts.append((name, bind(listen)))
        except CannotListen as problem:
            for _, sock in self._fronts:
                sock.close()
            self._fronts = []
            # Teams of a keeper that was killed may hold them: that is looked for first.
            self._cannot = str(problem)

    def startService(self) -> None:
        super().startService()
        self._threads.start()
        try:
            self._state.open()
            left = record.read(self._state.read())
            if left is not None and left.boot != boot():
                left = record.without_members(left)
            self._keep(left)
        except (CannotKeep, CannotListen, notices.CannotHear, ControlUnavailable) as problem:
            self._threads.stop()
            # As a person knows the folder, and not as this process does.
            self._fail(str(problem).replace(self._state.own_path(""), self._state.path("")))

    def _keep(self, left: record.Record | None) -> None:
        processes = self._still_running(left)
        left, first = self._with_survivors(left, processes)
        processes |= self._still_running(left, processes)
        self._serve_as_before(left, processes)
        become_subreaper()
        notices.check(self._state.path("notify.sock"))
        sock = notices.listen(self._state.own_path("notify.sock"), self._state.shared)
        self._ear = notices.Ear(self._reactor, sock, self.keeper.heard)
        self._ear.start()
        self.keeper.listen = self._ear.doRead
        own = self._state.own_path("keeper.sock")
        self._port = listen_for_asks(self._reactor, own, self.asks)
        self._reaping.start(REAP_EVERY, now=False)
        self._heartbeat.start()
        self._reactor.callWhenRunning(self._running, left, first, processes)

    def _with_survivors(
        self, left: record.Record | None, processes: Mapping[int, tuple[IProcess, record.Process]]
    ) -> tuple[record.Record | None, tuple[Command, ...]]:
        """Return the record with the teams that run and are not in it; raises `CannotKeep` if it
        cannot be made out what runs: no team may be started beside one that serves."""
        known = {process.pid for process, _ in processes.values()}
        found = survivors(self._state.path("notify.sock"), known)
        lock = os.path.join(os.path.dirname(self._state.folder), "duty.lock")
        on_duty = holder(lock)
        path = self._state.path("keeper.json")
        if on_duty and on_duty not in known | {one.pid for one in found}:
            raise CannotKeep(
                f"process {on_duty} serves with this state ({lock}), and {path} does not know of "
                f"it: a team would be started beside it. End it (kill {on_duty}), or start the "
                "keeper as root, which finds it if it is a team"
            )
        for one in found:
            self.log.warn(
                "{path} does not know of process {pid}, {team}, which {does}: it was lost, or not "
                "written when a keeper was killed",
                path=path,
                pid=one.pid,
                team=one.team,
                does="serves and is taken up" if one.pid == on_duty else "runs beside",
            )
        now = self._reactor.seconds()
        return record.with_survivors(left, processes, found, on_duty, now)

    def _still_running(
        self, left: record.Record | None, but: Collection[int] = ()
    ) -> dict[int, tuple[IProcess, record.Process]]:
        found: dict[int, tuple[IProcess, record.Process]] = {}
        if left is None:
            return found
        for id, known in left.processes.items():
            if id in but:
                continue
            ended = partial(self.keeper.ended, id)
            process = take_up(self._reactor, known.pid, known.began, ended)
            if process is not None:
                found[id] = (process, known)
        return found

    def _serve_as_before(
        self,
        left: record.Record | None,
        processes: Mapping[int, tuple[IProcess, record.Process]],
    ) -> None:
        """Take the sockets of the teams that run, also where the configuration has other addresses
        by now, which could be bound: nobody accepts there until the teams are started anew. Raises
        `CannotListen`."""
        if not self._fronts:
            self._fronts = self._taken_from(left, processes)
            return
        if left is None or not self._bound:
            return
        for one in (left.pair.live, left.pair.other):
            if one is None or one.id not in processes:
                continue
            pid = processes[one.id][0].pid
            try:
                sockets = sockets_of(pid, len(left.names))
            except PermissionError as problem:
                raise CannotListen(self._held(pid, problem)) from None
            except OSError:
                continue  # it ends, and has closed them
            for _, sock in self._fronts:
                sock.close()
            self._fronts = list(zip(left.names, sockets, strict=True))
            self.log.warn(
                "the teams that run go on with the sockets that they have: https and http in"
                " [snickers] are others by now, which counts when the keeper and the teams have"
                " ended and are started again"
            )
            return

    def _held(self, pid: int, problem: OSError) -> str:
        words = (
            f"{self._cannot} Teams of a keeper that was killed still serve (process {pid}), and "
            f"their sockets cannot be taken over: {problem.strerror}; start the keeper as root "
            "once, or end them first"
        )
        return words.strip()

    def _taken_from(
        self,
        left: record.Record | None,
        processes: Mapping[int, tuple[IProcess, record.Process]],
    ) -> list[Front]:
        """Take the sockets from a team that a killed keeper has left; raises `CannotListen`."""
        words = self._cannot
        for process, _ in processes.values():
            assert left is not None
            try:
                sockets = sockets_of(process.pid, len(left.names))
            except OSError as problem:
                # One that ends has closed them; the next one may have them.
                words = self._held(process.pid, problem)
                continue
            return list(zip(left.names, sockets, strict=True))
        raise CannotListen(words)

    def _running(
        self,
        left: record.Record | None,
        first: Sequence[Command],
        processes: Mapping[int, tuple[IProcess, record.Process]],
    ) -> None:
        """The reactor runs, and has installed its own handlers of signals."""
        for number, act in (
            (signal.SIGHUP, self._reload),
            (signal.SIGUSR2, self.renew),
            (signal.SIGTERM, self._end),
            (signal.SIGINT, self._end),
        ):
            self._signals[number] = signal.signal(number, self._handler(act))
        # What a person means for a team would end the keeper.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        self._apply(self._configured)
        if left is None:
            self.keeper.begin()
            return
        self._know(left.alarms)
        before = evolve(
            left.pair,
            drain_within=self._configured.drain_within,
            finish_within=self._configured.finish_within,
        )
        pair, commands = record.taken_up(before, processes, self._reactor.seconds())
        if processes:
            self.log.info(
                "taking up {count} running: {pids}",
                count=len(processes),
                pids=", ".join(str(process.pid) for process, _ in processes.values()),
            )
        self.keeper.take_up(pair, (*first, *commands), processes)

    def _know(self, alarms: Iterable[record.Told]) -> None:
        """Have the alarms go on that a former keeper raised; that which it could not be followed
        by a newer one is over."""
        for kind, words, _ in alarms:
            if kind == TAKEN_BACK:
                self.keeper.taken_back = words
        self._alarm.keep((kind, "", words, since) for kind, words, since in alarms)
        self._alarm.cleared(UPDATE, "")

    def _handler(self, act: Callable[[], object]) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            self._reactor.callFromThread(act)

        return handle

    # While it runs

    def _launch(self, team: str, stand_by: bool, ended: Callable[[str], None]) -> IProcess:
        variables = environment(
            self._environ,
            team,
            self._state.path("notify.sock"),
            [name for name, _ in self._fronts],
            stand_by,
            WATCHDOG,
        )
        return spawn(
            self._reactor,
            self._folders[team],
            self._arguments,
            variables,
            [sock for _, sock in self._fronts],
            ended,
        )

    def _tell(self, stage: Stage, words: str) -> None:
        """What is going on has changed."""
        if stage in (Stage.SERVING, Stage.TRIAL) and not self._serves:
            self._serves = True
            self._notifier.send("READY=1")
        self._words = words
        self._notifier.send(f"STATUS={words}")

    def again(self) -> tuple[str, ...]:
        """Return what holds, for a manager that had too much to read when it was told."""
        if self._ending:
            return ("STOPPING=1", self._needs())
        return ("READY=1", f"STATUS={self._words}") if self._serves else ()

    def _needs(self) -> str:
        """Say how long the end may take from now on, whatever the unit says (sd_notify(3)): teams
        say themselves how much that is, and systemd would leave behind those that last longer."""
        needs = leaves_within(self.keeper.pair, self._reactor.seconds()) + CLOSE_WITHIN
        return f"EXTEND_TIMEOUT_USEC={round(needs * 1e6)}"

    def _data(self) -> bytes:
        """Return what a later keeper needs."""
        return record.write(
            record.Record(
                self.keeper.pair,
                self.keeper.processes(),
                tuple(name for name, _ in self._fronts),
                boot(),
                tuple(
                    (str(alarm["kind"]), str(alarm["message"]), float(alarm["since"]))
                    for alarm in self._alarm.current()
                    if alarm["kind"] in KEPT
                ),
            )
        )

    def _reload(self) -> None:
        """Hand SIGHUP on, and read for ourselves."""
        self.log.info("SIGHUP: the teams reload")
        self.keeper.signal_all(signal.SIGHUP)
        self._read()

    def _read(self) -> Deferred[None]:
        """Read the configuration anew: who is alarmed, and when a newcomer stays."""

        def take(configured: Configured) -> None:
            self._alarm.command = configured.alarm_command
            self._apply(configured)
            self._configured = configured

        done = self._threads.run(self._reading)
        return done.addCallbacks(
            take,
            lambda failure: self.log.warn(
                "the configuration is not read anew: {problem}", problem=failure.getErrorMessage()
            ),
        )

    def _apply(self, configured: Configured) -> None:
        self.keeper.configured(
            configured.commit_after, configured.drain_within, configured.finish_within
        )

    def ask(self, what: str, asker: Asking) -> None:
        """*asker* asks for a change."""
        self.log.info("asked to {what}", what=what)
        read = self._read()
        if what not in ("switch", "commit"):
            # The way back waits for no disk.
            self.keeper.ask(what, asker)
            return
        read.addCallback(lambda _: self.keeper.ask(what, asker))

    def status(self) -> dict[str, Any]:
        """Return what is going on, and what is kept."""
        return {
            **self._about,
            **self.keeper.status(),
            "folders": dict(self._folders),
            "sockets": [name for name, _ in self._fronts],
            "alarms": self._alarm.current(),
        }

    # The keeper's own update

    def renew(self) -> None:
        """Have a newer keeper go on in the place of this one (SIGUSR2)."""
        if self._ending:
            return
        self.log.info("SIGUSR2: a newer keeper goes on from here, if it is sound")
        self._sound().addCallback(self._renew)

    def _renew(self, wrong: str, tries: int = 0) -> None:
        if wrong:
            self.log.error(
                "this keeper stays, since the newer one is not sound: {wrong}", wrong=wrong
            )
            self._alarm.raised(UPDATE, "", f"a newer keeper would not start: {wrong}")
            return
        self._alarm.cleared(UPDATE, "")
        self.written().addCallback(self._replaced, tries)

    def _replaced(self, unwritten: str, tries: int) -> None:
        if unwritten:
            # A newer one would go on from what was before.
            self.log.error("this keeper stays: {wrong}", wrong=unwritten)
            self._alarm.raised(UPDATE, "", f"a newer keeper cannot take over: {unwritten}")
            return
        if self.keeper.pair.stage not in QUIET:
            # What teams say in between would be heard by nobody.
            self._reactor.callLater(RENEW_AGAIN, self._renew, "")
            return
        if self.asks.here and tries < ANSWERED_WITHIN:
            # Their answers are on their way, and would end with this keeper's connections.
            self._reactor.callLater(RENEW_AGAIN, self._renew, "", tries + 1)
            return
        try:
            self._replace(self._fronts)
        except OSError as problem:
            self.log.error("this keeper stays: {problem}", problem=problem)
            self._alarm.raised(UPDATE, "", f"a newer keeper cannot take over: {problem}")

    # The end

    def _end(self) -> None:
        """The first signal ends in order, the second one waits for nobody."""
        if self._ending:
            self.keeper.end()
            return
        self._ending = True
        self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._ending = True
        self._notifier.send("STATUS=ending the teams")
        done = self.keeper.end()
        # It is said again with each sign of life.
        self._notifier.send("STOPPING=1", self._needs())
        done.addCallback(lambda _: self.written())
        done.addCallback(self._close)
        return done

    def _close(self, _: object) -> None:
        self.asks.hang_up()
        if self._port is not None:
            self._port.stopListening()
        if self._ear is not None:
            self._ear.stop()
        if self._reaping.running:
            self._reaping.stop()
        self._heartbeat.stop()
        self._alarm.stop()
        self._recorder.stop()
        self._threads.stop()
        self._state.close()
