#!/usr/bin/env python3
"""A small shared notebook: a whole web application with the standard library alone.

It shows what Snickers asks of a personal server: listen on 127.0.0.1 at ``$PORT``, keep what
must last in the folder it was started in (or ``$DATA``), answer ``/up`` when ready, and end when
told to (SIGTERM). It must never lose a note that it has acknowledged, nor show one as markup.
"""

from __future__ import annotations

import html
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from string import Template
from urllib.parse import parse_qs

LONGEST_NOTE = 2000  # characters: a note, not a book
MOST_NOTES = 500  # the oldest go first, so that the page and the file stay small
LONGEST_FORM = 16 * LONGEST_NOTE  # bytes: at most 12 a character, percent-encoded
HEARTBEAT = 20.0  # seconds: shorter than what proxies on the way take for silence

PAGE = Template((Path(__file__).parent / "notes.html").read_text("utf-8"))


class Notebook:
    """The notes, newest first, and those who want to hear of new ones."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._listeners: set[queue.SimpleQueue[int]] = set()
        self._notes: list[dict[str, str]] = json.loads(path.read_text()) if path.exists() else []

    def notes(self) -> list[dict[str, str]]:
        """Return every note: ``text`` and ``at``, a time in UTC (RFC 3339)."""
        with self._lock:
            return list(self._notes)

    def add(self, text: str) -> None:
        """Keep *text*; on return it survives a loss of power."""
        note = {"text": text, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        with self._lock:
            notes = [note, *self._notes][:MOST_NOTES]
            self._write(json.dumps(notes, ensure_ascii=False, indent=1))
            self._notes = notes
            for listener in self._listeners:
                listener.put(len(notes))

    @contextmanager
    def listener(self) -> Iterator[queue.SimpleQueue[int]]:
        """Give a queue that is put the number of notes whenever there is a new one."""
        news: queue.SimpleQueue[int] = queue.SimpleQueue()
        with self._lock:
            self._listeners.add(news)
        try:
            yield news
        finally:
            with self._lock:
                self._listeners.discard(news)

    def _write(self, text: str) -> None:
        # Whole or not at all: a half-written file under the final name would lose every note.
        draft = self._path.with_suffix(".new")
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def spoken(at: str) -> str:
    """Return the time *at*, as a note has it, for people."""
    return datetime.fromisoformat(at).strftime("%-d %B %Y, %H:%M UTC")


def page(notes: list[dict[str, str]]) -> str:
    """Return the page that shows *notes*, everything in them escaped."""
    items = "\n".join(
        f"<li><p>{html.escape(note['text'])}</p>"
        f'<time datetime="{html.escape(note["at"])}">{html.escape(spoken(note["at"]))}</time></li>'
        for note in notes
    )
    return PAGE.substitute(notes=items or "<li>Nothing yet.</li>", longest=LONGEST_NOTE)


class Handler(BaseHTTPRequestHandler):
    """Answers one connection; the notebook hangs on the server."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/":
            self._answer(200, page(self.server.notebook.notes()), "text/html; charset=utf-8")
        elif path == "/notes.json":
            notes = json.dumps(self.server.notebook.notes(), ensure_ascii=False)
            self._answer(200, notes, "application/json")
        elif path == "/events":
            self._events()
        elif path == "/up":
            self._answer(200, "up\n")
        else:
            self._answer(404, "There is no such page.\n")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.close_connection = True  # what is left unread of a refused body is not a request
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            self._answer(403, "Another site's page may not write here.\n")
        elif not length.isdecimal():
            self._answer(411, "Send the form with its length.\n")
        elif int(length) > LONGEST_FORM:
            self._answer(413, "That is too long for a note.\n")
        else:
            form = parse_qs(self.rfile.read(int(length)).decode("utf-8", "replace"))
            text = form.get("text", [""])[0].replace("\r\n", "\n").strip()
            if not 0 < len(text) <= LONGEST_NOTE:
                self._answer(400, f"A note has 1 to {LONGEST_NOTE} characters.\n")
            else:
                self.server.notebook.add(text)
                self._answer(303, "", location="/")

    def _answer(
        self, status: int, body: str, kind: str = "text/plain; charset=utf-8", location: str = ""
    ) -> None:
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        if location:
            self.send_header("Location", location)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _events(self) -> None:
        """Send server-sent events, one for each new note, until the client goes."""
        self.close_connection = True  # the end of the connection is the end of the stream
        with self.server.notebook.listener() as news:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Cache-Control", "no-store")
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                self.wfile.write(b": here\n\n")
                while self.command != "HEAD":
                    try:
                        self.wfile.write(b"data: %d\n\n" % news.get(timeout=HEARTBEAT))
                    except queue.Empty:
                        self.wfile.write(b": still here\n\n")
            except OSError:
                return  # the browser has gone


class Server(ThreadingHTTPServer):
    """Listens on 127.0.0.1; port 0 takes a free one (``server_port``)."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, notebook: Notebook) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.notebook = notebook

    def server_bind(self) -> None:
        # HTTPServer's own asks the DNS for the name of 127.0.0.1, which may take long.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()


def main() -> None:
    """Serve until SIGTERM. Nothing is lost by ending at once: a note is kept before it is seen."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    folder = Path(os.environ.get("DATA", "."))
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(int(os.environ.get("PORT", "8000")), Notebook(folder / "notes.json"))
    print(f"notes: http://127.0.0.1:{server.server_port}/, kept in {folder.resolve()}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
