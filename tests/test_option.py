"""What an option is: its default, its empty value, the part of its name that the owner chooses."""

from __future__ import annotations

from types import MappingProxyType

from twisted.trial.unittest import SynchronousTestCase

from snickers.config import formats
from snickers.config.formats import Place
from snickers.config.option import Option, Scope
from snickers.config.wrong import Wrong

HERE = Place("/")
WITH = Option("hold", ("container",), formats.duration(), "2s", "How long.", "5s")
WITHOUT = Option("memory", ("container",), formats.size(), "", "How much.", "64m", empty=None)
GIVEN = Option("root", ("static",), formats.PATH, None, "Where.", "/srv")
CHOSEN = Option(
    "env.NAME", ("container",), formats.ANYTHING, "", "A variable.", "env.A = b", empty=""
)
UNDONE = Option("index", ("static",), formats.GLOBS, "index.html", "Which.", "a.html", empty=())


class OptionTests(SynchronousTestCase):
    def test_default(self) -> None:
        """The default is a text, and its value is read from it."""
        self.assertEqual((WITH.value, WITHOUT.value, GIVEN.value), (2.0, None, None))

    def test_no_limit(self) -> None:
        """An empty text takes away a limit that is the default, where that is allowed."""
        option = Option(
            "memory", ("container",), formats.size(), "1g", "How much.", "64m", unlimited=True
        )
        self.assertEqual((option.value, option.read("", HERE)), (2**30, None))
        self.assertEqual([option.show(value) for value in (2**30, None)], ["1g", ""])

    def test_empty(self) -> None:
        """An empty text is the option's empty value; where it has none, a fault."""
        self.assertIsNone(WITHOUT.read("", HERE))
        self.assertIn("remove the line for the default (2s)", str(self.wrong(WITH)))
        self.assertIn("write a value such as /srv", str(self.wrong(GIVEN)))
        self.assertEqual(CHOSEN.read("", HERE), "")
        self.assertEqual(UNDONE.read("", HERE), ())

    def wrong(self, option: Option) -> Exception:
        """What *option* says of an empty text."""
        return self.assertRaises(Wrong, option.read, "", HERE)

    def test_show(self) -> None:
        """A value is shown as it is written; the empty one as nothing."""
        self.assertEqual(
            [WITH.show(90.0), WITHOUT.show(None), WITHOUT.show(1024)], ["90s", "", "1k"]
        )

    def test_find(self) -> None:
        """An option is found by its name, or by the fixed part of it."""
        named = MappingProxyType({"hold": WITH})
        scope = Scope("container", named, (CHOSEN,), MappingProxyType({}), frozenset(), ())
        self.assertIs(scope.find("hold"), WITH)
        self.assertIs(scope.find("env.Title"), CHOSEN)
        self.assertEqual([scope.find(name) for name in ("env.", "env", "holds", "")], [None] * 4)
