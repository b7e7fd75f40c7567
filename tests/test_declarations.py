"""How the last servers of a site were made."""

from __future__ import annotations

import json
import os
import stat

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Lifecycle, Process
from snickers.containers.declarations import Declarations
from snickers.containers.engine import fingerprint
from snickers.interfaces.engine import Declared

ALICE = Declared(
    "alice.example",
    Process(
        ("serve", "--all"),
        8000,
        "/srv",
        (("SECRET", "\udce9"), ("TITLE", "Alice")),
        "lamp:lamp",
        Lifecycle(stop_within=float("inf"), wake="always"),
    ),
    "/data/alice.example",
)


def other(command: str, site: str = "alice.example") -> Declared:
    return Declared(site, Process((command,)), "/data")


class DeclarationsTests(SynchronousTestCase):
    """`Declarations`, in memory."""

    folder = ""

    def setUp(self) -> None:
        self.made = Declarations(self.folder)

    def ids(self, site: str = "alice.example") -> list[str]:
        return [each.id for each in self.made.of(site)]

    def test_last_two(self) -> None:
        """The last two are known, of each site, and one more until the newest has proven itself."""
        self.assertEqual(self.ids(), [])
        for id in "1234":
            self.made.add(id, 1.5, other(id))
        self.made.add("9", 1.5, other("x", "bob.example"))
        self.assertEqual((self.ids(), self.ids("bob.example")), (["2", "3", "4"], ["9"]))
        self.assertEqual(self.made.sites(), ["alice.example", "bob.example"])
        self.made.forget("bob.example")
        self.assertEqual(self.made.sites(), ["alice.example"])

    def test_beside(self) -> None:
        """One that is made beside the last one, of the same declaration too, is known with it until
        it is said which of them is the last one."""
        for last, left in (("3", ["2", "3"]), ("2", ["1", "2"]), ("gone", ["1", "2", "3"])):
            self.made.forget("alice.example")
            self.made.add("1", 1.5, other("one"))
            self.made.add("2", 1.5, other("two"))
            self.made.add("3", 1.5, other("two"), beside=True)
            self.assertEqual(self.ids(), ["1", "2", "3"])
            self.made.settle("alice.example", last)
            self.assertEqual(self.ids(), left)
            self.made.settle("alice.example", last)
            self.assertEqual(self.ids(), left)

    def test_same(self) -> None:
        """One that is made anew of the same declaration takes the place of the one before."""
        self.made.add("1", 1.5, other("a"))
        self.made.add("2", 1.5, other("b"))
        self.made.add("3", 1.5, other("b"))
        self.assertEqual(self.ids(), ["1", "3"])

    def test_back(self) -> None:
        """Going back forgets what came after, and nothing when it is not known where to."""
        self.made.add("1", 1.5, ALICE)
        self.made.add("2", 1.5, other("b"))
        self.assertIsNone(self.made.back_to("alice.example", "7"))
        self.assertIsNone(self.made.back_to("bob.example", "1"))
        self.assertEqual(self.ids(), ["1", "2"])
        back = self.made.back_to("alice.example", "1")
        self.assertEqual(fingerprint(back), fingerprint(ALICE))
        self.assertEqual(self.ids(), ["1"])

    def test_forgotten(self) -> None:
        """Of a forgotten site nothing is known, and it may be forgotten again."""
        self.made.add("1", 1.5, ALICE)
        self.made.forget("alice.example")
        self.made.forget("alice.example")
        self.assertEqual(self.ids(), [])


class LastingDeclarationsTests(DeclarationsTests):
    """`Declarations` on disk."""

    def setUp(self) -> None:
        self.folder = self.mktemp()
        super().setUp()

    @property
    def path(self) -> str:
        return os.path.join(self.folder, "alice.example", "made")

    def test_lasts(self) -> None:
        """Another one knows the same: all that makes a server."""
        self.made.add("1", 1.5, ALICE)
        self.made.add("2", 1.5, other("b"))
        self.made = Declarations(self.folder)
        self.assertEqual(self.made.sites(), ["alice.example"])
        self.assertEqual(self.ids(), ["1", "2"])
        self.assertEqual(self.made.of("alice.example")[0].started, 1.5)
        back = self.made.back_to("alice.example", "1")
        kind = evolve(ALICE.kind, life=Lifecycle(stop_within=float("inf")))
        self.assertEqual(back, evolve(ALICE, kind=kind))
        self.made = Declarations(self.folder)
        self.assertEqual(self.ids(), ["1"])
        self.made.forget("alice.example")
        self.assertEqual(os.listdir(os.path.dirname(self.path)), [])

    def test_for_nobody_else(self) -> None:
        """Nobody but Snickers' own user can read it."""
        self.made.add("1", 1.5, ALICE)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_another_meaning(self) -> None:
        """What would make another server now than it did then is not known any more."""
        self.made.add("1", 1.5, ALICE)
        with open(self.path, encoding="utf-8") as file:
            said = json.load(file)
        said[0]["fingerprint"] = "0" * 32
        with open(self.path, "w", encoding="utf-8") as file:
            json.dump(said, file)
        self.made = Declarations(self.folder)
        self.assertEqual(self.ids(), [])

    @settings(derandomize=True, deadline=None)
    @given(
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["id", "fingerprint", "command", "port", "environment"]), inner
                )
            ),
            max_leaves=9,
        )
    )
    def test_anything(self, said: object) -> None:
        """Whatever is in the file, nothing fails."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path, "w", encoding="utf-8") as file:
            json.dump(said, file)
        self.assertEqual(Declarations(self.folder).of("alice.example"), [])

    def test_torn(self) -> None:
        """What is torn is not known."""
        self.made.add("1", 1.5, ALICE)
        with open(self.path, encoding="utf-8") as file:
            text = file.read()
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text[:-7])
        self.assertEqual(Declarations(self.folder).of("alice.example"), [])

    def test_not_writable(self) -> None:
        """A folder that cannot be made costs what would come back later, nothing now."""
        with open(self.folder, "w", encoding="ascii"):
            pass
        self.made.add("1", 1.5, ALICE)
        self.assertEqual(self.ids(), ["1"])
