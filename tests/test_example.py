"""The example application that ``etc/sites.ini`` serves: small, but a real one."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread
from types import ModuleType
from urllib.parse import urlencode

from twisted.trial.unittest import TestCase

SOURCE = Path(__file__).parent.parent / "etc" / "example" / "notes.py"
PATIENCE = 20  # seconds that a blocking call may take before the test fails


def load() -> ModuleType:
    """Import the application from its path; it is in no package."""
    spec = importlib.util.spec_from_file_location("example_notes", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Quiet:
    """Keeps the request log of `http.server` out of the test run's output."""

    def log_message(self, format: str, *args: object) -> None:
        pass


class NotesTests(TestCase):
    """The application as a browser meets it."""

    def setUp(self) -> None:
        self.notes = load()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "notes.json"
        handler = self.notes.Handler
        self.patch(handler, "log_message", Quiet.log_message)
        self.server = self.notes.Server(0, self.notes.Notebook(self.path))
        thread = Thread(target=self.server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(thread.join, PATIENCE)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def ask(
        self, method: str, path: str, body: str | None = None, **fields: str
    ) -> tuple[http.client.HTTPResponse, str]:
        """Ask for *path* on a connection of its own; the answer and its body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, PATIENCE)
        self.addCleanup(connection.close)
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        connection.request(method, path, body, named)
        response = connection.getresponse()
        return response, response.read().decode()

    def post(self, text: str, **fields: str) -> http.client.HTTPResponse:
        """Send the page's form."""
        return self.ask("POST", "/", urlencode({"text": text}), **fields)[0]

    def test_empty_page(self) -> None:
        """A fresh notebook shows its form and says that there is nothing yet."""
        response, body = self.ask("GET", "/")
        self.assertEqual(response.status, 200)
        self.assertIn('<form method="post"', body)
        self.assertIn("Nothing yet.", body)

    def test_kept(self) -> None:
        """A note is answered by a redirect to the page, newest first in page, JSON and file."""
        for text in ("early", "late\r\nline"):
            response = self.post(text)
            self.assertEqual((response.status, response.headers["Location"]), (303, "/"))
        listed = json.loads(self.ask("GET", "/notes.json")[1])
        self.assertEqual([note["text"] for note in listed], ["late\nline", "early"])
        self.assertEqual(json.loads(self.path.read_text()), listed)
        body = self.ask("GET", "/")[1]
        self.assertLess(body.index("late"), body.index("early"))

    def test_kept_over_a_restart(self) -> None:
        """A new process reads the notes of the one before it."""
        self.post("stays")
        self.assertEqual(self.notes.Notebook(self.path).notes()[0]["text"], "stays")

    def test_escaped(self) -> None:
        """Nothing that a visitor writes is markup for another visitor."""
        self.post("<script>alert('x' & \"y\")</script>$notes")
        body = self.ask("GET", "/")[1]
        self.assertNotIn("<script>alert", body)
        self.assertIn("&lt;script&gt;alert(&#x27;x&#x27; &amp; &quot;y&quot;)&lt;", body)

    def test_time(self) -> None:
        """The time of a note is written for people, and for programs beside it."""
        note = {"text": "x", "at": "2026-01-02T03:04:05+00:00"}
        time = '<time datetime="2026-01-02T03:04:05+00:00">2 January 2026, 03:04 UTC</time>'
        self.assertIn(time, self.notes.page([note]))

    def test_a_failed_write_loses_nothing(self) -> None:
        """When the file cannot be replaced, the note is not acknowledged and the old file stays."""
        notebook = self.notes.Notebook(self.path)
        notebook.add("old")
        before = self.path.read_text()

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(self.notes.os, "fsync", full)
        self.assertRaises(OSError, notebook.add, "new")
        self.assertEqual(self.path.read_text(), before)
        self.assertEqual([note["text"] for note in notebook.notes()], ["old"])

    def test_bounded(self) -> None:
        """The oldest notes go when there are too many."""
        self.patch(self.notes, "MOST_NOTES", 2)
        for text in "abc":
            self.post(text)
        listed = json.loads(self.ask("GET", "/notes.json")[1])
        self.assertEqual([note["text"] for note in listed], ["c", "b"])

    def test_refused(self) -> None:
        """An empty, a too long, a lengthless and a foreign form are refused, and nothing kept."""
        self.assertEqual(self.post("  ").status, 400)
        self.assertEqual(self.post("x" * 2001).status, 400)
        self.assertEqual(self.post("x" * 40000).status, 413)
        self.assertEqual(self.post("x", Content_Length="many").status, 411)
        self.assertEqual(self.post("x", Sec_Fetch_Site="cross-site").status, 403)
        self.assertFalse(self.path.exists())

    def test_longest(self) -> None:
        """The longest note fits, whatever its characters take when encoded."""
        self.assertEqual(self.post("\N{CHESTNUT}" * 2000).status, 303)

    def test_other_pages(self) -> None:
        """The health path answers 200, an unknown one 404; HEAD has no body."""
        self.assertEqual(self.ask("GET", "/up")[0].status, 200)
        self.assertEqual(self.ask("GET", "/nothing")[0].status, 404)
        response, body = self.ask("HEAD", "/?x=1")
        self.assertEqual((response.status, body), (200, ""))
        self.assertGreater(int(response.headers["Content-Length"]), 100)

    def test_live(self) -> None:
        """A second window hears of a note that the first one kept."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, PATIENCE)
        self.addCleanup(connection.close)
        connection.request("GET", "/events")
        stream = connection.getresponse()
        self.addCleanup(stream.close)
        self.assertEqual(stream.headers["Content-Type"], "text/event-stream")
        self.assertEqual([stream.readline(), stream.readline()], [b": here\n", b"\n"])
        self.post("news")
        self.assertEqual(stream.readline(), b"data: 1\n")


class ProcessTests(TestCase):
    """The application as Snickers starts and ends it."""

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """Start it in an empty folder."""
        folder = Path(self.mktemp())
        folder.mkdir()
        process = subprocess.Popen(
            [sys.executable, str(SOURCE)],
            cwd=folder,
            env={**os.environ, "PORT": "0", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.kill)
        return process

    def test_ends_when_told(self) -> None:
        """SIGTERM ends it at once, and it calls that a success."""
        process = self.start()
        self.assertIn("http://127.0.0.1:", process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_data_folder(self) -> None:
        """It keeps its notes in ``$DATA`` where that is given, and makes the folder."""
        data = Path(self.mktemp()).absolute()
        line = self.start(DATA=str(data)).stdout.readline()
        self.assertIn(str(data), line)
        self.assertTrue(data.is_dir())

    def test_executable(self) -> None:
        """It is started by its path alone, as etc/sites.ini does."""
        self.assertTrue(os.access(SOURCE, os.X_OK))
        self.assertTrue(SOURCE.read_text().startswith("#!/usr/bin/env python3\n"))
