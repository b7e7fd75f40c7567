"""Whether the folders of static sites are there."""

from __future__ import annotations

import os
from threading import Event

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers import roots
from snickers.config.values import Redirect, Site, Static, Where
from snickers.roots import Roots, warnings, wrong_with


def static(name: str, root: str) -> Site:
    return Site(name=name, kind=Static(root=root), where=Where("s.ini", 3))


class WrongTests(SynchronousTestCase):
    """What keeps a folder from being served."""

    def test_there(self) -> None:
        """A folder is fine, an empty one too."""
        folder = self.mktemp()
        os.mkdir(folder)
        self.assertEqual(wrong_with(folder), "")

    def test_missing(self) -> None:
        """It is said that it is missing, and what visitors get meanwhile."""
        self.assertEqual(
            wrong_with("/no/such"),
            "/no/such does not exist; visitors get 503 until there is a folder",
        )

    def test_a_file(self) -> None:
        """A file is no folder."""
        path = self.mktemp()
        with open(path, "w"):
            pass
        self.assertIn("is no folder", wrong_with(path))

    def test_not_allowed(self) -> None:
        """Who may not look into it says as whom it has looked."""

        def denied(path: str, mode: int, *, effective_ids: bool) -> bool:
            self.assertEqual((mode, effective_ids), (os.X_OK, True))
            return False

        # Root may look into every folder.
        self.patch(roots.os, "access", denied)
        folder = self.mktemp()
        os.mkdir(folder)
        self.assertRegex(wrong_with(folder), r"Permission denied.*\(seen as the user .+\)$")


class LookTests(SynchronousTestCase):
    """Looking at those of all sites."""

    def test_found(self) -> None:
        """Those that are not there are told by their sites; other sites have no folder, and those
        that are switched off need none."""
        folder = self.mktemp()
        os.mkdir(folder)
        sites = [
            static("a.example", folder),
            static("b.example", folder + "/not"),
            Site(name="c.example", kind=Redirect(to="https://a.example")),
            evolve(static("d.example", folder + "/not"), enabled=False),
        ]
        found = Roots().look(sites)
        self.assertEqual(list(found), ["b.example"])
        lines = [str(one) for one in warnings(sites, found)]
        self.assertEqual(len(lines), 1)
        self.assertTrue(lines[0].startswith("s.ini:3: [b.example] root: warning: "), lines)

    def test_a_disk_that_does_not_answer(self) -> None:
        """It is not waited for, nor by a second thread; when it answers, so does the next look."""
        entered, answers = Event(), Event()
        asked: list[str] = []

        def slow(root: str) -> str:
            asked.append(root)
            entered.set()
            answers.wait(60)
            return ""

        self.patch(roots, "wrong_with", slow)
        looking = Roots(within=0.0)
        sites = [static("a.example", "/away")]
        self.assertIn("does not answer", looking.look(sites)["a.example"])
        self.assertIn("does not answer", looking.look(sites)["a.example"])
        thread = looking._thread
        assert thread is not None
        answers.set()
        thread.join(60)
        self.assertEqual(asked, ["/away"])
        self.assertEqual(looking.look(sites), {})
        self.patch(roots, "wrong_with", lambda root: "gone")
        patient = Roots(within=60.0)
        self.assertEqual(patient.look(sites), {"a.example": "gone"})
