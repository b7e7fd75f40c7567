"""The calls to Docker: which version is spoken, and what goes wrong in words."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import socketserver
import tempfile
import threading
from http.server import BaseHTTPRequestHandler

from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import dockerapi
from snickers.containers.dockerapi import Api, Refused, seconds
from snickers.containers.engine import EngineAway
from snickers.interfaces.engine import Load

INFO = {"SystemTime": "2030-01-01T00:00:01.999999999Z", "InitCommit": {"ID": "de40ad0"}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.rfile.read(length)
        path = self.path.partition("?")[0]
        self.server.asked.append((self.command, path))
        self.server.whole.append((self.path, self.headers.get("X-Registry-Auth")))
        status, answer = self.server.answers.get(
            path.partition("/v1.99")[2] or path, (404, {"message": "page not found"})
        )
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = handle_any

    def log_message(self, *args) -> None:
        pass

    def address_string(self) -> str:
        return "test"


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True


class ApiTests(SynchronousTestCase):
    """`Api`, over a socket behind which answers are made up."""

    def setUp(self) -> None:
        # Not in the test's own folder: a socket's path may have 107 bytes.
        self.folder = tempfile.mkdtemp(prefix="snickers-api-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "docker.sock")
        self.patch(dockerapi, "CONNECT_WITHIN", 0.3)

    def serve(self, answers=None, server=None):
        """Let something answer at the socket."""
        server = server or _Server(self.path, _Handler)
        server.asked, server.whole = [], []
        server.answers = {"/version": (200, {"ApiVersion": "1.99"}), "/info": (200, INFO)}
        server.answers.update(answers or {})
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def api(self, url: str = "", environment=None) -> Api:
        api = Api(url or f"unix://{self.path}", 2, environment or {})
        self.addCleanup(api.close)
        return api

    def away(self, url: str = "") -> str:
        """Return the words for a Docker that cannot be reached."""
        words = str(self.assertRaises(EngineAway, self.api, url))
        self.assertIn(url or self.path, words)
        return words

    def test_version(self) -> None:
        """The version that is spoken is Docker's own, however new it is."""
        server = self.serve({"/images/lamp:7/json": (200, {"Id": "sha256:7"})})
        self.assertEqual(self.api().image("lamp:7"), {"Id": "sha256:7"})
        self.assertEqual(server.asked[-1], ("GET", "/v1.99/images/lamp:7/json"))

    def test_told(self) -> None:
        """What Docker says of itself is kept."""
        self.serve()
        api = self.api()
        self.assertEqual((api.began, api.init, api.local), (1893456001, True, True))

    def test_no_init(self) -> None:
        """Docker says when its init is not installed."""
        self.serve({"/info": (200, {**INFO, "InitCommit": {"ID": "N/A"}})})
        self.assertFalse(self.api().init)

    def test_environment(self) -> None:
        """Without a URL the environment says where, and without one of it the default is."""
        self.serve()
        environment = {"DOCKER_HOST": f"unix://{self.path}", "DOCKER_TLS_VERIFY": "1"}
        self.assertEqual(Api("", 2, environment).where, f"unix://{self.path}")
        self.patch(dockerapi, "DEFAULT", "unix:///no/such/socket")
        error = self.assertRaises(EngineAway, Api, "", 2, {})
        self.assertIn("unix:///no/such/socket", str(error))

    def test_tcp(self) -> None:
        """Docker may be reached over TCP; its files are then not this host's."""
        server = self.serve(server=_TcpServer(("127.0.0.1", 0), _Handler))
        api = self.api(f"tcp://127.0.0.1:{server.server_address[1]}")
        self.assertFalse(api.local)
        self.assertIsNone(api.container("x"))

    def test_absent(self) -> None:
        """What is not there is an answer."""
        self.serve({"/containers/x/json": (404, {"message": "No such container: x"})})
        self.assertIsNone(self.api().container("x"))

    def test_login(self) -> None:
        """A pull tells Docker who asks the registry, as given."""
        server = self.serve({"/images/create": (200, {"status": "done"})})
        login = {"username": "alice", "password": "secret", "serveraddress": "r.example"}
        self.assertEqual(list(self.api().pull("r.example/lamp", login)), [{"status": "done"}])
        where, said = server.whole[-1]
        self.assertIn("fromImage=r.example%2Flamp&tag=latest", where)
        self.assertEqual(json.loads(base64.urlsafe_b64decode(said)), login)

    def test_load(self) -> None:
        """What is used is asked for once, without a rate; of what does not run there is nothing."""
        cpu = {"cpu_usage": {"total_usage": 2_500_000_000}}
        networks = {"eth0": {"rx_bytes": 3, "tx_bytes": 4}, "eth1": {"rx_bytes": 5, "tx_bytes": 6}}
        for stats, wanted in (
            ({"cpu_stats": cpu}, Load(2.5)),
            ({"cpu_stats": cpu, "networks": networks}, Load(2.5, 18)),
            ({"cpu_stats": {"cpu_usage": {"total_usage": 0}}}, None),
            ({"cpu_stats": None}, None),
        ):
            server = self.serve({"/containers/x/stats": (200, stats)})
            self.assertEqual(self.api().load("x"), wanted)
            self.assertIn("stream=False&one-shot=True", server.whole[-1][0])
            server.shutdown()
            os.unlink(self.path)

    def test_refused(self) -> None:
        """What Docker refuses is said in its words, its status kept."""
        why = (
            "OCI runtime create failed: container_linux.go:380: starting caused: exec:\\n no file."
        )
        for status in (400, 409, 500):
            server = self.serve({"/containers/x/start": (status, {"message": why})})
            error = self.assertRaises(Refused, self.api().start, "x")
            self.assertEqual(error.status, status)
            self.assertEqual(error.why, "exec:\\n no file")
            self.assertEqual(str(error), "Docker refuses: exec:\\n no file.")
            server.shutdown()
            os.unlink(self.path)

    def test_looking_refused(self) -> None:
        """A look that fails is no absence."""
        self.serve({"/containers/x/json": (500, {"message": "disk broken"})})
        self.assertRaises(Refused, self.api().container, "x")

    def test_no_socket(self) -> None:
        """Where there is no socket it is said."""
        self.assertIn("no such socket", self.away())

    def test_nothing_listens(self) -> None:
        """Where nothing listens it is said."""
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(self.path)
        self.assertIn("nothing listens", self.away())

    def test_no_permission(self) -> None:
        """Where Snickers may not go it is said, with what to do."""

        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        self.patch(socket.socket, "connect", refuse)
        self.assertIn("group", self.away())

    def test_silent(self) -> None:
        """A Docker that says nothing is away after a while."""
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(self.path)
            silent.listen()
            self.assertIn("does not answer", self.away())

    def test_no_docker(self) -> None:
        """Something else that answers is no Docker."""
        self.serve({"/version": (200, b"<html>hello</html>")})
        self.assertIn("cannot be reached", self.away())

    def test_no_url(self) -> None:
        """What is no URL is said."""
        self.assertIn("cannot be reached", self.away("gopher://docker"))

    def test_broken_off(self) -> None:
        """A Docker that goes away between two calls is away."""
        server = self.serve()
        api = self.api()
        server.shutdown()
        server.server_close()
        os.unlink(self.path)
        # The kept connection may still be answered by its thread.
        api.close()
        error = self.assertRaises(EngineAway, api.containers, {})
        self.assertIn("no such socket", str(error))


class SecondsTests(SynchronousTestCase):
    """`seconds`."""

    def test_seconds(self) -> None:
        """Docker's times are understood, in any zone; what is none is none."""
        self.assertEqual(seconds("1970-01-01T00:00:01.5Z"), 1.5)
        self.assertEqual(seconds("1970-01-01T02:00:01.123456789+02:00"), 1.123456)
        self.assertIsNone(seconds(""))
        self.assertIsNone(seconds("yesterday"))
