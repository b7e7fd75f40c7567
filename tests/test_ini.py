"""The INI grammar: what ``configparser`` reads, with lines, and with every fault at once."""

from __future__ import annotations

import configparser

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.ini import Text, option_name, read
from snickers.config.values import Where

FIXED = settings(derandomize=True, deadline=None, max_examples=600)

PIECES = st.sampled_from(
    [
        *("[alice.example]", "[bob.example]", "[ snickers ]", "[]", "[x", "]", "[a]b", "[[c]]"),
        *("name", "Other Name", "env.TITLE", "ENV.Title", "header.X-Y", "a  b", ""),
        *("=", " = ", "= ", ":", " : ", "==", "value", "1", "a b", "ä", "\u2028", "\x1c"),
        *(" ", "  ", "\t", "\n", "\n\n", "\n  ", "\n ", "\r", "\r\n", "\x0c"),
        *(";", " ;", "; c", " ; comment", "#", "# c", " # no comment", ";;", "a;b", "a ;b ;c"),
    ]
)
TEXTS = st.lists(PIECES, max_size=25).map("".join)

LINES = st.lists(
    st.sampled_from(
        [
            *(
                "[a]",
                "[b]",
                "  [c]",
                "[a] ; again",
                "x = 1",
                "X = 2",
                "y=",
                "env.K = v",
                "env.k = w",
            ),
            *("  more = text", "   deep", "", "   ", "# c", "  ; c", "z = 1 ; c", "z=a;b", "plain"),
            *("= nothing", "   x = 3", "q = # kept", "k: v", "[d]x = y"),
        ]
    ),
    max_size=14,
).map("\n".join)


def standard() -> configparser.RawConfigParser:
    """The parser of the standard library, configured alike."""

    class Parser(configparser.RawConfigParser):
        def optionxform(self, optionstr: str) -> str:
            return option_name(optionstr)

    return Parser(
        delimiters=("=",),
        comment_prefixes=("#", ";"),
        inline_comment_prefixes=(";",),
        strict=True,
        empty_lines_in_values=True,
        default_section="no section is the default\n",
        interpolation=None,
    )


def faults(text: Text) -> list[str]:
    """All faults of *text*, as they are printed."""
    return [str(f) for f in (*text.faults, *(f for s in text.sections for f in s.faults))]


def plain(text: Text) -> dict[str, dict[str, str]]:
    """The sections of *text* without lines."""
    return {s.title: {name: o.value for name, o in s.options.items()} for s in text.sections}


class AgreementTests(SynchronousTestCase):
    """The standard library's parser and this one."""

    def compare(self, text: str) -> None:
        """Both read *text* alike, or both refuse it."""
        parser = standard()
        ours = read(text, "f.ini")
        try:
            parser.read_string(text)
        except configparser.Error:
            self.assertTrue(faults(ours), text)
        else:
            self.assertEqual(faults(ours), [], text)
            theirs = {title: dict(parser.items(title)) for title in parser.sections()}
            self.assertEqual(plain(ours), theirs, text)
            self.assertEqual([s.title for s in ours.sections], parser.sections())

    @FIXED
    @given(TEXTS)
    @example("[a]\nb = 1\n\n  2\n ; c\n  3\n\n\n")
    @example("[a]\n  b = 1\n c = 2\n")
    @example("[a]\nb = 1 ; c\n ;d\n  # e\n  f")
    @example("\ufeff[a]\nb=1")
    def test_pieces(self, text: str) -> None:
        """Whatever the standard parser accepts reads the same; what it refuses has a fault."""
        self.compare(text)

    @FIXED
    @given(LINES)
    def test_lines(self, text: str) -> None:
        """The same for texts made of whole lines, most of them right."""
        self.compare(text)

    @FIXED
    @given(st.text(max_size=60))
    def test_anything(self, text: str) -> None:
        """The same for any text at all."""
        self.compare(text)


