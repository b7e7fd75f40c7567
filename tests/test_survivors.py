"""Teams that the record does not know of are found by what they were started with."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from snickers.teams.survivors import Survivor, holder, survivors

TEAM = ["python", "/srv/red/.venv/bin/twistd", "--nodaemon", "--pidfile=", "snickers", "--config"]


class SurvivorsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.state = Path(self.mktemp()).absolute()
        self.state.mkdir()
        self.notify = str(self.state / "notify.sock")
        self.proc = Path(self.mktemp()).absolute()
        (self.proc / "net").mkdir(parents=True)

    def process(
        self, pid: int, began: int = 5, arguments: list[str] = TEAM, **variables: str
    ) -> None:
        folder = self.proc / str(pid)
        folder.mkdir()
        variables = {
            "SNICKERS_TEAM": "red",
            "NOTIFY_SOCKET": self.notify,
            "LISTEN_FDNAMES": "https:http",
            **variables,
        }
        told = "".join(f"{name}={value}\0" for name, value in variables.items())
        (folder / "environ").write_bytes(told.encode() + b"odd\xff\0")
        (folder / "cmdline").write_bytes("\0".join([*arguments, ""]).encode())
        fields = ["S", *["0"] * 18, str(began), "0"]
        (folder / "stat").write_text(f"{pid} (a ) b) {' '.join(fields)}")

    def found(self, *known: int) -> list[Survivor]:
        return survivors(self.notify, known, str(self.proc))

    def test_found(self) -> None:
        """Teams of this very keeper, the oldest first, but for those that are known."""
        self.process(30, 7)
        self.process(20, 9, SNICKERS_TEAM="blue", LISTEN_FDNAMES="https")
        self.process(10, 8)
        red, other = (
            Survivor(30, 7, "red", ("https", "http")),
            Survivor(10, 8, "red", ("https", "http")),
        )
        self.assertEqual(self.found(), [red, other, Survivor(20, 9, "blue", ("https",))])
        self.assertEqual(self.found(10, 20), [red])

    def test_others(self) -> None:
        """Teams of another keeper, workers, servers, and who just has such variables are none."""
        self.process(1, NOTIFY_SOCKET=str(self.state.parent / "other" / "notify.sock"))
        self.process(2, arguments=["python", "-m", "snickers.worker", "1", "https"])
        self.process(3, SNICKERS_TEAM="green")
        self.process(4, LISTEN_FDNAMES="")
        self.process(5, NOTIFY_SOCKET="/run/systemd/notify")
        self.assertEqual(self.found(), [])

    def test_spelled_otherwise(self) -> None:
        """The folder may be named by another path."""
        link = Path(self.mktemp()).absolute()
        link.symlink_to(self.state)
        self.process(1, NOTIFY_SOCKET=str(link / "notify.sock"))
        self.assertEqual([one.pid for one in self.found()], [1])

    def test_may_not_be_looked_at(self) -> None:
        """Who ends meanwhile, or belongs to somebody else, is passed over."""
        self.process(1)
        (self.proc / "1" / "environ").unlink()
        self.process(2)
        (self.proc / "2" / "stat").unlink()
        self.assertEqual(self.found(), [])

    def test_real(self) -> None:
        """It can be asked of the real system."""
        self.assertEqual(survivors(self.notify, ()), [])


class HolderTests(SynchronousTestCase):
    def test_holder(self) -> None:
        """Who holds a lock is known while it is held."""
        path = self.mktemp()
        self.assertEqual(holder(path), 0)
        with open(path, "wb") as file:
            self.assertEqual(holder(path), 0)
            fcntl.flock(file, fcntl.LOCK_EX)
            self.assertEqual(holder(path), os.getpid())
        self.assertEqual(holder(path), 0)

    def test_gone(self) -> None:
        """A lock that a child has inherited is not that of a process which has gone."""
        path, proc = self.mktemp(), Path(self.mktemp())
        Path(path).write_text("")
        found = os.stat(path)
        proc.mkdir()
        device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        (proc / "locks").write_text(f"odd\n1: FLOCK  ADVISORY  WRITE 4711 {device} 0 EOF\n")
        self.assertEqual(holder(path, str(proc)), 0)
