"""The conversation with a certificate authority: what goes wrong, in words and kinds.

What goes right is shown with a real one, in `tests.test_acme_live`.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme import client as client_module
from snickers.acme.client import Client, Identity, kind_of_problem, seconds_of, trusting, words_of
from snickers.acme.keys import new_key
from snickers.acme.said import AuthorityFailed
from tests.pebble_setup import make_tls

PROBLEM = "urn:ietf:params:acme:error:"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["detail", "title", "type", "subproblems", "x"]), inner, max_size=4
        )
    ),
)


class WordsTests(SynchronousTestCase):
    def test_problem(self) -> None:
        """A problem document is its details, on one line, those of its parts too."""
        self.assertEqual(words_of({"type": "t", "detail": "no\nsuch\x1b thing"}), "no such  thing")
        self.assertEqual(words_of({"type": "t"}), "t")
        parts = {"detail": "two", "subproblems": [{"detail": "one"}, {"title": "other"}, 3]}
        self.assertEqual(words_of(parts), "two; one; other")

    @given(JSON)
    def test_anything(self, said: Any) -> None:
        """Whatever an authority sends, it is printable and short."""
        words = words_of(said)
        self.assertTrue(words.isprintable())
        self.assertLessEqual(len(words), 500)

    def test_kinds(self) -> None:
        """The kind says what helps: to wait, to ask as often as is allowed, or a person."""
        for code, status, kind in [
            ("rateLimited", 429, "limited"),
            ("", 429, "limited"),
            ("serverInternal", 500, "away"),
            ("", 502, "away"),
            ("orderNotReady", 403, "away"),
            ("accountDoesNotExist", 400, "lost"),
            ("malformed", 404, "lost"),
            ("alreadyReplaced", 409, "replaced"),
            ("rejectedIdentifier", 400, "refused"),
            ("unauthorized", 403, "refused"),
        ]:
            self.assertEqual(kind_of_problem(code, status), kind, (code, status))

    def test_retry_after(self) -> None:
        """Retry-After is seconds or a date; what is neither says nothing."""
        now = 1_800_000_000.0
        self.assertEqual(seconds_of("120", now), 120)
        self.assertEqual(seconds_of(formatdate(now + 90, usegmt=True), now), 90)
        self.assertEqual(seconds_of(formatdate(now - 90, usegmt=True), now), 0)
        for text in (None, "", "soon", "-1"):
            self.assertIsNone(seconds_of(text, now))

    @given(st.text(max_size=30))
    def test_retry_after_anything(self, text: str) -> None:
        """Nothing in that field does harm."""
        seconds = seconds_of(text, 0.0)
        self.assertTrue(seconds is None or seconds >= 0)


class IdentityTests(SynchronousTestCase):
    def test_proof(self) -> None:
        """A key authorization is the token and the thumbprint of the account's key."""
        identity = Identity.of(new_key(), "")
        token, _, thumb = identity.proof("token").partition(".")
        self.assertEqual((token, len(thumb)), ("token", 43))
        self.assertNotIn("key", repr(identity))