class ReadTests(SynchronousTestCase):
    """What `read` knows beyond the standard parser."""

    def test_lines_of_options(self) -> None:
        """Sections and options know their lines; a value's is that of its name."""
        text = read("# c\n\n[a]\n\nx = 1\n  2\ny = 3\n", "f.ini")
        (section,) = text.sections
        self.assertEqual(section.where, Where("f.ini", 3))
        self.assertEqual(section.options["x"].where, Where("f.ini", 5))
        self.assertEqual(section.options["x"].value, "1\n2")
        self.assertEqual(section.options["y"].where, Where("f.ini", 7))

    def test_all_faults_at_once(self) -> None:
        """Every kind of fault of one text is found, and what is right is read all the same."""
        text = read(
            "stray = 1\n[a]\nx = 1\nX = 2\nwhat is this\nto: there\n= 3\n[a]\ny = 1\n[b]\nz = 1",
            "f.ini",
        )
        self.assertEqual(
            faults(text),
            [
                "f.ini:1: 'stray = 1' stands before the first section; begin with a section such "
                "as [snickers] or [alice.example]",
                "f.ini:4: [a] x: already set at line 3; keep one of the two",
                "f.ini:5: [a] 'what is this' is neither an option nor a section; write NAME = "
                "VALUE, or indent it to continue the value above",
                "f.ini:6: [a] 'to: there' is neither an option nor a section; the name and the "
                "value are separated by '=', not by ':'",
                "f.ini:7: [a] there is no name before the '='; write NAME = VALUE",
                "f.ini:8: [a] this section is already at f.ini:2; write everything in one of the "
                "two",
            ],
        )
        self.assertEqual([s.title for s in text.sections], ["a", "a", "b"])
        self.assertEqual(text.sections[0].options["x"].value, "1")
        self.assertTrue(text.damaged)

    def test_title_without_its_end(self) -> None:
        """A title that is not closed is one fault; what follows it belongs to no section."""
        text = read("[a]\nx = 1\n[b.example\nx = 2\n  3\ny = 4\n[c]\ny = 5", "f.ini")
        self.assertEqual(
            faults(text), ["f.ini:3: [a] a section's title ends with ']'; write [b.example]"]
        )
        self.assertEqual([s.title for s in text.sections], ["a", "c"])
        self.assertEqual(
            [{o.name: o.value for o in s.options.values()} for s in text.sections],
            [{"x": "1"}, {"y": "5"}],
        )
        self.assertTrue(text.damaged)

    def test_section_of_another_file(self) -> None:
        """A title that an earlier file has is a fault that names the place."""
        text = read("[a]\nx = 1", "g.ini", {"a": Where("f.ini", 7)})
        self.assertEqual(
            faults(text),
            ["g.ini:1: [a] this section is already at f.ini:7; write everything in one of the two"],
        )
        self.assertFalse(text.damaged)

    def test_one_fault_for_much_stray_text(self) -> None:
        """Text before the first section is told once, at its first line."""
        self.assertEqual(len(faults(read("a\nb\nc\n", "f.ini"))), 1)

    def test_faults_repeat_no_whole_line(self) -> None:
        """A long line is not repeated in full: it may be anything."""
        (fault,) = faults(read("[a]\n" + "x" * 5000, "f.ini"))
        self.assertLess(len(fault), 200)

    def test_names(self) -> None:
        """Names are lower case with single spaces, but what an owner names keeps its case."""
        self.assertEqual(option_name("Idle   After"), "idle after")
        self.assertEqual(option_name("ENV.Title"), "env.Title")
        self.assertEqual(option_name("Header.X-Frame-Options"), "header.X-Frame-Options")

    def test_inline_comments(self) -> None:
        """A semicolon begins a comment only behind white space; a hash never within a line."""
        (section,) = read("[a]\nx = a;b#c # d ; e", "f.ini").sections
        self.assertEqual(section.options["x"].value, "a;b#c # d")
