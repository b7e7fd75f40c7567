"""The keeper as a service: its folder, its sockets, what it tells, how it is renewed and ends."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from snickers.alarm import Alarm
from snickers.alarm_command import AlarmCommand
from snickers.config.values import Listen
from snickers.teams import pair as p
from snickers.teams import record
from snickers.teams.asks import Asking
from snickers.teams.configured import Configured, Misconfigured
from snickers.teams.moves import DRAIN_MARGIN, URGE_WITHIN
from snickers.teams.pair import Member, Pair, Stage
from snickers.teams.service import (
    ANSWERED_WITHIN,
    CLOSE_WITHIN,
    CannotKeep,
    Front,
    KeeperService,
    State,
)
from tests.threads_fake import FakeThreads


class Threads:
    """A pool that runs what it is given when a test says so."""

    def __init__(self) -> None:
        self.fake = FakeThreads()
        self.started = False

    def start(self) -> None:
        self.started = True

    def stop(self) -> None:
        self.started = False

    def run(self, function: Callable[[], Any]) -> Deferred[Any]:
        return self.fake.defer(function)


class StateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.state = State(str(self.folder))

    def test_owners(self) -> None:
        """The folder is its owner's alone."""
        self.state.open()
        self.addCleanup(self.state.close)
        self.assertEqual(stat.S_IMODE((self.folder / "teams").stat().st_mode), 0o700)

    def test_one(self) -> None:
        """Only one keeper has it at a time; one that ends lets go of it."""
        self.state.open()
        with self.assertRaises(CannotKeep) as caught:
            State(str(self.folder)).open()
        self.assertIn("another keeper runs", str(caught.exception))
        self.state.close()
        other = State(str(self.folder))
        other.open()
        other.close()

    def test_unusable(self) -> None:
        """A state that is no folder is told of."""
        self.folder.write_text("")
        with self.assertRaises(CannotKeep) as caught:
            self.state.open()
        self.assertIn("[snickers] state must be a folder", str(caught.exception))

    def test_written(self) -> None:
        """What is written is read, by its owner alone; nothing is read where nothing is."""
        self.assertEqual(self.state.read(), b"")
        self.state.open()
        self.addCleanup(self.state.close)
        self.state.write(b"one")
        self.state.write(b"two")
        self.assertEqual(self.state.read(), b"two")
        path = self.folder / "teams" / "keeper.json"
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertEqual(sorted(os.listdir(self.folder / "teams")), ["keeper.json", "keeper.lock"])

    def test_of_the_teams_user(self) -> None:
        """With a user for the teams the folder is that one's, as they write there, too; so is a
        state folder that was not there, and no other one."""
        owned: list[tuple[str, int, int]] = []

        def fchown(descriptor: int, uid: int, gid: int) -> None:
            owned.append((os.readlink(f"/proc/self/fd/{descriptor}"), uid, gid))

        self.patch(os, "fchown", fchown)
        folder = os.path.realpath(self.folder)
        for expected in ([folder, f"{folder}/teams"], [f"{folder}/teams"]):
            state = State(str(self.folder), (12, 34))
            state.open()
            state.close()
            self.assertEqual((owned, state.shared), ([(path, 12, 34) for path in expected], True))
            owned.clear()
            if len(expected) == 2:
                self.assertEqual(stat.S_IMODE(self.folder.stat().st_mode), 0o700)
                # In the place of the owner that it was not really given.
                self.folder.chmod(0o770)

    def test_state_of_another_user(self) -> None:
        """A state folder in which the teams may not write is told of before any is started."""
        self.patch(os, "fchown", lambda *_: None)
        self.folder.mkdir(mode=0o755)
        uid, gid = os.geteuid() + 1, os.getegid() + 1
        with self.assertRaises(CannotKeep) as caught:
            State(str(self.folder), (uid, gid)).open()
        self.assertIn(f"chown -R {uid}:{gid} {self.folder}", str(caught.exception))
        self.assertEqual(os.listdir(self.folder), [])
        # They may be in its group.
        self.folder.chmod(0o770)
        state = State(str(self.folder), (uid, gid))
        state.open()
        state.close()

    def test_of_somebody_else(self) -> None:
        """A folder that belongs to another user is not used."""
        self.patch(os, "geteuid", lambda: 4711)
        with self.assertRaises(CannotKeep) as caught:
            self.state.open()
        self.assertIn("belongs to another user", str(caught.exception))
        self.state.close()

    def test_links(self) -> None:
        """No link is followed, neither to be read nor to be written, and none is the folder."""
        self.state.open()
        self.addCleanup(self.state.close)
        victim = Path(self.mktemp()).absolute()
        victim.write_text("precious")
        for name in ("keeper.json", "keeper.json.new"):
            (self.folder / "teams" / name).symlink_to(victim)
        self.assertEqual(self.state.read(), b"")
        self.state.write(b"new")
        self.assertEqual((victim.read_text(), self.state.read()), ("precious", b"new"))
        other = Path(self.mktemp()).absolute()
        other.mkdir()
        (other / "teams").symlink_to(self.folder / "teams")
        with self.assertRaises(CannotKeep):
            State(str(other)).open()

    def test_written_by_others(self) -> None:
        """What somebody else has put there says nothing: it would say whom to signal."""
        self.state.open()
        self.addCleanup(self.state.close)
        self.state.write(b"one")
        self.patch(os, "geteuid", lambda: 4711)
        self.assertEqual(self.state.read(), b"")

    def test_a_folder(self) -> None:
        """A folder in the record's place is as good as none, and leaves nothing open."""
        self.state.open()
        self.addCleanup(self.state.close)
        Path(self.state.path("keeper.json")).mkdir()
        before = os.listdir("/proc/self/fd")
        self.assertEqual(self.state.read(), b"")
        self.assertEqual(os.listdir("/proc/self/fd"), before)


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.mkdtemp(prefix="snickers-service-")
        self.addCleanup(shutil.rmtree, folder)
        self.folder = Path(folder)
        self.reactor: Any = MemoryReactorClock()
        self.threads = Threads()
        self.failed: list[str] = []
        self.replaced: list[Sequence[Front]] = []
        self.wrong = ""
        self.configured = Configured(
            (Listen("tcp", "127.0.0.1", 0),), (), str(self.folder), (), 60.0
        )
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.setblocking(False)
        self.manager.bind(str(self.folder / "manager"))
        self.alarm = Alarm(AlarmCommand(self.reactor), lambda: 5.0)
        self.service = self.make({"NOTIFY_SOCKET": str(self.folder / "manager")})

    def make(self, environ: dict[str, str]) -> KeeperService:
        return KeeperService(
            self.reactor,
            lambda: 1e9,
            environ,
            self.configured,
            self.reading,
            {"blue": "/nonexistent/blue", "red": "/nonexistent/red"},
            ["snickers"],
            State(str(self.folder)),
            self.alarm,
            self.threads,
            self.replace,
            lambda: succeed(self.wrong),
            self.failed.append,
            {"keeper_version": "9"},
        )

    def reading(self) -> Configured:
        if self.configured.commit_after < 0:
            raise Misconfigured(["sites.ini:3: no"])
        return self.configured

    def replace(self, fronts: Sequence[Front]) -> None:
        self.replaced.append(fronts)
        if len(self.replaced) > 1:
            raise OSError(2, "No such file or directory")

    def told(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.manager.recv(4096).decode())
            except BlockingIOError:
                return found

    def test_binds(self) -> None:
        """What is not handed over is bound, as the configuration says."""
        self.service.privilegedStartService()
        (front,) = self.service.status()["sockets"]
        self.assertEqual(front, "https")
        for _, sock in self.service._fronts:
            sock.close()

    def test_cannot_bind(self) -> None:
        """An address that is taken ends the start in words, when no team of a former keeper has
        it."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.configured = Configured(
                (Listen("tcp", "127.0.0.1", port),), (), str(self.folder), (), 60.0
            )
            service = self.make({})
            service.privilegedStartService()
            service.startService()
        (words,) = self.failed
        self.assertIn("another server listens there", words)
        self.assertFalse(self.threads.started)

    def test_unknown_on_duty(self) -> None:
        """Beside a process that serves with this state, and is not known, no team is started: a
        line says which, and what to do."""
        (self.folder / "teams").mkdir(mode=0o700, exist_ok=True)
        service = self.make({})
        self.addCleanup(service._state.close)
        service.privilegedStartService()
        self.addCleanup(lambda: [sock.close() for _, sock in service._fronts])
        with open(self.folder / "duty.lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            service.startService()
        (words,) = self.failed
        self.assertIn(f"process {os.getpid()} serves with this state", words)
        self.assertIn(f"End it (kill {os.getpid()})", words)

    def test_in_the_way(self) -> None:
        """What lies in the place of the control socket is told with its path, as a person knows
        it."""
        path = self.folder / "teams" / "keeper.sock"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_text("precious")
        service = self.make({})
        self.addCleanup(service._state.close)
        service.privilegedStartService()
        service.startService()
        self.addCleanup(lambda: service._ear is None or service._ear.stop())
        for _, sock in service._fronts:
            sock.close()
        (words,) = self.failed
        self.assertIn(f"{path} is in the way", words)
        self.assertNotIn("/proc/", words)

    def test_tells_the_manager(self) -> None:
        """Ready when a team serves for the first time; what is going on each time it changes."""
        self.service._tell(Stage.OPENING, "blue is being started")
        self.assertEqual(self.told(), ["STATUS=blue is being started"])
        self.service._tell(Stage.SERVING, "blue serves")
        self.assertEqual(self.told(), ["READY=1", "STATUS=blue serves"])
        self.service._tell(Stage.TRIAL, "red serves")
        self.assertEqual(self.told(), ["STATUS=red serves"])

    def test_end_takes_its_time(self) -> None:
        """Systemd is told how long the teams may take to finish what they have open."""
        self.service._state.open()
        self.service.keeper.configured(60.0, 600.0, 86400.0)
        done = self.service.stopService()
        self.threads.fake.run_all()
        self.successResultOf(done)
        (said,) = [words for words in self.told() if words.startswith("STOPPING=1")]
        needs = int(said.rpartition("EXTEND_TIMEOUT_USEC=")[2]) / 1e6
        self.assertGreaterEqual(needs, CLOSE_WITHIN)

    def test_end_that_takes_longer(self) -> None:
        """How long it may take is said again with each sign of life, by what the teams say and
        without a reload of the keeper: systemd would leave them behind."""
        now = self.reactor.seconds()
        blue = Member(1, "blue", now, accepts=True, ready=True, serves=now)
        keeper = self.service.keeper
        keeper.pair = Pair(Stage.SERVING, live=blue, next_id=2, drain_within=600.0)
        done = self.service.stopService()
        self.assertNoResult(done)
        said = self.told()[-1]
        self.assertIn("STOPPING=1", said)

        def needs(words: str) -> float:
            return int(words.rpartition("EXTEND_TIMEOUT_USEC=")[2]) / 1e6

        within = 600.0 + DRAIN_MARGIN + URGE_WITHIN + CLOSE_WITHIN
        self.assertEqual(needs(said), within)
        keeper.feed(p.Stopping(1, within=7200.0))
        stopping, again = self.service.again()
        self.assertEqual((stopping, needs(again)), ("STOPPING=1", 7210.0 + CLOSE_WITHIN))

    def test_said_again(self) -> None:
        """What the manager had no room for, it hears again: that the keeper is ready, and how it
        goes; not before it is."""
        self.assertEqual(self.service.again(), ())
        self.service._tell(Stage.SERVING, "blue serves")
        self.assertEqual(self.service.again(), ("READY=1", "STATUS=blue serves"))

    def test_cannot_write(self) -> None:
        """A disk that is full is told of, and no reason to stop; a newer keeper would not know what
        runs, and is not put in the place of this one."""
        written = self.service.written()
        self.threads.fake.run_all()
        self.assertIn("keeper.json cannot be written", self.successResultOf(written))
        self.service.renew()
        self.threads.fake.run_all()
        self.assertEqual(self.replaced, [])
        kinds = [alarm["kind"] for alarm in self.service.status()["alarms"]]
        self.assertEqual(kinds, ["keeper record", "keeper"])

    def test_switch_reads_the_configuration(self) -> None:
        """What the file says of alarms and of committing is read before a switch; when it cannot
        be read what was known holds."""
        asked: list[str] = []
        self.patch(self.service.keeper, "ask", lambda what, asker: asked.append(what))
        self.service.ask("switch", cast("Any", None))
        self.assertEqual(asked, [])
        self.threads.fake.run_all()
        self.assertEqual((asked, self.service.keeper.commit_after), (["switch"], 60.0))
        self.configured = Configured((), (), "", (), -1.0)
        self.service.ask("switch", cast("Any", None))
        self.threads.fake.run_all()
        self.assertEqual((asked, self.service.keeper.commit_after), (["switch"] * 2, 60.0))
        self.service.ask("commit", cast("Any", None))
        self.assertEqual(asked[-1], "switch")
        self.threads.fake.run_all()
        self.assertEqual(asked[-1], "commit")

    def test_the_way_back_waits_for_nothing(self) -> None:
        """A rollback, or another process of a team, is had although the disk does not answer; what
        the file says of ends is read all the same."""
        asked: list[str] = []
        self.patch(self.service.keeper, "ask", lambda what, asker: asked.append(what))
        for what in ("rollback", "restart"):
            self.service.ask(what, cast("Any", None))
        self.assertEqual(asked, ["rollback", "restart"])
        self.configured = evolve(self.configured, drain_within=77.0, finish_within=78.0)
        self.threads.fake.run_all()
        self.assertEqual(self.service.keeper.pair.drain_within, 77.0)
        self.assertEqual(self.service.keeper.pair.finish_within, 78.0)

    def test_renewed(self) -> None:
        """A newer keeper takes the place of this one when it is sound, and all is written."""
        self.service._state.open()
        self.addCleanup(self.service._state.close)
        self.service.renew()
        self.assertEqual(self.replaced, [])
        self.threads.fake.run_all()
        self.assertEqual(len(self.replaced), 1)

    def test_not_while_teams_change_over(self) -> None:
        """What teams say meanwhile must be heard: it waits until nothing goes on."""
        self.service._state.open()
        self.addCleanup(self.service._state.close)
        pair = self.service.keeper.pair
        self.service.keeper.pair = evolve(pair, stage=Stage.YIELDING)
        self.service.renew()
        self.threads.fake.run_all()
        self.assertEqual(self.replaced, [])
        self.service.keeper.pair = pair
        self.reactor.advance(1.0)
        self.threads.fake.run_all()
        self.assertEqual(len(self.replaced), 1)

    def test_not_before_who_asked_is_answered(self) -> None:
        """Who has asked for something has the answer before a newer keeper closes the connection;
        one who only stays is not waited for."""
        self.service._state.open()
        self.addCleanup(self.service._state.close)
        for leaves in (True, False):
            with self.subTest(leaves=leaves):
                self.replaced.clear()
                asking = Asking(self.service.asks)
                self.service.asks.here.add(asking)
                self.service.renew()
                self.threads.fake.run_all()
                self.assertEqual(self.replaced, [])
                if leaves:
                    self.service.asks.here.discard(asking)
                for _ in range(1 if leaves else ANSWERED_WITHIN):
                    self.assertEqual(self.replaced, [])
                    self.reactor.advance(1.0)
                    self.threads.fake.run_all()
                self.assertEqual(len(self.replaced), 1)
                self.service.asks.here.clear()

    def test_not_sound(self) -> None:
        """One that would not start does not, and an alarm says why, until one is sound."""
        self.wrong = "ImportError: no"
        self.service.renew()
        self.assertEqual(self.replaced, [])
        (alarm,) = self.service.status()["alarms"]
        self.assertIn("ImportError: no", alarm["message"])
        self.wrong = ""
        self.service.renew()
        self.assertEqual(self.service.status()["alarms"], [])

    def test_cannot_be_replaced(self) -> None:
        """When it does not work out in the end, this one goes on, with an alarm."""
        self.service._state.open()
        self.addCleanup(self.service._state.close)
        self.replaced.append(())
        self.service.renew()
        self.threads.fake.run_all()
        self.assertEqual(len(self.replaced), 2)
        status = self.service.status()
        self.assertEqual(status["keeper_version"], "9")
        (alarm,) = status["alarms"]
        self.assertIn("a newer keeper cannot take over: ", alarm["message"])

    def test_alarms_go_on(self) -> None:
        """What a former keeper has told of holds, and is not told again; that it could not be
        followed by a newer one is over with that."""
        words = "red erred; blue takes over again"
        self.service._know(
            [("team taken back", words, 7.0), ("keeper", "a newer keeper would not start", 8.0)]
        )
        (alarm,) = self.service.status()["alarms"]
        self.assertEqual((alarm["message"], alarm["since"]), (words, 7.0))
        self.assertEqual(self.service.status()["taken_back"], words)
        self.service._state.open()
        self.addCleanup(self.service._state.close)
        self.service.written()
        self.threads.fake.run_all()
        found = record.read(self.service._state.read())
        assert found is not None
        self.assertEqual(found.alarms, (("team taken back", words, 7.0),))

    def test_status(self) -> None:
        """What is kept, beside what the keeper knows."""
        status = self.service.status()
        self.assertEqual(status["folders"]["red"], "/nonexistent/red")
        self.assertEqual(status["stage"], "down")
