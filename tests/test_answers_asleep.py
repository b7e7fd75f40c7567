"""``answers asleep``: how it is written, and the files it names."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.answers_asleep import ANSWERS, MOST_CONTENT, STATUSES, Contents
from snickers.config.formats import Place
from snickers.config.parse import Loaded, load, parse
from snickers.config.values import Asleep
from snickers.config.wrong import Wrong

HERE = Place("/etc/snickers", "a.example", "/data/a.example")
SITE = "[a.example]\ntype = process\ncommand = serve\nanswers asleep ="
QUICK = settings(derandomize=True, deadline=None, max_examples=100)

answers = st.builds(
    lambda path, what: (
        Asleep("/" + path, what) if isinstance(what, int) else Asleep("/" + path, 200, "/" + what)
    ),
    st.text("abc./%2041-_~", max_size=8).filter(lambda text: "%" not in text),
    st.one_of(st.sampled_from(STATUSES), st.text("abc. -1", min_size=1).map(lambda t: "x" + t)),
)


class FormatTests(SynchronousTestCase):
    """The lines."""

    def read(self, text: str) -> tuple[Asleep, ...]:
        return ANSWERS.read(text, HERE)

    def wrong(self, text: str) -> str:
        return str(self.assertRaises(Wrong, ANSWERS.read, text, HERE))

    def test_lines(self) -> None:
        """A file is beside the configuration unless its path is whole, and may have a blank in its
        name; a status is one of some."""
        self.assertEqual(
            self.read("/robots.txt robots.txt\n\n  /favicon.ico   {data}/my icon.ico\n/up\t204"),
            (
                Asleep("/robots.txt", 200, "/etc/snickers/robots.txt"),
                Asleep("/favicon.ico", 200, "/data/a.example/my icon.ico"),
                Asleep("/up", 204),
            ),
        )
        for status in STATUSES:
            self.assertEqual(self.read(f"/ {status}"), (Asleep("/", status),))

    @QUICK
    @given(st.lists(answers, unique_by=lambda one: one.path))
    def test_shown(self, listed: list[Asleep]) -> None:
        """What is shown is read as the same."""
        normal = [one for one in listed if os.path.normpath(one.file) == one.file or not one.file]
        normal = [one for one in normal if one.file.strip() == one.file]
        if normal:
            self.assertEqual(self.read(ANSWERS.show(tuple(normal))), tuple(normal))

    def test_faults(self) -> None:
        """Each fault says what would be right."""
        for text, words in [
            ("robots.txt 404", "'robots.txt' is not a path of the site; write one such as"),
            ("/a%2 404", "is not a path of the site"),
            ("/ä 404", "is not a path of the site"),
            ("/a?b=c 404", "queries do not matter; write /a"),
            ("/up", "/up has no answer; write a file or a status behind it, such as /up 503"),
            ("/up 200\n/up 404", "/up is listed twice; keep one of the two lines"),
            ("/up 301", "'301' cannot be the status; write 200, 204, 403, 404, 410, 429 or 503"),
            ("/up 99999", "cannot be the status"),
            ("/up -1", "cannot be the status"),
            ("/up ~/file", "'~' is not replaced"),
            ("\n".join(f"/{n} 404" for n in range(65)), "lists 65 paths; 64 are the most"),
        ]:
            self.assertIn(words, self.wrong(text))


class ContentsTests(SynchronousTestCase):
    """Files, read once."""

    def test_once(self) -> None:
        """A file that many sites name is read once, also when it cannot be."""
        asked: list[tuple[str, int]] = []

        def read(path: str, most: int) -> bytes:
            asked.append((path, most))
            if path == "/gone":
                raise Wrong("is gone")
            return b"content"

        contents = Contents(read)
        for _ in range(2):
            self.assertEqual(contents.fill(Asleep("/a", 200, "/f")).content, b"content")
            problem = self.assertRaises(Wrong, contents.fill, Asleep("/a", 200, "/gone"))
            self.assertEqual(str(problem), "is gone")
        self.assertEqual(contents.fill(Asleep("/a", 204)), Asleep("/a", 204))
        self.assertEqual(asked, [("/f", MOST_CONTENT), ("/gone", MOST_CONTENT)])


class SiteTests(SynchronousTestCase):
    """As part of a site."""

    def load(self, text: str) -> Loaded:
        (self.folder / "sites.ini").write_text(text)
        return load(str(self.folder / "sites.ini"))

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def test_read(self) -> None:
        """A site has its answers with what is in the files; bytes that are no text are kept."""
        icon = b"\0\xff\r\n"
        (self.folder / "icon").write_bytes(icon)
        loaded = self.load(f"{SITE}\n  /favicon.ico icon\n  /up 204\n")
        self.assertEqual([str(fault) for fault in loaded.configuration.faults], [])
        self.assertEqual(
            loaded.configuration.sites["a.example"].asleep,
            (Asleep("/favicon.ico", 200, str(self.folder / "icon"), icon), Asleep("/up", 204)),
        )

    def test_changed(self) -> None:
        """A file that changes is a change of the configuration."""
        (self.folder / "robots.txt").write_text("one")
        loaded = self.load(SITE + " /robots.txt robots.txt\n")
        self.assertEqual(loaded.stamp.current(), loaded.stamp)
        (self.folder / "robots.txt").write_text("another")
        self.assertNotEqual(loaded.stamp.current(), loaded.stamp)

    def test_faults(self) -> None:
        """What cannot be read is a fault of the line it is named in."""
        (self.folder / "folder").mkdir()
        (self.folder / "large").write_bytes(b"x" * (MOST_CONTENT + 1))
        os.mkfifo(self.folder / "pipe")
        for name, words in [
            ("gone", "cannot be read: No such file or directory"),
            ("folder", "is a folder, not a file"),
            ("large", "is larger than 256 kilobytes"),
            ("pipe", "is not an ordinary file"),
        ]:
            faults = self.load(f"{SITE} /a {name}\n").configuration.faults
            place = f"{self.folder}/sites.ini:4: [a.example] answers asleep: {self.folder}/{name} "
            self.assertEqual([str(fault) for fault in faults], [place + words])

    def test_largest(self) -> None:
        """A file of exactly the most bytes is taken."""
        (self.folder / "large").write_bytes(b"x" * MOST_CONTENT)
        self.assertEqual(self.load(f"{SITE} /a large\n").configuration.faults, ())

    def test_inherited(self) -> None:
        """The defaults may list them for all; a fault there is told once."""
        text = "[defaults]\nanswers asleep = /up {host}\n" + "".join(
            f"[{name}.example]\ntype = process\ncommand = serve\n" for name in "ab"
        )
        files = {"/e/a.example": "A", "/e/b.example": "B"}
        sites = parse([("/e/s.ini", text)], files).sites
        self.assertEqual([site.asleep[0].content for site in sites.values()], [b"A", b"B"])
        faults = parse([("/e/s.ini", text.replace("{host}", "gone"))]).faults
        self.assertEqual(
            [str(fault) for fault in faults],
            [
                "/e/s.ini:2: [defaults] answers asleep: /e/gone cannot be read: "
                "No such file or directory"
            ],
        )

    def test_empty(self) -> None:
        """An empty value lists nothing, also where the defaults do."""
        text = f"[defaults]\nanswers asleep = /up 204\n{SITE}\n"
        self.assertEqual(parse([("/e/s.ini", text)]).sites["a.example"].asleep, ())

    def test_other_types(self) -> None:
        """Sites without a server of their own have none to spare."""
        text = "[a.example]\ntype = redirect\nto = https://b.example\nanswers asleep = /up 204\n"
        (fault,) = parse([("/e/s.ini", text)]).faults
        self.assertIn("not an option of type redirect, but of container, process", str(fault))
