"""Tests for `snickers.http.files`."""

from __future__ import annotations

import errno
import os
import socket
from itertools import count
from unittest import mock

from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from snickers.config.values import Static
from snickers.http import files
from snickers.http.files import WHOLE, Folder, Found, Listing, Missing, Same, Slashless
from snickers.http.paths import BadPath, Path, read_path
from tests.descriptors import open_descriptors

FIXED = settings(derandomize=True, deadline=None, max_examples=400)
LONG_AGO = 1_500_000_000
LATER_NS = 4_000_000_000 * 10**9
"""A wall clock by which every file is old."""
CODINGS = ((b"br", b".br"), (b"gzip", b".gz"))


def write(root: str, path: str, data: bytes, modified: float | None = LONG_AGO) -> str:
    """Write a file, with the folders it needs, that was changed at *modified*."""
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as file:
        file.write(data)
    if modified is not None:
        os.utime(full, (modified, modified))
    return full


class LookTests(TestCase):
    """`Folder.look`."""

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        os.mkdir(self.root)
        self.open = open_descriptors()

    def tearDown(self) -> None:
        self.assertEqual(open_descriptors() - self.open, set(), "a descriptor was left open")

    def folder(self, **options: object) -> Folder:
        return evolve(Folder.of(Static(self.root, **options)), wall_ns=lambda: LATER_NS)

    def look(self, raw: bytes, *rest: object, **options: object) -> object:
        return self.folder(**options).look(read_path(raw), *rest)

    def body(self, raw: bytes, *rest: object, **options: object) -> bytes:
        found = self.look(raw, *rest, **options)
        assert isinstance(found, Found), found
        assert found.body is not None
        assert found.size == len(found.body)
        return found.body

    def test_small_file(self) -> None:
        """A small file comes with its bytes, its time, and a signature that can be trusted."""
        write(self.root, "a/b.txt", b"hello")
        found = self.look(b"/a/b.txt")
        assert isinstance(found, Found)
        self.assertEqual((found.body, found.size, found.name), (b"hello", 5, b"a/b.txt"))
        self.assertEqual((found.modified, found.settled, found.dated), (LONG_AGO, True, True))
        self.assertIsNone(found.file)

    def test_sizes(self) -> None:
        """Up to `WHOLE` bytes are read at once; a larger file is left open."""
        write(self.root, "empty", b"")
        self.assertEqual(self.body(b"/empty"), b"")
        write(self.root, "whole", b"x" * WHOLE)
        self.assertEqual(len(self.body(b"/whole")), WHOLE)
        write(self.root, "large", b"y" * (WHOLE + 1))
        found = self.look(b"/large")
        assert isinstance(found, Found)
        assert found.file is not None
        self.assertIsNone(found.body)
        self.assertEqual(found.file.read(WHOLE, 10), b"y")
        found.file.release()

    def test_missing(self) -> None:
        """What is not there is 404, a file with a slash behind it too."""
        write(self.root, "file", b"")
        for raw in (b"/none", b"/none/", b"/file/", b"/file/x", b"/" + b"n" * 300):
            self.assertEqual(self.look(raw), Missing(404), raw)

    def test_root_is_away(self) -> None:
        """A root that is not there, or no folder, is 503: it will be there again."""
        os.rmdir(self.root)
        missing = f"root = {self.root} cannot be opened: {{}}; visitors get 503"
        self.assertEqual(
            self.look(b"/a"), Missing(503, missing.format("No such file or directory"))
        )
        write(os.path.dirname(self.root), os.path.basename(self.root), b"")
        self.assertEqual(self.look(b"/a"), Missing(503, missing.format("Not a directory")))

    def test_root_is_exchanged(self) -> None:
        """A deploy that switches a link, or renames folders, is seen by the next look."""
        for name in ("one", "two"):
            write(os.path.join(self.root, name), "file", name.encode())
        link = os.path.join(self.root, "current")
        os.symlink("one", link)
        folder = Folder.of(Static(link))
        path = read_path(b"/file")
        self.assertEqual(folder.look(path).body, b"one")
        os.symlink("two", link + "-new")
        os.rename(link + "-new", link)
        self.assertEqual(folder.look(path).body, b"two")
        os.unlink(link)
        os.rename(os.path.join(self.root, "one"), link)
        self.assertEqual(folder.look(path).body, b"one")

    def test_index(self) -> None:
        """A folder gives the first of its index files; without the slash it says so."""
        write(self.root, "a/second.html", b"2")
        self.assertEqual(self.look(b"/a/", index=("first.html",)), Missing(404))
        self.assertEqual(self.body(b"/a/", index=("first.html", "second.html")), b"2")
        write(self.root, "a/first.html", b"1")
        self.assertEqual(self.body(b"/a/", index=("first.html", "second.html")), b"1")
        self.assertEqual(self.look(b"/a"), Slashless())
        write(self.root, "index.html", b"top")
        self.assertEqual(self.body(b"/"), b"top")
        self.assertEqual(self.body(b"//"), b"top")

    def test_index_that_is_a_folder(self) -> None:
        """An index that is no file is passed over."""
        os.makedirs(os.path.join(self.root, "index.html"))
        write(self.root, "other.html", b"o")
        self.assertEqual(self.body(b"/", index=("index.html", "other.html")), b"o")

    def test_fallback(self) -> None:
        """What does not exist gets the fallback; what is refused does not."""
        write(self.root, "app.html", b"app")
        write(self.root, "dir/file", b"")
        for raw in (b"/x", b"/x/y/", b"/dir/", b"/dir/file/x", b"/"):
            self.assertEqual(self.body(raw, fallback="/app.html"), b"app", raw)
        os.mkfifo(os.path.join(self.root, "fifo"))
        self.assertEqual(self.look(b"/fifo", fallback="app.html"), Missing(404))
        os.symlink("/etc/passwd", os.path.join(self.root, "out"))
        self.assertEqual(self.look(b"/out", fallback="app.html"), Missing(404))
        self.assertEqual(self.look(b"/x", fallback="none.html"), Missing(404))

    def test_listing(self) -> None:
        """A list has what can be asked for: nothing hidden, special, or leading outside."""
        write(self.root, "b", b"12")
        write(self.root, "dir/x", b"")
        write(self.root, ".env", b"")
        write(self.root, ".git/config", b"")
        write(self.root, "a\nb", b"")
        write(self.root, "back\\slash", b"")
        write(self.root, os.fsdecode(b"bad\xff"), b"")
        write(self.root, "gut-é", b"")
        os.mkfifo(os.path.join(self.root, "fifo"))
        os.symlink("/etc/passwd", os.path.join(self.root, "out"))
        os.symlink("b", os.path.join(self.root, "link"))
        os.symlink("nowhere", os.path.join(self.root, "dangling"))
        look = self.look(b"/", listing=True)
        assert isinstance(look, Listing)
        listed = {entry.name: entry for entry in look.entries}
        self.assertEqual(set(listed), {b"b", b"dir", b"link", "gut-é".encode()})
        self.assertEqual((listed[b"b"].size, listed[b"b"].modified), (2, LONG_AGO))
        self.assertTrue(listed[b"dir"].folder)
        self.assertEqual(self.look(b"/dir", listing=True, index=()), Slashless())

    def test_listing_is_bounded(self) -> None:
        """A list that would be endless is cut, and says so."""
        for i in range(4):
            write(self.root, f"{i}", b"")
        self.patch(files, "MAX_LISTED", 3)
        look = self.look(b"/", listing=True)
        assert isinstance(look, Listing)
        self.assertEqual((len(look.entries), look.complete), (3, False))

    def test_no_listing(self) -> None:
        """Without the option a folder without index is not there, with and without a slash."""
        write(self.root, "dir/x", b"")
        self.assertEqual(self.look(b"/dir/"), Missing(404))
        self.assertEqual(self.look(b"/dir", index=()), Missing(404))

    def test_special_files(self) -> None:
        """Fifos, sockets and devices are not there; looking does not wake who waits on them."""
        os.mkfifo(os.path.join(self.root, "fifo"))
        here = os.getcwd()
        os.chdir(self.root)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("socket")
        listener.close()
        os.chdir(here)
        opened = []
        really = files.open_beneath

        def watched(root: int, path: bytes, flags: int, names: tuple[bytes, ...]) -> int:
            if not flags & os.O_PATH:
                opened.append(path)
            return really(root, path, flags, names)

        self.patch(files, "open_beneath", watched)
        for raw in (b"/fifo", b"/socket"):
            self.assertEqual(self.look(raw), Missing(404))
        self.assertEqual(self.folder().look(Path((b"fifo",), False)), Missing(404))
        self.assertEqual(opened, [])

    def test_exchanged_for_a_fifo(self) -> None:
        """A file that becomes a fifo between look and opening is not read, and does not block."""
        write(self.root, "file", b"x")
        really = files.open_beneath

        def racing(root: int, path: bytes, flags: int, names: tuple[bytes, ...]) -> int:
            if not flags & os.O_PATH:
                os.unlink(os.path.join(self.root, "file"))
                os.mkfifo(os.path.join(self.root, "file"))
            return really(root, path, flags, names)

        self.patch(files, "open_beneath", racing)
        self.assertEqual(self.look(b"/file"), Missing(404))

    def test_links(self) -> None:
        """Links are followed beneath the root, whichever way they are written; none out of it."""
        top = os.path.dirname(self.root)
        secret = write(top, "secret", b"secret")
        self.addCleanup(os.unlink, secret)
        write(self.root, "real/file", b"real")
        for name, target in [
            ("relative", "real/file"),
            ("absolute", os.path.join(self.root, "real/file")),
            ("folder", os.path.join(self.root, "real")),
            ("out", "../secret"),
            ("absout", secret),
        ]:
            os.symlink(target, os.path.join(self.root, name))
        for raw in (b"/relative", b"/absolute", b"/folder/file"):
            self.assertEqual(self.body(raw), b"real", raw)
        for raw in (b"/out", b"/absout"):
            self.assertEqual(self.look(raw), Missing(404), raw)

    def test_faults(self) -> None:
        """What the system refuses has its status: forbidden, no descriptors left, broken disk."""
        write(self.root, "file", b"")
        for number, status in [
            (errno.EACCES, 403),
            (errno.EMFILE, 503),
            (errno.EIO, 500),
            (errno.ELOOP, 404),
        ]:
            with mock.patch.object(files, "open_beneath", side_effect=OSError(number, "")):
                self.assertEqual(self.look(b"/file", fallback="file"), Missing(status))

    def test_precompressed(self) -> None:
        """The first wanted coding that is there is served, under the file's own name."""
        write(self.root, "a.css", b"plain")
        write(self.root, "a.css.gz", b"gz")
        found = self.look(b"/a.css", CODINGS)
        assert isinstance(found, Found)
        self.assertEqual((found.body, found.coding, found.name), (b"gz", b"gzip", b"a.css"))
        plain = self.look(b"/a.css")
        assert isinstance(plain, Found)
        self.assertEqual((plain.body, plain.coding), (b"plain", b""))
        self.assertNotEqual(plain.tag, found.tag)
        write(self.root, "a.css.br", b"br")
        self.assertEqual(self.body(b"/a.css", CODINGS), b"br")

    def test_compressed_index(self) -> None:
        """An index and a fallback have compressed forms too."""
        write(self.root, "index.html", b"plain")
        write(self.root, "index.html.br", b"br")
        self.assertEqual(self.body(b"/", CODINGS), b"br")
        self.assertEqual(self.body(b"/x", CODINGS, fallback="index.html"), b"br")

    def test_stale_or_lonely_compressed(self) -> None:
        """A compressed form older than its file is not served, nor one without it."""
        write(self.root, "a.css", b"new", LONG_AGO + 100)
        write(self.root, "a.css.gz", b"old", LONG_AGO)
        self.assertEqual(self.body(b"/a.css", CODINGS), b"new")
        write(self.root, "b.css.gz", b"gz")
        self.assertEqual(self.look(b"/b.css", CODINGS), Missing(404))
        os.symlink("/etc/passwd", os.path.join(self.root, "a.css.br"))
        self.assertEqual(self.body(b"/a.css", CODINGS), b"new")

    def test_same(self) -> None:
        """A file in the known state is not read again; in another state it is."""
        path = write(self.root, "a", b"1")
        found = self.look(b"/a")
        assert isinstance(found, Found)
        self.assertEqual(self.look(b"/a", (), found.signature), Same())
        write(self.root, "a", b"2")
        again = self.look(b"/a", (), found.signature)
        assert isinstance(again, Found)
        self.assertEqual(again.body, b"2")
        os.unlink(path)
        self.assertEqual(self.look(b"/a", (), again.signature), Missing(404))

    def test_unsettled(self) -> None:
        """A file changed a moment ago is not trusted, even if it looks as it did."""
        write(self.root, "a", b"1", None)
        changed = os.stat(os.path.join(self.root, "a")).st_mtime_ns
        folder = Folder.of(Static(self.root))
        path = read_path(b"/a")
        for after, settled in [(0, False), (10**9, False), (3 * 10**9, True), (-(10**9), False)]:
            now = evolve(folder, wall_ns=lambda after=after: changed + after)
            found = now.look(path)
            assert isinstance(found, Found)
            self.assertEqual(found.settled, settled)
            again = now.look(path, (), found.signature)
            self.assertEqual(isinstance(again, Same), settled)
            self.assertEqual(found.dated, after >= 0)

    def test_written_while_read(self) -> None:
        """A file that changes under the read is read until two looks agree."""
        name = write(self.root, "a", b"11")
        contents = [b"222", b"3"]
        really = files._read_whole

        def racing(descriptor: int, size: int) -> bytes:
            body = really(descriptor, size)
            if contents:
                write(self.root, "a", contents.pop(0), None)
            return body

        self.patch(files, "_read_whole", racing)
        self.assertEqual(self.body(b"/a"), b"3")
        contents += [b"1", b"2", b"3", b"4"]
        os.utime(name, (LONG_AGO, LONG_AGO))
        found = self.look(b"/a")
        assert isinstance(found, Found)
        self.assertEqual((found.body, found.settled), (b"2", False))

    def test_shrinks_while_read(self) -> None:
        """Bytes that are gone are not announced."""
        write(self.root, "a", b"1234")
        self.patch(files, "_read_whole", lambda descriptor, size: b"12")
        self.patch(files, "_signature", unsteady)
        self.assertEqual(self.body(b"/a"), b"12")

    def test_grows_while_read(self) -> None:
        """A small file that has become large is left open."""
        write(self.root, "a", b"1")
        really = files._read_whole

        def racing(descriptor: int, size: int) -> bytes:
            write(self.root, "a", b"x" * (WHOLE + 1), None)
            return really(descriptor, size)

        self.patch(files, "_read_whole", racing)
        found = self.look(b"/a")
        assert isinstance(found, Found)
        assert found.file is not None
        found.file.release()

    def test_no_path_leads_outside(self) -> None:
        """Whatever path is sent, no byte of a file that is hidden or outside is ever read."""
        top = os.path.dirname(self.root)
        secret = write(top, "secret", b"SECRET")
        self.addCleanup(os.unlink, secret)
        write(self.root, "a/file", b"fine")
        write(self.root, ".env", b"SECRET")
        write(self.root, "a/.git/file", b"SECRET")
        os.symlink("../secret", os.path.join(self.root, "out"))
        os.symlink("..", os.path.join(self.root, "up"))
        os.symlink("../a", os.path.join(self.root, "a", "self"))
        folder = self.folder(listing=True, index=("file",))
        parts = [
            "a",
            "file",
            "..",
            ".",
            "",
            "%2e%2e",
            ".env",
            ".git",
            "out",
            "up",
            "secret",
            "self",
        ]
        parts += ["%2f", "..%2f", "..\\", "%5c..", "%252e%252e", "%00", "root", "%c0%ae"]

        @FIXED
        @given(st.lists(st.sampled_from(parts), max_size=7).map("/".join))
        @example("up/secret")
        @example("a/self/self/file")
        def check(tail: str) -> None:
            try:
                path = read_path(b"/" + tail.encode())
            except BadPath:
                return
            look = folder.look(path)
            if isinstance(look, Found):
                self.assertEqual(look.body, b"fine")
            elif isinstance(look, Listing):
                self.assertLessEqual(
                    {entry.name for entry in look.entries}, {b"a", b"self", b"file"}
                )

        check()


_counter = count()


def unsteady(name: bytes, coding: bytes, status: os.stat_result) -> tuple:
    """Return a signature that no other one is equal to."""
    return (name, coding, 0, 0, status.st_size, next(_counter), 0)
