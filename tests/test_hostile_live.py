"""Hostile clients and the faults of our own house, as a real Snickers meets them.

What runs keeps running, what is refused is refused once and told once, and it heals without a
restart. Only loopback, no Docker; a small file system of its own where the tests run as root.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests import live_setup
from tests.live_setup import ECHO, SETTINGS, WITHIN, Snickers, ask

SITE = "[files.localhost]\ntype = static\nroot = files\n"
LOGGED = SETTINGS + "access log = access.log\naccess log format = json\n"
GET = b"GET / HTTP/1.1\r\nHost: files.localhost\r\n"

REFUSED = [
    (400, GET + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (400, GET + b"X: y\nZ: \r\n\r\n"),
    (400, GET + b"Host: files.localhost\r\n\r\n"),
    (414, b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n"),
    (431, GET + b"X: " + b"x" * 20000 + b"\r\n\r\n"),
    (501, GET + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
    (405, b"TRACE / HTTP/1.1\r\nHost: files.localhost\r\n\r\n"),
]


class LiveCase(SynchronousTestCase):
    """One Snickers with a folder of files."""

    def start(self, text: str = SITE, settings: str = SETTINGS) -> Snickers:
        snickers = Snickers(self, text, settings)
        (snickers.folder / "files").mkdir()
        (snickers.folder / "files" / "index.html").write_text("a folder")
        return snickers

    def until(self, look: Callable[[], Any], words: str) -> Any:
        """Wait until *look* returns something true, and return that."""
        end = time.monotonic() + WITHIN
        while not (found := look()):
            self.assertLess(time.monotonic(), end, words)
            time.sleep(0.02)
        return found

    @staticmethod
    def is_there(snickers: Snickers, host: str) -> bool:
        """Say whether the site *host* is served."""
        with contextlib.suppress(OSError):
            return snickers.get(host) == (200, b"a folder")
        return False

    def alarms(self, snickers: Snickers) -> list[str]:
        """Return what needs the owner."""
        return [alarm["message"] for alarm in snickers.asked("status")["alarms"]]


class ClientTests(LiveCase):
    """Hostile clients."""

    def test_one_record(self) -> None:
        """What is refused gets its status, once, the end of the connection, and one line in the
        log with the site and the reason."""
        snickers = self.start()
        for status, data in REFUSED:
            before = snickers.log.read_text().count("refused a request")
            with snickers.connect("files.localhost") as sock:
                sock.sendall(data + GET + b"\r\n")
                answer = b""
                while piece := sock.recv(65536):
                    answer += piece
            self.assertEqual(answer[:12], b"HTTP/1.1 %d" % status)
            self.assertEqual(answer.count(b"HTTP/1.1 "), 1)
            lines = [line for line in snickers.log.read_text().splitlines() if "refused" in line]
            self.assertEqual(len(lines), before + 1, data)
            self.assertIn(f"files.localhost: refused a request of 127.0.0.1: {status}, ", lines[-1])
        self.assertEqual(snickers.get("files.localhost"), (200, b"a folder"))

    def test_tls(self) -> None:
        """A second handshake in TLS 1.2, compression, early data: none of them."""
        snickers = self.start()
        snickers.get("files.localhost")
        openssl = shutil.which("openssl")
        if openssl is None:
            raise SkipTest("openssl is not installed")

        def client(*words: str, said: str = "") -> str:
            done = subprocess.run(
                [
                    *(openssl or "", "s_client", "-connect", f"127.0.0.1:{snickers.https}"),
                    *("-servername", "files.localhost", *words),
                ],
                input=said,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=WITHIN,
                check=False,
            )
            return done.stdout + done.stderr

        said = client("-tls1_2", said="R\n")
        self.assertIn("RENEGOTIATING", said)
        self.assertIn("no renegotiation", said)
        self.assertIn("Compression: NONE", client("-tls1_2", "-comp", said="Q\n"))
        request = GET.decode() + "Connection: close\r\n\r\n"
        said = client("-tls1_3", "-ign_eof", said=request)
        self.assertIn("Max Early Data: 0", said)
        self.assertNotRegex(said, "Max Early Data: [1-9]")

    def test_many_of_one_address(self) -> None:
        """Beyond the limit of an address it is refused, and another one is not; the control socket
        answers, and when one has gone there is room again."""
        snickers = self.start(settings=SETTINGS + "connection limit per address = 3\n")
        snickers.get("files.localhost")
        held = [snickers.connect("files.localhost") for _ in range(3)]
        for sock in held:
            self.addCleanup(sock.close)
        with self.assertRaises(OSError):
            snickers.connect("files.localhost").do_handshake()
        plain = socket.create_connection(
            ("127.0.0.1", snickers.https), WITHIN, source_address=("127.0.0.2", 0)
        )
        with snickers.trust.wrap_socket(plain, server_hostname="files.localhost") as other:
            self.assertEqual(ask(other, "files.localhost").read(), b"a folder")
        self.assertEqual(ask(held[0], "files.localhost").read(), b"a folder")
        snickers.asked("status")
        held.pop().close()

        self.until(lambda: self.is_there(snickers, "files.localhost"), "there is no room again")


class UpstreamTests(LiveCase):
    """Servers that misbehave."""

    def test_silent_half_and_reset(self) -> None:
        """One that accepts and says nothing: 504. One that ends in the middle: the client notices.
        One that resets: 502. Another site notices nothing, and each is asked anew."""
        servers = {"silent": b"", "half": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"}
        text = SITE
        for name in ("silent", "half", "reset"):
            listening = socket.create_server(("127.0.0.1", 0))
            self.addCleanup(listening.close)
            self.addCleanup(lambda sock=listening: sock.shutdown(socket.SHUT_RDWR))
            text += (
                f"[{name}.localhost]\ntype = proxy\nanswer within = 1s\n"
                f"to = http://127.0.0.1:{listening.getsockname()[1]}\n"
            )
            serve = threading.Thread(
                target=self.serve, args=(listening, servers.get(name)), daemon=True
            )
            serve.start()
        snickers = self.start(text)
        for _ in range(2):
            self.assertEqual(snickers.get("silent.localhost")[0], 504)
            self.assertEqual(snickers.get("reset.localhost")[0], 502)
            with snickers.connect("half.localhost") as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: half.localhost\r\n\r\n")
                answer = b""
                with contextlib.suppress(ConnectionResetError, ssl.SSLError):
                    while piece := sock.recv(65536):
                        answer += piece
                self.assertTrue(answer.endswith(b"half"), answer)
            self.assertEqual(snickers.get("files.localhost"), (200, b"a folder"))

    @staticmethod
    def serve(listening: socket.socket, answer: bytes | None) -> None:
        held = []
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listening.accept()
                with contextlib.suppress(OSError):
                    sock.recv(65536)
                    if answer is None:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                        sock.close()
                    elif answer:
                        sock.sendall(answer)
                        sock.close()
                    else:
                        held.append(sock)

    def test_names_dead(self) -> None:
        """A site whose server's name cannot be found answers 502; another one is as quick as
        always, and status names what is wrong."""
        snickers = self.start(
            SITE + "[named.localhost]\ntype = proxy\nto = http://nobody.invalid:80\n"
        )
        self.assertEqual(snickers.get("files.localhost"), (200, b"a folder"))
        self.assertEqual(snickers.get("named.localhost")[0], 502)
        self.assertIn("nobody.invalid", snickers.log.read_text())
        self.assertEqual(snickers.get("files.localhost"), (200, b"a folder"))


class HouseTests(LiveCase):
    """Faults of our own house."""

    def test_configuration_replaced(self) -> None:
        """By nothing, an empty file, a folder: what runs goes on, it is told, and it heals."""
        snickers = self.start()
        self.assertEqual(snickers.get("files.localhost"), (200, b"a folder"))
        good = snickers.sites.read_bytes()

        def gone() -> None:
            snickers.sites.unlink()

        def empty() -> None:
            snickers.sites.write_bytes(b"")

        def folder() -> None:
            snickers.sites.unlink()
            snickers.sites.mkdir()

        for spoil in (gone, empty, folder):
            spoil()
            # It is asked without its configuration, which says where it is.
            snickers.signal(signal.SIGHUP, "READY=1")
            self.assertEqual(snickers.get("files.localhost"), (200, b"a folder"), spoil)
            if snickers.sites.is_dir():
                snickers.sites.rmdir()
            snickers.sites.write_bytes(good)
            self.assertTrue(self.alarms(snickers), spoil)
            self.assertEqual(snickers.command("reload").returncode, 0)
            self.assertEqual(self.alarms(snickers), [], spoil)
        self.assertEqual(snickers.get("files.localhost"), (200, b"a folder"))

    def mounted(self, size: str) -> Path:
        """Return a folder that is a file system of its own, of *size*."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            if os.environ.get("SNICKERS_REQUIRE_ALL"):
                self.fail(done.stderr.decode())
            raise SkipTest("only root can mount a small file system")
        self.addCleanup(subprocess.run, ["umount", "-l", str(folder)], check=True)
        return folder

    def test_full_disk(self) -> None:
        """The log's lines wait for room, the alarm says so, and none is lost; requests go on."""
        disk = self.mounted("256k")
        snickers = self.start(
            settings=SETTINGS + f"access log = {disk}/access.log\naccess log format = json\n"
        )
        self.assertEqual(snickers.get("files.localhost", "/?0")[0], 200)
        self.until((disk / "access.log").exists, "nothing is logged")
        filler = disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", 0) as file:
            while True:
                file.write(b"x" * 4096)
        # The last page of the log has room for some lines.
        for number in range(1, 60):
            self.assertEqual(snickers.get("files.localhost", f"/?{number}")[0], 200)
        (said,) = self.until(lambda: self.alarms(snickers), "there is no alarm")
        self.assertIn("No space left on device", said)
        self.assertEqual(snickers.get("files.localhost", "/?60")[0], 200)
        filler.unlink()
        self.assertEqual(snickers.get("files.localhost", "/?61")[0], 200)
        self.until(lambda: not self.alarms(snickers), "the alarm is not cleared")
        self.assertEqual(snickers.end(), 0)
        lines = (disk / "access.log").read_text().splitlines()
        self.assertEqual(
            [json.loads(line)["target"] for line in lines], [f"/?{n}" for n in range(62)]
        )

    def test_full_state(self) -> None:
        """With no room, and then no right, to write the state: sites go on; a new one, which can
        have no certificate, is told of in the alarm, and is there as soon as that is mended."""
        disk = self.mounted("1m")
        often = "from snickers.tls import certificates; certificates.LOOK_EVERY = 0.3\n"
        self.patch(live_setup, "TWISTD", often + live_setup.TWISTD)
        snickers = self.start(settings=SETTINGS.replace("state = state", f"state = {disk}/state"))
        self.trust_in(snickers, disk)
        self.assertEqual(snickers.get("files.localhost"), (200, b"a folder"))
        filler = disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", 0) as file:
            while True:
                file.write(b"x" * 4096)
        text = SITE
        for number, (spoil, mend, reason) in enumerate(
            [
                (lambda: None, filler.unlink, "No space left on device"),
                (
                    lambda: self.remount(disk, "ro"),
                    lambda: self.remount(disk, "rw"),
                    "Read-only file system",
                ),
            ]
        ):
            host = f"more{number}.localhost"
            spoil()
            text += f"[{host}]\ntype = static\nroot = files\n"
            snickers.write(text)
            snickers.signal(signal.SIGHUP, "READY=1")
            with self.assertRaises(ssl.SSLError):
                snickers.get(host)
            (said,) = self.until(lambda: self.alarms(snickers), "there is no alarm")
            self.assertIn(f"the certificate of {host} cannot be stored: {reason}", said)
            self.assertEqual(snickers.get("files.localhost"), (200, b"a folder"))
            mend()
            self.until(lambda host=host: self.is_there(snickers, host), "it does not heal")
            self.until(lambda: not self.alarms(snickers), "the alarm is not cleared")
        self.assertEqual(snickers.end(), 0)

    def trust_in(self, snickers: Snickers, disk: Path) -> None:
        """Have *snickers* trusted by the authority that it keeps in *disk*."""
        root = disk / "state" / "internal" / "ca.pem"
        self.until(root.exists, "there is no authority")
        snickers._trust = ssl.create_default_context(cafile=str(root))

    @staticmethod
    def remount(disk: Path, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)

    def test_killed(self) -> None:
        """``kill -9`` in the middle of everything: whoever comes next on the same folders serves
        as before, with the same authority, and no second server of a site is left."""
        text = SITE + f"[app.localhost]\ntype = process\ncommand = {ECHO}\nhealth = /up\n"
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        settings = LOGGED.replace("state = state", f"state = {folder}/state")
        for words in ("state", "access.log"):
            settings = settings.replace(f" = {words}\n", f" = {folder}/{words}\n")
        numbers = []
        roots = []
        for _ in range(3):
            snickers = self.start(text, settings)
            self.trust_in(snickers, folder)
            roots.append((folder / "state" / "internal" / "ca.pem").read_bytes())
            status, body = snickers.get("app.localhost")
            self.assertEqual(status, 200)
            numbers.append(int(body.split()[-1]))
            self.assertEqual(snickers.get("files.localhost"), (200, b"a folder"))
            # One more is on its way.
            with snickers.connect("app.localhost") as sock:
                sock.sendall(b"GET /big HTTP/1.1\r\nHost: app.localhost\r\n\r\n")
                sock.recv(1)
                snickers.kill()
        # The last server is found by whoever comes next, and so is the log.
        snickers = self.start(text, settings)
        self.trust_in(snickers, folder)
        self.assertEqual(snickers.get("app.localhost")[0], 200)
        for number in numbers:
            self.assertIn(self.state(number), "Z", "a server was left")
        self.assertEqual(snickers.end(), 0)
        self.assertEqual(len(set(numbers)), 3)
        self.assertEqual(len(set(roots)), 1)
        for line in (folder / "access.log").read_text().splitlines():
            json.loads(line)

    def test_no_descriptors(self) -> None:
        """Without descriptors who is connected is served, nothing spins, the log says what to do,
        and when there are some again the waiting are let in."""
        snickers = self.start()
        self.assertEqual(snickers.get("files.localhost"), (200, b"a folder"))
        pid = snickers.process.pid
        held = snickers.connect("files.localhost")
        self.addCleanup(held.close)
        self.assertEqual(ask(held, "files.localhost").read(), b"a folder")
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = max(int(name) for name in os.listdir(f"/proc/{pid}/fd")) + 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, hard[1]))
        waiting = [socket.create_connection(("127.0.0.1", snickers.https)) for _ in range(8)]
        for sock in waiting:
            self.addCleanup(sock.close)
        self.until(lambda: "Cannot accept connections" in snickers.log.read_text(), "not told")
        self.assertIn("Raise the limit of descriptors", snickers.log.read_text())
        before = self.cpu(pid)
        time.sleep(0.5)
        self.assertLess(self.cpu(pid) - before, 0.25)
        self.assertEqual(ask(held, "files.localhost").read(), b"a folder")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, hard)
        for sock in waiting:
            sock.settimeout(WITHIN)
            with snickers.trust.wrap_socket(sock, server_hostname="files.localhost") as client:
                self.assertEqual(ask(client, "files.localhost").read(), b"a folder")
        self.assertEqual(snickers.log.read_text().count("Cannot accept connections"), 1)

    @staticmethod
    def state(pid: int) -> str:
        """Return the letter of a process's state; ``""``: there is none. Z is one that has ended,
        for which nobody has asked yet: its parent is the system's first process by then."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return ""

    @staticmethod
    def cpu(pid: int) -> float:
        """Return the seconds of CPU that a process has used."""
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def date(self, answer: HTTPResponse) -> time.struct_time:
        """Return the date of an answer that is as it should be otherwise."""
        self.assertEqual(answer.read(), b"a folder")
        return time.strptime(answer.headers["Date"], "%a, %d %b %Y %H:%M:%S GMT")

    def test_clock(self) -> None:
        """A clock that is set by a day, either way: no connection is cut, none hangs, and answers
        have the new date."""
        offset = Path(self.mktemp()).absolute()
        offset.write_text("0")
        leaping = (
            "import time; real = time.time\n"
            f"time.time = lambda: real() + float(open({str(offset)!r}).read() or 0)\n"
        )
        self.patch(live_setup, "TWISTD", leaping + live_setup.TWISTD)
        snickers = self.start()
        held = snickers.connect("files.localhost")
        self.addCleanup(held.close)
        for days in (0, 1, -1):
            offset.with_suffix(".new").write_text(str(86400 * days))
            offset.with_suffix(".new").replace(offset)
            time.sleep(1.2)  # the sweep has looked, and the date is another

            def turned(days: int = days) -> bool:
                date = self.date(ask(held, "files.localhost"))
                return date.tm_mday == time.gmtime(time.time() + 86400 * days).tm_mday

            # On a machine that is busy with other things not yet.
            self.until(turned, "the date stays")
            for sock in (held, snickers.connect("files.localhost")):
                date = self.date(ask(sock, "files.localhost"))
                expected = time.gmtime(time.time() + 86400 * days)
                self.assertEqual(date.tm_mday, expected.tm_mday)
                if sock is not held:
                    sock.close()
