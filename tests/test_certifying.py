"""Tests for snickers.certifying."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from snickers.certifying import Certifying
from snickers.config.values import Configuration, Passthrough, Settings, Site, Static, Where
from snickers.interfaces.certificates import (
    CertifyingFailed,
    ICertifying,
    IRenewer,
    Submitted,
    TakenIn,
)
from snickers.interfaces.colleagues import NOTHING, IColleagues, Share
from snickers.interfaces.plane import Change, IPlane
from snickers.running import Nobody
from tests.test_running import Certificates

NOW = 1_800_000_000.0
DAY = 86400.0
HERE = Where("/etc/sites.ini", 7)
SUBMITTED = Submitted(b"C", b"K")


def site(name: str, source: str, *also: str) -> Site:
    return Site(name, Static("/x"), also, source, where=HERE)


@implementer(IPlane)
class Plane:
    def __init__(self) -> None:
        self.changes: list[Change] = []

    def apply(self, change: Change) -> None:
        self.changes.append(change)


class Colleagues(Nobody):
    def __init__(self) -> None:
        self.shares: dict[str, Share] = {}

    def share(self, site: str) -> Share:
        return self.shares.get(site, NOTHING)


@implementer(IRenewer)
class Renewer:
    def __init__(self) -> None:
        self.said: dict[str, Any] = {}
        self.asked: list[str] = []
        self.order: Deferred[None] = Deferred()

    def apply(self, added: Any, changed: Any, removed: Any) -> None:
        raise AssertionError("nobody changes anything here")

    def renew(self, site: str, progress: Callable[[str], None]) -> Deferred[None]:
        self.asked.append(site)
        progress("ordering")
        return self.order

    def states(self) -> Any:
        return self.said


class OwnCertificates(Certificates):
    def __init__(self) -> None:
        super().__init__()
        self.renewed: list[str] = []

    def renew(self, site: str) -> Deferred[None]:
        self.renewed.append(site)
        return succeed(None)


class CertifyingTests(SynchronousTestCase):
    def setUp(self) -> None:
        sites = [
            site("own.example", "internal"),
            site("file.example", "files", "www.file.example"),
            site("net.example", "acme", "www.net.example"),
            Site("far.example", Passthrough("tcp:127.0.0.1:1")),
        ]
        self.configuration: Configuration | None = Configuration(
            Settings(), {site.name: site for site in sites}
        )
        self.plane, self.others = Plane(), Colleagues()
        self.certificates = OwnCertificates()
        self.renewer: Renewer = Renewer()
        self.taken = TakenIn((), ("a note",), "/c/x", ("x.example",), "An authority", NOW + DAY)
        self.asked: list[Any] = []
        self.steps: list[str] = []
        self.certifying = self.make(self.renewer)

    def make(self, renewer: IRenewer | None) -> Certifying:
        return Certifying(
            lambda: self.configuration,
            self.certificates,
            self.others,
            self.plane,
            self.take_in,
            renewer,
            lambda: NOW,
        )

    def take_in(self, *asked: Any) -> Deferred[TakenIn]:
        self.asked.append((asked[0].name, *asked[1:]))
        return succeed(self.taken)

    def test_interfaces(self) -> None:
        """It is what the control room expects, and so are those that it asks."""
        verifyObject(ICertifying, self.certifying)
        verifyObject(IRenewer, self.renewer)
        verifyObject(IColleagues, self.others)
        verifyObject(IPlane, self.plane)

    # What there is

    def row(self, name: str) -> dict[str, Any]:
        (found,) = [row for row in self.certifying.report() if row["site"] == name]
        return found

    def test_nothing_yet(self) -> None:
        """Every site has a row, also when nothing was loaded for it; one whose TLS is not opened
        here says that."""
        self.assertEqual(
            [row["site"] for row in self.certifying.report()],
            ["far.example", "file.example", "net.example", "own.example"],
        )
        self.assertEqual(
            self.row("file.example"),
            {
                "site": "file.example",
                "names": ["file.example", "www.file.example"],
                "wanted": "files",
                "source": "",
                "issuer": "",
                "not_after": None,
                "days": None,
                "step": "",
                "next": None,
                "fault": "",
                "challenge": "",
                "authority": "",
            },
        )
        self.configuration = None
        self.assertEqual(self.certifying.report(), [])

    def test_all_there_is(self) -> None:
        """What is shown and what is being ordered are put together."""
        self.certificates.said["net.example"] = {
            "source": "internal (acme: none yet)",
            "issuer": "Snickers",
            "not_after": NOW + 3.26 * DAY,
            "names": ["net.example"],
            "fault": "the file is broken",
        }
        self.renewer.said["net.example"] = {
            "step": "ordering",
            "next": NOW + 60,
            "fault": "the authority is away",
            "challenge": "http-01",
            "authority": "https://ca.example/",
            "ari": None,
        }
        row = self.row("net.example")
        self.assertEqual((row["source"], row["issuer"]), ("internal (acme: none yet)", "Snickers"))
        self.assertEqual((row["days"], row["step"], row["next"]), (3.3, "ordering", NOW + 60))
        self.assertEqual(row["fault"], "the file is broken; the authority is away")
        self.assertEqual((row["challenge"], row["authority"]), ("http-01", "https://ca.example/"))

    def test_loaded_elsewhere(self) -> None:
        """What another process shows is known, too."""
        self.certificates.said["own.example"] = {"not_after": NOW + DAY, "next": NOW + 5}
        self.assertEqual(self.row("own.example")["next"], NOW + 5)
        shown = {"source": "internal", "issuer": "Snickers", "not_after": NOW, "fault": ""}
        self.others.shares["own.example"] = Share(certificate=shown)
        for here in (None, {"source": "internal", "not_after": 0.0, "fault": "full"}):
            self.certificates.said = {} if here is None else {"own.example": here}
            row = self.row("own.example")
            self.assertEqual((row["source"], row["days"]), ("internal", 0.0))
        self.others.shares.clear()
        row = self.row("own.example")
        self.assertEqual((row["days"], row["fault"]), (None, "full"))

    # A new one

    def renew(self, name: str) -> Deferred[None]:
        return self.certifying.renew(name, self.steps.append)

    def test_renew_here(self) -> None:
        """What is made or read here is made or read, and every process told to show it."""
        for name, step in (
            ("own.example", "making a new one"),
            ("file.example", "reading its files"),
        ):
            self.successResultOf(self.renew(name))
            self.assertEqual(self.certificates.renewed.pop(), name)
            self.assertEqual(self.plane.changes.pop(), Change(certificates=(name,)))
            self.assertEqual(self.steps.pop(), step)

    def test_renew_there(self) -> None:
        """What is ordered is ordered; when it is there every process is told to show it."""
        renewed = self.renew("net.example")
        self.assertEqual((self.renewer.asked, self.steps), (["net.example"], ["ordering"]))
        self.assertEqual((self.plane.changes, self.certificates.renewed), ([], []))
        self.renewer.order.callback(None)
        self.successResultOf(renewed)
        self.assertEqual(self.certificates.renewed, ["net.example"])
        self.assertEqual(self.plane.changes, [Change(certificates=("net.example",))])

    def test_renew_fails(self) -> None:
        """Why an order has failed is said; nobody reads what has not changed."""
        renewed = self.renew("net.example")
        self.renewer.order.errback(CertifyingFailed("the authority is away"))
        failure = self.failureResultOf(renewed, CertifyingFailed)
        self.assertEqual(str(failure.value), "the authority is away")
        self.assertEqual((self.plane.changes, self.certificates.renewed), ([], []))

    def test_renew_nobody(self) -> None:
        """A site that has none here, or whose certificates nobody orders, says so."""
        for name in ("far.example", "unknown.example"):
            failure = self.failureResultOf(self.renew(name), CertifyingFailed)
            self.assertIn("passthrough", str(failure.value))
        self.certifying = self.make(None)
        failure = self.failureResultOf(self.renew("net.example"), CertifyingFailed)
        self.assertIn("nobody orders", str(failure.value))
        self.assertEqual(self.row("net.example")["step"], "")

    # One from elsewhere

    def taken_in(self, name: str, host: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.successResultOf(
            self.certifying.take_in(name, host, SUBMITTED)
        )
        return answer

    def test_take_in(self) -> None:
        """One from elsewhere is put where it is looked for, and shown by every process."""
        self.assertEqual(
            self.taken_in("file.example", "www.file.example"),
            {
                "site": "file.example",
                "problems": [],
                "notes": ["a note"],
                "folder": "/c/x",
                "names": ["x.example"],
                "issuer": "An authority",
                "not_after": NOW + DAY,
                "advice": "",
                "obstacle": "",
                "undone": [],
            },
        )
        self.assertEqual(self.asked, [("file.example", "www.file.example", SUBMITTED)])
        self.assertEqual(self.plane.changes, [Change(certificates=("file.example",))])

    def test_take_in_for_later(self) -> None:
        """A site that has its certificates from elsewhere says what to write, and where."""
        advice = self.taken_in("net.example", "net.example")["advice"]
        for words in ("from acme", "certificates = files", "[net.example]", "/etc/sites.ini:7"):
            self.assertIn(words, advice)
        self.assertEqual(self.plane.changes, [])

    def test_may_not(self) -> None:
        """What Snickers may not write is handed on; nobody reads what is not there."""
        self.taken = evolve(self.taken, obstacle="read-only", undone=(("key.pem", "K", True),))
        answer = self.taken_in("file.example", "file.example")
        self.assertEqual(
            (answer["obstacle"], answer["undone"]), ("read-only", [["key.pem", "K", True]])
        )
        self.assertEqual(self.plane.changes, [])

    def test_not_fit(self) -> None:
        """What is not fit is told with every reason, and nobody is disturbed."""
        self.taken = TakenIn(("expired", "too short"), ("a note",))
        self.assertEqual(
            self.taken_in("file.example", "file.example"),
            {"site": "file.example", "problems": ["expired", "too short"], "notes": ["a note"]},
        )
        self.assertEqual(self.plane.changes, [])

    def test_take_in_for_nobody(self) -> None:
        """A host that is none of a site's, or whose TLS is not opened here, gets none."""
        for name, host in (("file.example", "x.example"), ("far.example", "far.example")):
            self.failureResultOf(self.certifying.take_in(name, host, SUBMITTED), CertifyingFailed)
        self.assertEqual(self.asked, [])