class ServerCase(SynchronousTestCase):
    """A server that says what a test wants it to."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.trust, key = make_tls(folder)
        self.answers: dict[str, Callable[[], tuple[int, dict[str, str], bytes]]] = {}
        self.raw: dict[str, Callable[[Any], object]] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append(self.path)
                if self.path in outer.raw:
                    outer.raw[self.path](self.wfile)
                    self.close_connection = True
                    return
                status, fields, body = outer.answers[self.path]()
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_POST = do_GET

            def log_message(self, *args: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: Any) -> None: ...

        server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.trust, key)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.base = f"https://127.0.0.1:{server.server_address[1]}"
        nonces = iter(range(10_000))
        self.say(
            "/dir",
            {
                "newNonce": f"{self.base}/nonce",
                "newAccount": f"{self.base}/account",
                "newOrder": f"{self.base}/order",
                "meta": {"caaIdentities": ["ca.example"]},
            },
        )
        self.answers["/nonce"] = lambda: (
            200,
            {"Replay-Nonce": f"bm9uY2U{next(nonces):04}"},
            b"",
        )

    def say(self, path: str, said: Any, status: int = 200, **fields: str) -> None:
        """Have *path* answered so."""
        kind = "application/problem+json" if status >= 400 else "application/json"
        fields = {name.replace("_", "-"): value for name, value in fields.items()}
        head = {"Content-Type": kind, "Replay-Nonce": "bm9uY2U", **fields}
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.answers[path] = lambda: (status, head, body)

    def client(self, url: str = "/account/1") -> Client:
        """A conversation."""
        identity = Identity.of(new_key(), f"{self.base}{url}" if url else "")
        made = Client(f"{self.base}/dir", identity, trusting(self.trust), time.time)
        self.addCleanup(made.close)
        return made

    def fails(self, call: Callable[..., Any], *arguments: Any) -> AuthorityFailed:
        """The failure of a call."""
        return self.assertRaises(AuthorityFailed, call, *arguments)


class FailureTests(ServerCase):
    def test_no_directory(self) -> None:
        """What is no directory is named, with its URL."""
        for said in ({}, [], b"<html>hello</html>", {"newNonce": "x", "newOrder": "y"}):
            self.say("/dir", said)
            failed = self.fails(self.client)
            self.assertEqual(failed.kind, "away")
            self.assertIn(f"{self.base}/dir", str(failed))

    def test_nobody(self) -> None:
        """Nobody there, and nobody who answers in time, are away."""
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
            self.patch(client_module, "WITHIN", 0.2)
            url = f"https://127.0.0.1:{port}/dir"
            identity, context = Identity.of(new_key(), ""), trusting("")
            silent = self.fails(Client, url, identity, context, time.time)
        self.assertEqual(silent.kind, "away")
        self.assertIn("no answer within", str(silent))
        refused = self.fails(Client, url, identity, context, time.time)
        self.assertEqual(refused.kind, "away")
        self.assertIn("refused", str(refused))

    def test_untrusted(self) -> None:
        """A directory whose certificate is not trusted is away, with what would help."""
        identity = Identity.of(new_key(), "")
        failed = self.fails(Client, f"{self.base}/dir", identity, trusting(""), time.time)
        self.assertEqual(failed.kind, "away")
        self.assertIn("acme trust", str(failed))
        self.assertIn("self-signed", str(failed))

    def test_trust_file(self) -> None:
        """A file of roots that is none is named."""
        for path, words in (
            (__file__, "has no certificates in PEM"),
            ("/nonexistent", "cannot be read: No such file or directory"),
        ):
            self.assertIn(f"acme trust: {path} {words}", str(self.fails(trusting, path)))

    def test_limited(self) -> None:
        """A limit says how long, and whether it is of the names or of the account."""
        said = {"type": f"{PROBLEM}rateLimited", "detail": "too many certificates for a.example"}
        self.say("/order", said, 429, Retry_After="90")
        client = self.client()
        failed = self.fails(client.create, ["a.example"], "", "")
        self.assertEqual((failed.kind, failed.retry_after, failed.whole), ("limited", 90, False))
        said["detail"] = "too many new orders from this account"
        self.say("/order", said, 429)
        failed = self.fails(client.create, ["a.example"], "", "")
        self.assertEqual((failed.kind, failed.retry_after, failed.whole), ("limited", None, True))

    def test_unheard_of(self) -> None:
        """What is no ACME server's answer is away, also when it looks like success."""
        client = self.client()
        for said, status in ([b"<html>", 200], [b"", 500], [{"x": 1}, 201], [b"gone", 410]):
            self.say("/order", said, status)
            self.assertEqual(self.fails(client.create, ["a.example"], "", "").kind, "away")

    def test_refused(self) -> None:
        """A refusal has the authority's words, and where we know more, ours."""
        client = self.client(url="")
        said = {"type": f"{PROBLEM}externalAccountRequired", "detail": "who are you"}
        self.say("/account", said, 403)
        failed = self.fails(client.register, "", None)
        self.assertEqual(failed.kind, "refused")
        self.assertIn("acme external account = FILE", str(failed))
        self.assertIn("who are you", str(failed))

    def test_nonces(self) -> None:
        """Nonces that are refused for ever end, some time."""
        self.patch(client_module, "NONCES", 3)
        self.say("/order", {"type": f"{PROBLEM}badNonce"}, 400)
        failed = self.fails(self.client().create, ["a.example"], "", "")
        self.assertEqual(failed.kind, "away")
        self.assertEqual(self.asked.count("/order"), 6)

    def test_slow_bytes(self) -> None:
        """An answer that comes byte by byte, in its head or in its body, gets no more time."""
        self.patch(client_module, "WITHIN", 1.0)
        done = threading.Event()
        self.addCleanup(done.set)

        def dripping(head: bytes, piece: bytes) -> Callable[[Any], None]:
            def slowly(wfile: Any) -> None:
                with contextlib.suppress(OSError):
                    wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n" + head)
                    for _ in range(40):
                        if done.wait(0.1):
                            return
                        wfile.write(piece)

            return slowly

        client = self.client()
        for head, piece in ((b"", b"X: y\r\n"), (b"\r\n", b" ")):
            self.raw["/slow"] = dripping(head, piece)
            began = time.monotonic()
            failed = self.fails(client.look, f"{self.base}/slow")
            self.assertEqual(failed.kind, "away")
            self.assertIn("no answer within 1.0 s", str(failed))
            self.assertLess(time.monotonic() - began, 2.5)

    def test_huge(self) -> None:
        """An answer that is too large is not taken, nor what would be once it is unpacked."""
        client = self.client()
        self.say("/order", b"[" + b"1," * (client_module.LARGEST // 2) + b"1]")
        failed = self.fails(client.create, ["a.example"], "", "")
        self.assertEqual(failed.kind, "away")
        self.assertIn("larger than", str(failed))
        packed = gzip.compress(b'{"status": "valid"}' + b" " * 10_000_000)
        self.say("/order", packed, Content_Encoding="gzip")
        self.assertEqual(self.fails(client.look, f"{self.base}/order").kind, "away")
        self.say("/order", b"[" * 200_000)
        self.assertEqual(self.fails(client.look, f"{self.base}/order").kind, "away")

    def test_led_away(self) -> None:
        """Who is sent round in circles gives up soon; nobody is led to where there is no TLS."""
        self.answers["/round"] = lambda: (302, {"Location": f"{self.base}/round"}, b"")
        client = self.client()
        self.assertEqual(self.fails(client.look, f"{self.base}/round").kind, "away")
        self.assertLess(self.asked.count("/round"), 6)
        plain = self.base.replace("https:", "http:")
        failed = self.fails(client.look, f"{plain}/order")
        self.assertEqual(failed.kind, "away")
        self.assertIn("No connection adapters", str(failed))

    def test_no_status(self) -> None:
        """An order without a status is not to be understood, rather than asked for on and on."""
        self.say("/o", {"status": ""})
        self.assertEqual(self.fails(self.client().look, f"{self.base}/o").kind, "away")

    def test_long_list(self) -> None:
        """Of a list of orders without an end only some are looked at."""
        self.say("/o", {"status": "valid", "identifiers": []})
        self.say("/account/1", {"orders": f"{self.base}/list"})
        listed = {"orders": [f"{self.base}/o"] * 500}
        self.say("/list", listed, Link=f'<{self.base}/list>;rel="next"')
        self.assertIsNone(self.client().search(["a.example"]))
        self.assertLessEqual(self.asked.count("/o"), client_module.LISTED)

    def test_search(self) -> None:
        """A list of orders is looked through page by page, for one that was not worked at yet."""

        def order(path: str, name: str, status: str) -> str:
            said = {"status": status, "identifiers": [{"type": "dns", "value": name}]}
            self.say(path, said)
            return f"{self.base}{path}"

        self.say("/account/1", {"orders": f"{self.base}/list"})
        first = [order("/o1", "a.example", "valid"), order("/o2", "b.example", "pending")]
        self.say("/list", {"orders": first}, Link=f'<{self.base}/list2>;rel="next"')
        self.say("/list2", {"orders": [order("/o3", "a.example", "pending")]})
        client = self.client()
        found = client.search(["a.example"])
        assert found is not None
        self.assertEqual(found.url, f"{self.base}/o3")
        self.assertIsNone(client.search(["c.example"]))
        self.say("/account/1", {})
        self.assertIsNone(client.search(["a.example"]))

    def test_suggested(self) -> None:
        """A window has two dates and, perhaps, when to ask again; not every authority has them."""
        client = self.client()
        self.assertIsNone(client.suggested("id"))
        directory = json.loads(self.answers["/dir"]()[2])
        self.say("/dir", {**directory, "renewalInfo": f"{self.base}/ari"})
        window = {"start": "2026-01-02T03:04:05Z", "end": "2026-01-03T03:04:05+00:00"}
        self.say("/ari/id", {"suggestedWindow": window}, Retry_After="3600")
        client = self.client()
        found = client.suggested("id")
        assert found is not None
        self.assertEqual(found.window.end - found.window.start, 86400)
        self.assertEqual((found.retry_after, found.window.start), (3600, 1767323045))
        page = {"suggestedWindow": window, "explanationURL": "https://x/\n\x1b[2J" + "y" * 9999}
        self.say("/ari/id", page)
        found = client.suggested("id")
        assert found is not None
        self.assertTrue(found.explanation.isprintable())
        self.assertLess(len(found.explanation), 1000)
        for said in ({}, {"suggestedWindow": {"start": "x", "end": "y"}}):
            self.say("/ari/id", said)
            self.assertEqual(self.fails(client.suggested, "id").kind, "away")

    def test_identities(self) -> None:
        """What CAA records call the authority is known from its directory."""
        self.assertEqual(self.client().identities, ("ca.example",))
        said = json.loads(self.answers["/dir"]()[2])
        for meta in (None, {}, {"caaIdentities": "x"}, []):
            self.say("/dir", {**said, "meta": meta})
            self.assertEqual(self.client().identities, ())
