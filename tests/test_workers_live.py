"""Real workers: a real ``twistd snickers`` with several processes on the same listening sockets.

Which process takes a connection is the kernel's choice. Where a test wants a certain one, all the
others are stopped for as long as it takes to connect: only that one can accept then.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from websockets.sync.client import connect as connect_websocket

from tests.echo_server import BIG
from tests.live_setup import ECHO, SETTINGS, WITHIN, Snickers, ask, until
from tests.test_metrics import read as read_metrics

WORKERS = SETTINGS + "workers = 3\ndrain within = 20s\n"
BOX = f"[box.localhost]\ntype = process\ncommand = {ECHO}\nhealth = /\nenv.TITLE = box\n"
FILES = "[files.localhost]\ntype = static\nroot = site\n"


def is_worker(pid: int) -> bool:
    """Say whether the process *pid* is a worker that runs."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        return (
            b"snickers.worker" in line and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
        )
    except OSError:
        return False


class WorkersTests(SynchronousTestCase):
    """What is the same with several processes as with one, and what becomes of one that dies."""

    def start(self, text: str = FILES + BOX, settings: str = WORKERS) -> Snickers:
        snickers = Snickers(self, text, settings)
        (snickers.folder / "site").mkdir()
        (snickers.folder / "site" / "index.html").write_text("hello")
        return snickers

    def workers(self, snickers: Snickers, number: int = 2) -> list[int]:
        """Wait until *number* workers serve, and only those; return their process ids."""

        def serving() -> list[int]:
            found = list(snickers.asked("status")["workers"])
            pids = [entry["pid"] for entry in found if entry["serving"]]
            return pids if len(pids) == len(found) == number else []

        return list(until(serving, f"there are never {number} workers"))

    @contextmanager
    def only(self, pid: int, snickers: Snickers) -> Iterator[None]:
        """Have nobody but the process *pid* accept connections meanwhile."""
        others = {snickers.process.pid, *self.pids} - {pid}
        for other in others:
            os.kill(other, signal.SIGSTOP)
        # One process is woken for each connection; those that are stopped are so only once. When
        # all have been closed, none of them counts any more.
        knocks = [
            socket.create_connection(("127.0.0.1", snickers.https), WITHIN)
            for _ in range(len(others) + 1)
        ]
        for knock in knocks:
            knock.shutdown(socket.SHUT_WR)
        for knock in knocks:
            with knock:
                try:
                    knock.recv(1)
                except ConnectionResetError:
                    pass
        try:
            yield
        finally:
            for other in others:
                os.kill(other, signal.SIGCONT)

    def connect(self, pid: int, snickers: Snickers, host: str) -> ssl.SSLSocket:
        """Return a connection to *host* that the process *pid* has taken."""
        with self.only(pid, snickers):
            return snickers.connect(host)

    def begin(self, text: str = FILES + BOX, settings: str = WORKERS) -> Snickers:
        """Start one with all its workers."""
        snickers = self.start(text, settings)
        self.pids = self.workers(snickers)
        self.all = [snickers.process.pid, *self.pids]
        _ = snickers.trust
        return snickers

    def site(self, snickers: Snickers, host: str) -> dict[str, Any]:
        """Return what status says of *host*."""
        site: dict[str, Any] = snickers.asked("status", host)
        return site

    def test_counted(self) -> None:
        """Each process answers; what each has counted is the site's count at once."""
        snickers = self.begin()
        for number, pid in enumerate(self.all):
            with self.connect(pid, snickers, "files.localhost") as sock:
                for _ in range(2):
                    answer = ask(sock, "files.localhost")
                    self.assertEqual((answer.status, answer.read()), (200, b"hello"))
                found = self.site(snickers, "files.localhost")
                self.assertEqual(found["requests"], 2 * (number + 1))
                self.assertEqual(found["connections"], 1)
        counts = {w["pid"]: w["requests"] for w in snickers.asked("status")["workers"]}
        self.assertEqual(counts, dict.fromkeys(self.pids, 2))
        self.assertIn("3 processes", snickers.command("status").stdout)

    def test_metrics(self) -> None:
        """What is measured is the sum of all processes, the one that was killed included."""
        snickers = self.begin()
        for pid in self.all:
            with self.connect(pid, snickers, "files.localhost") as sock:
                self.assertEqual(ask(sock, "files.localhost").read(), b"hello")
                self.assertEqual(ask(sock, "files.localhost", "/none").status, 404)

        def measured() -> dict[tuple[str, ...], float]:
            with socket.socket(socket.AF_UNIX) as control:
                control.connect(os.path.relpath(snickers.folder / "state" / "control.sock"))
                control.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                answer = HTTPResponse(control)
                answer.begin()
                return read_metrics(answer.read())

        site = "site=files.localhost"
        before = measured()
        self.assertEqual(before["snickers_requests_total", "code=200", site], 3)
        self.assertEqual(before["snickers_requests_total", "code=404", site], 3)
        self.assertEqual(before["snickers_request_seconds_count", site], 6)
        self.assertGreater(before["snickers_bytes_total", "direction=out", site], 6 * 100)
        self.assertGreaterEqual(before["snickers_tls_handshakes_total", "result=ok"], 3)
        os.kill(self.pids[0], signal.SIGKILL)
        until(lambda: self.pids[0] not in self.workers(snickers), "it is not replaced")
        after = measured()
        for key in (
            ("snickers_requests_total", "code=200", site),
            ("snickers_bytes_total", "direction=in", site),
        ):
            self.assertEqual(after[key], before[key], key)

    def test_woken(self) -> None:
        """A visitor of any process wakes a server, and all of them use the same one."""
        snickers = self.begin()
        bodies = set()
        for pid in (*self.pids, snickers.process.pid):
            with self.connect(pid, snickers, "box.localhost") as sock:
                answer = ask(sock, "box.localhost")
                bodies.add((answer.status, answer.read()))
        self.assertEqual(len(bodies), 1)
        ((status, body),) = bodies
        self.assertEqual((status, body.split()[0]), (200, b"box"))

    def test_stampede(self) -> None:
        """Many visitors of all processes at once start one server, once."""
        snickers = self.begin()
        socks = [self.connect(pid, snickers, "box.localhost") for pid in self.all * 10]
        for sock in socks:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: box.localhost\r\nAccept: */*\r\n\r\n")
        bodies = set()
        for sock in socks:
            with sock:
                answer = HTTPResponse(sock)
                answer.begin()
                bodies.add((answer.status, answer.read()))
        self.assertEqual(len(bodies), 1, bodies)
        self.assertEqual(self.site(snickers, "box.localhost")["requests"], 30)
        self.assertEqual(snickers.log.read_text().count("box.localhost: asleep → starting"), 1)

    def test_the_waking_page(self) -> None:
        """A browser at a worker is shown how far the server is, as the first process knows it."""
        slow = BOX.replace("command = ", 'command = sh -c \'sleep 3; exec "$0" "$@"\' ')
        snickers = self.begin(FILES + slow + "hold = 1s\n")
        with self.connect(self.pids[0], snickers, "box.localhost") as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: box.localhost\r\nAccept: text/html\r\n\r\n")
            answer = HTTPResponse(sock)
            answer.begin()
            self.assertEqual(answer.status, 503)
            body = answer.read()
            self.assertIn(b"Checking", body, body[-600:])

    def test_kept_awake(self) -> None:
        """An open WebSocket at a worker keeps the server awake; when it closes, the server sleeps,
        though the worker has kept its lease for a moment."""
        snickers = self.begin(FILES + BOX + "idle after = 1s\n")
        sock = self.connect(self.pids[0], snickers, "box.localhost")
        with connect_websocket("ws://box.localhost/", sock=sock) as websocket:
            websocket.send("a")
            self.assertEqual(websocket.recv(WITHIN), "a")
            self.assertEqual(self.site(snickers, "box.localhost")["uses"], 1)
            # Others come and go, and time passes in which it would have been put to sleep.
            for pid in self.all * 3:
                with self.connect(pid, snickers, "box.localhost") as other:
                    ask(other, "box.localhost").read()
            websocket.send("b")
            self.assertEqual(websocket.recv(WITHIN), "b")
        snickers.until_asleep("box.localhost")
        self.assertEqual(self.site(snickers, "box.localhost")["uses"], 0)

    def test_put_to_sleep(self) -> None:
        """A person puts a server to sleep that a worker still holds a lease of: at once, when it is
        not in use; after the request, when it is. The next visitor wakes it."""
        snickers = self.begin(FILES + BOX + "drain within = 60s\n")
        with self.connect(self.pids[0], snickers, "box.localhost") as sock:
            first = ask(sock, "box.localhost").read()
            self.assertEqual(snickers.command("sleep", "box.localhost").returncode, 0)
            second = ask(sock, "box.localhost").read()
        self.assertNotEqual(first, second)

    def test_killed(self) -> None:
        """A worker that is killed is replaced, and its counts are kept; it loses its connections,
        the others lose none; what it had leased does not keep the server awake."""
        snickers = self.begin(FILES + BOX + "idle after = 1s\n")
        victim, other = self.pids
        lost = self.connect(victim, snickers, "box.localhost")
        kept = self.connect(other, snickers, "files.localhost")
        first = self.connect(snickers.process.pid, snickers, "files.localhost")
        with lost, kept, first:
            lost.sendall(b"GET /big HTTP/1.1\r\nHost: box.localhost\r\n\r\n")
            answer = HTTPResponse(lost)
            answer.begin()
            self.assertEqual(ask(kept, "files.localhost").read(), b"hello")
            requests = sum(site["requests"] for site in snickers.asked("status")["sites"])
            self.assertEqual(requests, 2)
            os.kill(victim, signal.SIGKILL)
            with self.assertRaises((OSError, IncompleteRead)):
                answer.read()
            for sock in (kept, first):
                self.assertEqual(ask(sock, "files.localhost").read(), b"hello")
        snickers.until_asleep("box.localhost")
        after = self.workers(snickers)
        self.assertNotIn(victim, after)
        self.assertIn(other, after)
        requests = sum(site["requests"] for site in snickers.asked("status")["sites"])
        self.assertEqual(requests, 4)
        self.assertIn("was ended by signal 9", snickers.log.read_text())
        self.pids = after
        new = next(pid for pid in after if pid != other)
        with self.connect(new, snickers, "files.localhost") as sock:
            self.assertEqual(ask(sock, "files.localhost").read(), b"hello")

    def test_the_first_process_killed(self) -> None:
        """Without the first process workers take nobody new, finish what is open, and end."""
        snickers = self.begin()
        sock = self.connect(self.pids[0], snickers, "files.localhost")
        (snickers.folder / "site" / "big").write_bytes(BIG)
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: files.localhost\r\n\r\n")
        answer = HTTPResponse(sock)
        answer.begin()
        snickers.process.kill()
        snickers.process.wait(WITHIN)
        with sock:
            self.assertEqual(answer.read(), BIG)
        until(lambda: not any(map(is_worker, self.pids)), "workers outlive the first process")
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", snickers.https), WITHIN).close()

    def test_reload(self) -> None:
        """When a reload has been answered, every process has the change; no connection notices."""
        snickers = self.begin()
        held = [self.connect(pid, snickers, "files.localhost") for pid in self.all]
        snickers.reload(FILES + FILES.replace("files.", "more."))
        for pid in self.all:
            with self.connect(pid, snickers, "more.localhost") as sock:
                self.assertEqual(ask(sock, "more.localhost").read(), b"hello")
            with self.assertRaises(ssl.SSLError) as refused:
                self.connect(pid, snickers, "box.localhost")
            self.assertIn("UNRECOGNIZED_NAME", str(refused.exception))
        for sock in held:
            with sock:
                self.assertEqual(ask(sock, "files.localhost").read(), b"hello")
        self.assertEqual(self.site(snickers, "files.localhost")["requests"], 3)

    def test_what_a_change_closes(self) -> None:
        """A plan counts the connections of all processes."""
        snickers = self.begin()
        held = [self.connect(pid, snickers, "files.localhost") for pid in self.all]
        for sock in held:
            ask(sock, "files.localhost").read()
        snickers.write(BOX)
        (removed,) = snickers.asked("plan")["removed"]
        self.assertEqual(removed["closes"], 3)
        for sock in held:
            sock.close()

    def test_limit(self) -> None:
        """The limit for an address holds for all processes together."""
        limit = "connection limit per address = 6\n"
        snickers = self.begin(settings=WORKERS + limit)
        held = [self.connect(pid, snickers, "files.localhost") for pid in self.all * 2]
        for pid in self.all:
            with self.assertRaises(OSError):
                self.connect(pid, snickers, "files.localhost")
        for sock in held:
            self.assertEqual(ask(sock, "files.localhost").status, 200)
        held.pop().close()
        until(lambda: self.site(snickers, "files.localhost")["connections"] == 5, "one is kept")
        with self.connect(self.pids[0], snickers, "files.localhost") as sock:
            self.assertEqual(ask(sock, "files.localhost").status, 200)
        for sock in held:
            sock.close()

    def test_number(self) -> None:
        """A reload takes up another number of workers; one that leaves finishes what is open."""
        snickers = self.begin()
        (snickers.folder / "site" / "big").write_bytes(BIG)
        leaving = self.pids[1]
        with self.connect(leaving, snickers, "files.localhost") as sock:
            sock.sendall(b"GET /big HTTP/1.1\r\nHost: files.localhost\r\n\r\n")
            answer = HTTPResponse(sock)
            answer.begin()
            snickers.settings = WORKERS.replace("workers = 3", "workers = 2")
            snickers.reload(FILES + BOX)
            self.assertEqual(answer.read(), BIG)
        until(lambda: not is_worker(leaving), "it does not end")
        self.assertEqual(self.workers(snickers, 1), self.pids[:1])
        snickers.settings = WORKERS.replace("workers = 3", "workers = 4")
        snickers.reload(FILES + BOX)
        self.pids = self.workers(snickers, 3)
        for pid in self.pids:
            with self.connect(pid, snickers, "files.localhost") as sock:
                self.assertEqual(ask(sock, "files.localhost").status, 200)
        snickers.settings = SETTINGS
        snickers.reload(FILES + BOX)
        until(lambda: not any(map(is_worker, self.pids)), "they do not end")
        self.assertEqual(snickers.get("files.localhost")[0], 200)

    def test_from_one(self) -> None:
        """One process stays one, until a reload asks for more; then what it has open counts."""
        limit = "connection limit per address = 2\n"
        snickers = self.start(settings=SETTINGS + limit)
        self.assertEqual(snickers.asked("status")["workers"], [])
        _ = snickers.trust
        with snickers.connect("files.localhost") as sock:
            ask(sock, "files.localhost").read()
            snickers.settings = SETTINGS + limit + "workers = 2\n"
            snickers.reload(FILES + BOX)
            self.pids = self.workers(snickers, 1)
            held = self.connect(self.pids[0], snickers, "files.localhost")
            with held, self.assertRaises(OSError):
                self.connect(self.pids[0], snickers, "files.localhost")

    def test_a_new_one_is_as_the_first(self) -> None:
        """What waits for a restart is not taken up by a worker that starts before that."""
        snickers = self.begin()
        snickers.settings = WORKERS + "http2 = off\n"
        snickers.reload(FILES + BOX)
        os.kill(self.pids[0], signal.SIGKILL)
        until(
            lambda: self.pids[0] not in [w["pid"] for w in snickers.asked("status")["workers"]],
            "it is not replaced",
        )
        (new,) = set(self.workers(snickers)) - set(self.pids)
        self.pids = self.workers(snickers)
        snickers.trust.set_alpn_protocols(["h2", "http/1.1"])
        for pid in (snickers.process.pid, new):
            with self.connect(pid, snickers, "files.localhost") as sock:
                self.assertEqual(sock.selected_alpn_protocol(), "h2")

    def test_standing_by(self) -> None:
        """Standing by, no process accepts: who comes waits in the queue until they accept again."""
        snickers = self.begin()
        snickers.signal(signal.SIGUSR1, "STATUS=standing by")
        snickers.asked("status")  # They have been told by the time that they have counted.
        with socket.create_connection(("127.0.0.1", snickers.https), WITHIN) as sock:
            context = snickers.trust
            secure = context.wrap_socket(
                sock, server_hostname="files.localhost", do_handshake_on_connect=False
            )
            secure.settimeout(0.5)
            with self.assertRaises(TimeoutError):
                secure.do_handshake()
            snickers.signal(signal.SIGUSR2, "STATUS=serving")
            secure.settimeout(WITHIN)
            secure.do_handshake()
            self.assertEqual(ask(secure, "files.localhost").status, 200)

    def test_end(self) -> None:
        """At the end every process finishes what is open; then all have ended."""
        snickers = self.begin()
        socks = [self.connect(pid, snickers, "box.localhost") for pid in self.all]
        answers = []
        for sock in socks:
            sock.sendall(b"GET /big HTTP/1.1\r\nHost: box.localhost\r\n\r\n")
            answers.append(HTTPResponse(sock))
            answers[-1].begin()
        snickers.process.send_signal(signal.SIGTERM)
        for sock, answer in zip(socks, answers, strict=True):
            with sock:
                self.assertEqual(answer.read(), BIG)
        self.assertEqual(snickers.process.wait(WITHIN), 0)
        self.assertFalse(any(map(is_worker, self.pids)))

    def test_access_log(self) -> None:
        """All processes write one access log, and open it anew together."""
        log = "access log = access.log\naccess log format = json\n"
        snickers = self.begin(settings=WORKERS + log)
        path, moved = snickers.folder / "access.log", snickers.folder / "access.log.1"

        def ask_all(first: int) -> None:
            for number, pid in enumerate(self.all):
                with self.connect(pid, snickers, "files.localhost") as sock:
                    ask(sock, "files.localhost", f"/?{first + number}").read()

        def lines(file: Path) -> list[str]:
            return sorted(json.loads(line)["target"] for line in file.read_text().splitlines())

        ask_all(0)
        until(lambda: path.exists() and len(lines(path)) == 3, "lines are missing")
        path.rename(moved)
        snickers.signal(signal.SIGHUP, "READY=1")
        ask_all(3)
        self.assertEqual(snickers.end(), 0)
        self.assertEqual(lines(moved), ["/?0", "/?1", "/?2"])
        self.assertEqual(lines(path), ["/?3", "/?4", "/?5"])
        ids = [
            json.loads(line)["id"]
            for file in (moved, path)
            for line in file.read_text().split("\n")
            if line
        ]
        self.assertEqual(len(set(ids)), 6)

    def test_alarm(self) -> None:
        """What is wrong at a worker is an alarm as any other, and over when the worker is."""
        proxy = "[far.localhost]\ntype = proxy\nto = http://127.0.0.1:1\nhealth = /up\n"
        snickers = self.begin(FILES + proxy)

        def alarms() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = snickers.asked("status")["alarms"]
            return [alarm for alarm in found if alarm["site"] == "far.localhost"]

        with self.connect(self.pids[0], snickers, "far.localhost") as sock:
            self.assertEqual(ask(sock, "far.localhost").status, 502)
        until(alarms, "there is no alarm")
        self.assertEqual(len(alarms()), 1)
        snickers.reload(FILES)
        until(lambda: not alarms(), "the alarm is not over")
