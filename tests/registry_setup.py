"""A registry of images on loopback, for tests that pull."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Mapping

import bcrypt
from twisted.trial.unittest import SkipTest

CONFIGURATION = """
version: 0.1
log: {{level: info}}
storage: {{filesystem: {{rootdirectory: {folder}/images}}, delete: {{enabled: true}}}}
http: {{addr: 127.0.0.1:{port}}}
"""
LOCKED = """
auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}
"""


class Registry:
    """A ``docker-registry`` of our own, from `start` to `stop`.

    :param login: the only one (``username``, ``password``) it lets in; ``None``: it lets all in.
    """

    def __init__(self, folder: str, login: Mapping[str, str] | None = None) -> None:
        self.login = login
        self.program = shutil.which("docker-registry")
        if self.program is None:
            raise SkipTest("docker-registry is not installed.")
        self.folder = os.path.abspath(folder)
        os.makedirs(self.folder)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        path = os.path.join(self.folder, "config.yml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(CONFIGURATION.format(folder=self.folder, port=self.port))
            if self.login is not None:
                file.write(LOCKED.format(folder=self.folder))
        if self.login is not None:
            secret = bcrypt.hashpw(self.login["password"].encode(), bcrypt.gensalt(4)).decode()
            with open(f"{self.folder}/htpasswd", "w", encoding="ascii") as file:
                file.write(f"{self.login['username']}:{secret}\n")
        self.process = subprocess.Popen(
            [self.program, "serve", path], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        ready = threading.Event()

        def read() -> None:
            with self.process.stderr:
                for line in self.process.stderr:
                    if b"listening on" in line:
                        ready.set()

        threading.Thread(target=read, daemon=True).start()
        if not ready.wait(20):
            raise SkipTest("docker-registry did not start.")

    def stop(self) -> None:
        """End it; what it has stays, to be served again."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def name(self, image: str) -> str:
        """Return the name of an image in this registry."""
        return f"127.0.0.1:{self.port}/{image}"
