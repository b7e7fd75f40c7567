"""Who asks a registry for an image."""

from __future__ import annotations

import base64
import json
import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import registry
from snickers.containers.engine import EngineFailed

IMAGE = "registry.example:5000/team/lamp:7"


def auths(**entry: str) -> str:
    return json.dumps({"auths": {"registry.example:5000": entry}})


class LoginTests(SynchronousTestCase):
    """`login` and `registry_of`."""

    def login(self, text: str, image: str = IMAGE):
        found = dict(registry.login(text, image, "/secret"))
        self.assertEqual(found.pop("serveraddress"), registry.registry_of(image))
        return found

    def fails(self, text: str, image: str = IMAGE) -> str:
        error = self.assertRaises(EngineFailed, self.login, text, image)
        self.assertIn("registry auth = /secret: ", str(error))
        self.assertNotIn("hunter2", str(error))
        return str(error)

    def test_registry(self) -> None:
        """What stands before the first slash is a registry if it can be a host with a dot or a
        port; else the image is Docker's own registry's."""
        for image, wanted in (
            (IMAGE, "registry.example:5000"),
            ("localhost/lamp", "localhost"),
            ("127.0.0.1:5000/lamp@sha256:abc", "127.0.0.1:5000"),
            ("lamp:7", "docker.io"),
            ("team/lamp", "docker.io"),
        ):
            self.assertEqual(registry.registry_of(image), wanted)

    def test_line(self) -> None:
        """A line is a user and a password, which may have colons."""
        self.assertEqual(
            self.login("alice:hun:ter2\n"), {"username": "alice", "password": "hun:ter2"}
        )

    def test_no_line(self) -> None:
        """What is no line of a login is refused; a password is never repeated."""
        for text in ("", "hunter2", ":hunter2", "alice:", "alice:hunter2\nbob:hunter2"):
            self.assertIn("USER:PASSWORD", self.fails(text))

    def test_json(self) -> None:
        """The JSON of docker login is understood, in all its forms."""
        pair = base64.b64encode(b"alice:hunter2").decode()
        alice = {"username": "alice", "password": "hunter2"}
        self.assertEqual(self.login(auths(auth=pair)), alice)
        self.assertEqual(self.login(auths(**alice)), alice)
        self.assertEqual(self.login(auths(identitytoken="t", auth=pair)), {"identitytoken": "t"})

    def test_names(self) -> None:
        """Registries are named as hosts or as addresses; Docker's own has several names."""
        pair = base64.b64encode(b"alice:hunter2").decode()
        for name, image in (
            ("https://Registry.Example:5000/v2/", IMAGE),
            ("https://index.docker.io/v1/", "lamp:7"),
            ("docker.io", "team/lamp"),
        ):
            text = json.dumps({"auths": {name: {"auth": pair}}})
            self.assertEqual(self.login(text, image)["username"], "alice")

    def test_other_registry(self) -> None:
        """A file without this registry says which it has."""
        words = self.fails(auths(auth="eDp5"), "lamp:7")
        self.assertIn("no login for docker.io (it has: registry.example:5000)", words)

    def test_no_password(self) -> None:
        """Where the password is kept elsewhere, or is broken, it is said."""
        for entry in ({}, {"username": "alice"}, {"auth": "%"}, {"auth": "/w=="}):
            self.assertIn("no password", self.fails(auths(**entry)))
        self.assertIn("USER:PASSWORD", self.fails(auths(auth="eHl6")))

    def test_no_json(self) -> None:
        """What is no such JSON is refused."""
        for text in ("{", '{"auths": []}', '{"auths": "hunter2"}'):
            self.assertIn("not JSON", self.fails(text))

    @settings(derandomize=True, deadline=None)
    @given(st.recursive(st.none() | st.text(max_size=4), lambda e: st.dictionaries(st.text(), e)))
    def test_anything(self, entry: object) -> None:
        """Whatever is in the file, it is a login or refused in words."""
        text = json.dumps({"auths": {"registry.example:5000": entry}})
        try:
            self.login(text)
        except EngineFailed:
            pass


class ReadTests(SynchronousTestCase):
    """`read`."""

    def test_mode(self) -> None:
        """A file that others may read is not used; the words say what to do."""
        path = self.mktemp()
        with open(path, "w", encoding="ascii") as file:
            file.write("alice:hunter2")
        for mode in (0o640, 0o604):
            os.chmod(path, mode)
            error = self.assertRaises(EngineFailed, registry.read, path)
            self.assertIn(f"chmod 600 {path}", str(error))
        os.chmod(path, 0o600)
        self.assertEqual(registry.read(path), "alice:hunter2")

    def test_missing(self) -> None:
        """A file that is not there is said, with what to write."""
        error = self.assertRaises(EngineFailed, registry.read, "/no/such/file")
        self.assertIn("registry auth = /no/such/file: it cannot be read", str(error))
        self.assertIn("USER:PASSWORD", str(error))
