"""What is noted of servers that outlive Snickers."""

from __future__ import annotations

import json
import os
import stat

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import sessions
from snickers.containers.launching import Place
from snickers.containers.marks import Mark, Marks, _mark
from snickers.interfaces.engine import Instance

ALICE = Mark(
    start=1234,
    boot=sessions.boot(),
    instance=Instance("alice.example", "77", "f" * 32, True, ("127.0.0.1", 8000), 1.0625),
    stop_within=0.2,
    place=Place("/data", {"TITLE": "Alice", "SECRET": "\udce9"}, (7, 8, (8, 9))),
)


class MarksTests(SynchronousTestCase):
    """`Marks`."""

    def setUp(self) -> None:
        self.folder = os.path.join(self.mktemp(), "lasting")
        self.marks = Marks(self.folder)

    @property
    def path(self) -> str:
        return os.path.join(self.folder, "alice.example", "server")

    def test_read(self) -> None:
        """What was written is read, whatever it says."""
        others = [
            evolve(
                ALICE,
                instance=evolve(ALICE.instance, site="bob.example", paused=True),
                place=Place("/", {}, None),
                ending=True,
                stop_within=float("inf"),
            ),
            evolve(ALICE, instance=evolve(ALICE.instance, site="*.carol.example")),
        ]
        for each in (ALICE, *others):
            self.marks.write(each)
        found = Marks(self.folder).read()
        self.assertEqual(
            {each.instance.site: each for each in found},
            {each.instance.site: each for each in (ALICE, *others)},
        )

    def test_replaced(self) -> None:
        """Of each site the last one is read."""
        self.marks.write(ALICE)
        self.marks.write(evolve(ALICE, start=99))
        self.assertEqual([each.start for each in self.marks.read()], [99])

    def test_for_nobody_else(self) -> None:
        """Nobody but Snickers' own user can read it: there are secrets in environments."""
        self.marks.write(ALICE)
        for path in (self.folder, self.marks.folder("alice.example")):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_another_boot(self) -> None:
        """What another boot has left says nothing."""
        self.marks.write(evolve(ALICE, boot="another"))
        self.assertEqual(self.marks.read(), [])

    def test_no_mark(self) -> None:
        """What is torn, of another site or of another form is no mark, and no failure."""
        self.marks.write(ALICE)
        with open(self.path, encoding="utf-8") as file:
            whole = file.read()
        said = json.loads(whole)
        for text in (
            "",
            whole[:-9],
            "[]",
            "7",
            "null",
            json.dumps({**said, "form": 0}),
            json.dumps({**said, "place": None}),
            json.dumps({**said, "instance": {**said["instance"], "site": "bob.example"}}),
            json.dumps({**said, "instance": {**said["instance"], "address": None}}),
            *(
                json.dumps({**said, "instance": {**said["instance"], "id": id}})
                for id in ("x", "0", "-1", "9" * 30)
            ),
        ):
            with open(self.path, "w", encoding="utf-8") as file:
                file.write(text)
            self.assertEqual(self.marks.read(), [], text)
        self.assertEqual(Marks("/no/such/folder").read(), [])

    @settings(derandomize=True, deadline=None)
    @given(
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        [
                            "form",
                            "start",
                            "boot",
                            "instance",
                            "place",
                            "address",
                            "id",
                            "user",
                            "site",
                        ]
                    ),
                    inner,
                    max_size=6,
                )
            ),
            max_leaves=12,
        )
    )
    def test_anything(self, said: object) -> None:
        """Whatever is in the file, it is a mark or it is none."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path, "w", encoding="utf-8") as file:
            json.dump(said, file)
        self.assertEqual(self.marks.read(), [])

    def test_more_is_said(self) -> None:
        """What a newer version says besides is left aside."""
        self.marks.write(ALICE)
        with open(self.path, encoding="utf-8") as file:
            said = json.load(file)
        self.assertEqual(_mark({**said, "colour": "red"}), ALICE)

    def test_forgotten(self) -> None:
        """What is forgotten is not read; what was noted since is not forgotten with it."""
        self.marks.write(ALICE)
        self.marks.forget("alice.example", "78")
        self.assertEqual(self.marks.read(), [ALICE])
        self.marks.forget("alice.example", "77")
        self.marks.forget("alice.example", "77")
        self.assertEqual(self.marks.read(), [])

    def test_removed(self) -> None:
        """Of a removed site nothing is left, and it may be removed again."""
        self.marks.write(ALICE)
        os.mkfifo(self.marks.pipe("alice.example"))
        self.marks.remove("alice.example")
        self.marks.remove("alice.example")
        self.assertEqual(os.listdir(self.folder), [])

    def test_not_writable(self) -> None:
        """A folder that cannot be made stops no server."""
        os.makedirs(os.path.dirname(self.folder))
        with open(self.folder, "w", encoding="ascii"):
            pass
        self.marks.write(ALICE)
        self.assertEqual(self.marks.read(), [])
