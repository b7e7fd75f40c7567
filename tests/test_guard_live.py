"""What an owner has decided, as visitors of a real Snickers meet it."""

from __future__ import annotations

from base64 import b64encode
from http.client import HTTPResponse

import bcrypt
from twisted.trial.unittest import SynchronousTestCase

from tests.live_setup import ECHO, Snickers

GUARDED = f"""
[defaults]
hsts = 1d
header.Server =
header.X-Who = {{host}}

[files.localhost]
type = static
root = files
basic auth = users

[app.localhost]
type = process
command = {ECHO}
health = /up
max body = 10

[far.localhost]
type = static
root = files
allow from = 192.0.2.0/24
"""


def users(password: bytes) -> str:
    """A file in which alice has *password*."""
    return f"alice:{bcrypt.hashpw(password, bcrypt.gensalt(4)).decode()}\n"


class GuardLiveTests(SynchronousTestCase):
    def setUp(self) -> None:
        # The file of users must be there before the start.
        self.snickers = Snickers(self, "[files.localhost]\ntype = static\nroot = files\n")
        (self.snickers.folder / "files").mkdir()
        (self.snickers.folder / "files" / "index.html").write_text("for alice")
        self.users = self.snickers.folder / "users"
        self.users.write_text(users(b"secret"))
        self.snickers.write(GUARDED)
        done = self.snickers.command("reload")
        self.assertEqual(done.returncode, 0, done.stderr)

    def ask(self, host: str, request: bytes) -> tuple[HTTPResponse, bytes]:
        """Send *request*, without its Host, to *host*; return the answer and its body."""
        sock = self.snickers.connect(host)
        self.addCleanup(sock.close)
        first, _, rest = request.partition(b"\r\n")
        sock.sendall(b"%b\r\nHost: %b\r\n%b" % (first, host.encode(), rest))
        answer = HTTPResponse(sock)
        self.addCleanup(answer.close)
        answer.begin()
        body = answer.read()
        self.assertEqual(answer.getheader("X-Who"), host)
        self.assertIsNone(answer.getheader("Server"))
        self.assertEqual(answer.getheader("Strict-Transport-Security"), "max-age=86400")
        return answer, body

    def test_passwords(self) -> None:
        """Who has the password comes in, others are asked for it."""

        def get(*pair: bytes) -> tuple[int, bytes]:
            said = b"Authorization: Basic %b\r\n" % b64encode(b":".join(pair)) if pair else b""
            answer, body = self.ask("files.localhost", b"GET / HTTP/1.1\r\n" + said + b"\r\n")
            return answer.status, body

        for _ in range(2):
            self.assertEqual(get()[0], 401)
            self.assertEqual(get(b"alice", b"other")[0], 401)
            self.assertEqual(get(b"bob", b"secret")[0], 401)
            self.assertEqual(get(b"alice", b"secret"), (200, b"for alice"))

    def test_bodies(self) -> None:
        """What is too long does not reach the server, however it comes."""
        for framing in [
            b"Content-Length: 11\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n",
        ]:
            answer, _ = self.ask("app.localhost", b"POST / HTTP/1.1\r\n" + framing)
            self.assertEqual(answer.status, 413)
        answer, _ = self.ask("app.localhost", b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(answer.status, 200)

    def test_elsewhere(self) -> None:
        """Who does not come from there gets 403."""
        answer, _ = self.ask("far.localhost", b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(answer.status, 403)

    def test_check(self) -> None:
        """``snickers check`` finds the line of a file of users that is not understood."""
        self.users.write_text(users(b"secret") + "bob:$apr1$x$y\n")
        done = self.snickers.command("check")
        self.assertEqual(done.returncode, 1)
        self.assertIn("line 2 is hashed with MD5", done.stdout + done.stderr)
