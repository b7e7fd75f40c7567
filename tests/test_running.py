"""The configuration that runs, and how it changes."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from attrs import frozen
from twisted.internet.defer import Deferred, execute, fail
from twisted.logger import Logger, LogLevel
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from snickers.config.parse import Loaded, parse
from snickers.config.values import Settings, Site
from snickers.http.sites import SiteTable
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.certificates import ICertificates, IRenewer
from snickers.interfaces.colleagues import NOTHING, IColleagues, Share
from snickers.interfaces.exchange import IHandler
from snickers.interfaces.front_door import IFrontDoor
from snickers.interfaces.lives import ILives
from snickers.interfaces.plane import Change
from snickers.interfaces.traffic import Traffic
from snickers.livesites import LiveSites
from snickers.running import Nobody, Running

SETTINGS = "[snickers]\nstate = /s\ndata = /d\n"
A = "[a.example]\ntype = static\nroot = /a\n"
B = "[b.example]\ntype = redirect\nto = https://a.example\n"
BOX = "[box.example]\ntype = process\ncommand = run\n"


@frozen
class FakeStamp:
    """A stamp that says what the test says."""

    files: dict[str, Any]
    number: int

    def current(self) -> FakeStamp:
        if self.files.get("raises"):
            raise OSError("no such disk")
        return FakeStamp(self.files, self.files["number"])


@implementer(IHandler)
class Handler:
    """A handler of one site."""

    def __init__(self, site: Site | None) -> None:
        self.site = site
        self.closed = False

    def handle(self, exchange: Any) -> None: ...

    def close(self) -> None:
        self.closed = True


@implementer(ICertificates)
class Certificates:
    """Notes what it is to apply."""

    def __init__(self) -> None:
        self.applied: list[Any] = []
        self.said: dict[str, Any] = {}
        self.reread_sites: list[str] = []

    def reread(self, site: str) -> None:
        self.reread_sites.append(site)

    def renew(self, site: str) -> Any: ...

    def apply(self, added: Any, changed: Any, removed: Any) -> None:
        names = [[site.name for site in sites] for sites in (added, changed, removed)]
        if any(names):
            self.applied.append(names)

    def states(self) -> Any:
        return self.said


@implementer(ILives)
class Lives:
    """Notes what it is to apply."""

    def __init__(self) -> None:
        self.applied: list[Any] = []
        self.said: dict[str, Any] = {}

    apply = Certificates.apply
    states = Certificates.states

    def wake(self, site: str, progress: Any) -> Any: ...

    def sleep(self, site: str, progress: Any) -> Any: ...

    def restart(self, site: str, progress: Any) -> Any: ...

    def update(self, site: str, progress: Any, image: str = "") -> Any: ...

    def roll_back(self, site: str, progress: Any) -> Any: ...

    def logs(self, site: str, tail: int, follow: bool, receive: Any) -> Any: ...


@implementer(IAlarm)
class Alarm:
    """Keeps what is wrong."""

    def __init__(self) -> None:
        self.now: dict[tuple[str, str], str] = {}
        self.over: list[str] = []

    def raised(self, kind: str, site: str, message: str) -> None:
        self.now[kind, site] = message

    def cleared(self, kind: str, site: str) -> None:
        self.over.append(self.now.pop((kind, site)))

    def current(self) -> list[dict[str, Any]]:
        return [
            {"kind": kind, "site": site, "message": message}
            for (kind, site), message in self.now.items()
        ]


class Connection:
    """An open connection."""

    idle_closed = False

    def close_if_idle(self) -> None:
        self.idle_closed = True


class RunningCase(SynchronousTestCase):
    """A running configuration over fakes."""

    def setUp(self) -> None:
        self.sites = SiteTable()
        self.certificates, self.lives, self.alarm = Certificates(), Lives(), Alarm()
        verifyObject(ICertificates, self.certificates)
        verifyObject(ILives, self.lives)
        verifyObject(IAlarm, self.alarm)
        self.files: dict[str, Any] = {"number": 1}
        self.text = SETTINGS + A + B
        self.told: list[str] = []
        self.settings: list[Settings] = []
        self.made: list[Handler] = []
        self.fail_for = ""
        self.now = 1000.0
        self.absent: dict[str, str] = {}
        self.looked: list[list[str]] = []
        self.running = Running(
            self.load,
            execute,
            self.sites,
            LiveSites(
                self.sites,
                self.make,
                lambda: Handler(None),
                self.certificates,
                self.settings.append,
            ),
            self.certificates,
            self.lives,
            self.alarm,
            self.told.append,
            lambda: self.now,
            lambda: {"version": "1"},
            self.settle,
            roots=self.look_at,
        )

    def look_at(self, sites: Sequence[Site]) -> dict[str, str]:
        """What is wrong with the folders of *sites*, as the test says."""
        self.looked.append([site.name for site in sites])
        return {site.name: self.absent[site.name] for site in sites if site.name in self.absent}

    def settle(self) -> None:
        """A moment passes, in which somebody may write."""
        self.files["number"] += self.files.pop("written meanwhile", 0)

    def load(self) -> Loaded:
        return Loaded(
            parse([("s.ini", self.text)]),
            FakeStamp(self.files, self.files["number"]),  # type: ignore[arg-type]
        )

    def make(self, site: Site) -> Handler:
        if site.name == self.fail_for:
            raise RuntimeError("a fault")
        self.made.append(Handler(site))
        return self.made[-1]

    def begin(self) -> None:
        loaded = self.load()
        self.assertEqual(loaded.configuration.faults, ())
        self.running.begin(loaded)
        self.made.clear()
        self.certificates.applied.clear()
        self.lives.applied.clear()

    def reload(self, text: str) -> dict[str, Any]:
        self.text = text
        answer: dict[str, Any] = self.successResultOf(self.running.reload())
        return answer


class ReloadTests(RunningCase):
    """What a reload changes, and what it leaves alone."""

    def test_interface(self) -> None:
        """The control room may ask it."""
        verifyObject(IFrontDoor, self.running)

    def test_begin(self) -> None:
        """At first everything is new."""
        self.running.begin(self.load())
        self.assertEqual(sorted(self.sites.by_name), ["a.example", "b.example"])
        self.assertEqual(self.certificates.applied, [[["a.example", "b.example"], [], []]])

    def test_declare_lives(self) -> None:
        """Lives that are new hear of all sites that have a server, and of those alone."""
        self.running.declare_lives()
        self.text = SETTINGS + A + BOX + BOX.replace("[box", "[off") + "enabled = off\n"
        self.begin()
        self.running.declare_lives()
        self.assertEqual(self.lives.applied, [[["box.example"], [], []]])

    def test_nothing(self) -> None:
        """Nothing new: nothing is touched."""
        self.begin()
        answer = self.reload(self.text)
        self.assertEqual((answer["added"], answer["changed"], answer["removed"]), ([], [], []))
        self.assertEqual((self.made, self.certificates.applied), ([], []))
        self.assertEqual(self.told, ["reloading", "ready"])

    def test_add_change_remove(self) -> None:
        """Only what differs is touched; a changed site stays the same to its connections."""
        self.begin()
        a, b = self.sites.by_name["a.example"], self.sites.by_name["b.example"]
        old_handler = a.handler
        connection = Connection()
        b.connections.add(connection)  # type: ignore[arg-type]
        answer = self.reload(SETTINGS + A.replace("/a", "/a2") + BOX)
        self.assertEqual([entry["site"] for entry in answer["added"]], ["box.example"])
        self.assertEqual(answer["changed"][0]["options"], {"root": ["/a", "/a2"]})
        self.assertEqual(
            answer["removed"], [{"site": "b.example", "kind": "redirect", "closes": 1}]
        )
        self.assertIs(self.sites.by_name["a.example"], a)
        self.assertIsNot(a.handler, old_handler)
        self.assertTrue(old_handler.closed)
        self.assertTrue(connection.idle_closed)
        self.assertIsNone(self.sites.find(b"b.example"))
        self.assertEqual(
            self.certificates.applied, [[["box.example"], ["a.example"], ["b.example"]]]
        )
        self.assertEqual(self.lives.applied, [[["box.example"], [], []]])

    def test_lives(self) -> None:
        """A site that gets or loses a server of its own, also by being switched off."""
        self.text += BOX
        self.begin()
        self.reload(SETTINGS + A + B + BOX + "idle after = 1m\n")
        self.reload(SETTINGS + A + B + BOX + "enabled = off\n")
        self.reload(SETTINGS + A + B + BOX)
        self.reload(SETTINGS + A + B + "[box.example]\ntype = static\nroot = /x\n")
        self.reload(SETTINGS + A + B + BOX)
        self.reload(SETTINGS + A + B)
        self.assertEqual(
            self.lives.applied,
            [
                [[], ["box.example"], []],
                [[], [], ["box.example"]],
                [["box.example"], [], []],
                [[], [], ["box.example"]],
                [["box.example"], [], []],
                [[], [], ["box.example"]],
            ],
        )

    def test_settings(self) -> None:
        """What of [snickers] can change while running, does; the rest is said to need a start."""
        self.begin()
        answer = self.reload(SETTINGS + "keep alive = 10s\nhttps = tcp:8443\n" + A + B)
        self.assertEqual(self.settings[0].keep_alive, 10.0)
        self.assertEqual(
            {entry["option"]: entry["needs_restart"] for entry in answer["settings"]},
            {"keep alive": False, "https": True},
        )

    def test_a_restart_is_needed(self) -> None:
        """What only a new start takes up is not forgotten until it is taken up, or back."""
        self.begin()
        self.reload(SETTINGS + "https = tcp:8443\n" + A + B)
        self.assertIn("https", self.alarm.now["restart", ""])
        self.reload(SETTINGS + "https = tcp:8443\nkeep alive = 10s\n" + A + B)
        self.assertIn(("restart", ""), self.alarm.now)
        self.reload(SETTINGS + A + B)
        self.assertEqual(self.alarm.now, {})

    def test_default_site(self) -> None:
        """The default site follows the configuration, by whichever of its names it is given."""
        self.begin()
        self.reload(SETTINGS + "default site = www.b.example\n" + A + B + "also = www.b.example\n")
        self.assertIs(self.sites.default, self.sites.by_name["b.example"])
        self.reload(SETTINGS + "default site = a.example\n" + A + B)
        self.assertIs(self.sites.default, self.sites.by_name["a.example"])
        self.reload(SETTINGS + A + B)
        self.assertIsNone(self.sites.default)

    def test_a_handler_that_cannot_be_made(self) -> None:
        """...harms no other site."""
        self.begin()
        self.fail_for = "c.example"
        self.reload(SETTINGS + A + B + A.replace("a.example", "c.example") + BOX)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertIn("box.example", self.sites.by_name)

    def test_plan(self) -> None:
        """A plan says the same as a reload would, and changes nothing."""
        self.begin()
        self.text = SETTINGS + A.replace("/a", "/a2") + BOX
        plan = self.successResultOf(self.running.plan())
        self.assertEqual(self.made, [])
        self.assertIsNotNone(self.sites.find(b"b.example"))
        self.assertEqual(plan, self.successResultOf(self.running.reload()))

    def test_what_a_change_closes(self) -> None:
        """A server that must be made anew ends those who use it; another change nobody."""
        self.text += BOX
        self.begin()
        self.lives.said = {"box.example": {"uses": 3}}
        for text, closes in [("idle after = 1m\n", 0), ("env.A = b\n", 3)]:
            self.text = SETTINGS + A + B + BOX + text
            plan = self.successResultOf(self.running.plan())
            self.assertEqual(plan["changed"][0]["closes"], closes)


class FaultTests(RunningCase):
    """Mistakes, and how far they reach."""

    def test_a_faulty_site_stays_as_it_was(self) -> None:
        """Its last good version is served, an alarm says why; others change as they should."""
        self.begin()
        a = self.sites.by_name["a.example"]
        handler = a.handler
        answer = self.reload(SETTINGS + A + "lstng = on\n" + B.replace("a.ex", "c.ex"))
        self.assertIs(a.handler, handler)
        self.assertEqual([entry["site"] for entry in answer["changed"]], ["b.example"])
        self.assertEqual((answer["broken"], len(answer["faults"])), (["a.example"], 1))
        self.assertIn("s.ini:7", self.alarm.now["configuration", "a.example"])
        status = {site["site"]: site for site in self.running.status()["sites"]}
        self.assertIn("last good", status["a.example"]["detail"])
        self.reload(SETTINGS + A + B)
        self.assertEqual(self.alarm.now, {})

    def test_another_fault(self) -> None:
        """What was at fault and is at fault otherwise is told anew; the old alarm is over. What
        is still as it was is not over."""
        self.begin()
        bad = SETTINGS + A + "lstng = on\n"
        self.reload(bad + B)
        first = self.alarm.now["configuration", "a.example"]
        self.reload(bad + B.replace("a.ex", "c.ex"))
        self.assertEqual(self.alarm.over, [])
        self.reload(bad.replace("lstng", "listig") + B)
        self.assertEqual(self.alarm.over, [first])
        self.assertIn("listig", self.alarm.now["configuration", "a.example"])

    def test_a_site_that_was_never_good(self) -> None:
        """It is there, answers for itself, and has a certificate to say so."""
        self.begin()
        bad = "[new.example]\ntype = static\n"
        self.reload(SETTINGS + A + B + bad)
        live = self.sites.find(b"new.example")
        assert live is not None
        self.assertIsNone(live.site)
        self.assertEqual(self.certificates.applied, [[["new.example"], [], []]])
        self.reload(SETTINGS + A + B + bad + "lstng = on\n")
        self.assertEqual(len(self.certificates.applied), 1)
        states = {site["site"]: site["state"] for site in self.running.status()["sites"]}
        self.assertEqual(states["new.example"], "broken")

    def test_mended(self) -> None:
        """Once mended it is served, by the same live site."""
        self.begin()
        bad = "[new.example]\ntype = static\n"
        self.reload(SETTINGS + A + B + bad)
        live = self.sites.find(b"new.example")
        self.reload(SETTINGS + A + B + bad + "root = /n\n")
        self.assertIs(self.sites.find(b"new.example"), live)
        assert live is not None
        assert live.site is not None
        self.assertEqual(live.site.name, "new.example")

    def test_given_up(self) -> None:
        """Taken out of the file, it is gone."""
        self.begin()
        self.reload(SETTINGS + A + B + "[new.example]\ntype = static\n")
        self.reload(SETTINGS + A + B)
        self.assertIsNone(self.sites.find(b"new.example"))
        self.assertEqual(self.certificates.applied[-1], [[], [], ["new.example"]])

    def test_a_fault_in_the_settings(self) -> None:
        """...leaves everything as it is."""
        self.begin()
        answer = self.reload("[snickers]\nstate = /s\nhtps = tcp:1\n" + A.replace("/a", "/x"))
        self.assertEqual((self.made, self.settings), ([], []))
        self.assertEqual(len(self.sites.by_name), 2)
        self.assertEqual((len(answer["faults"]), answer["held"]), (1, True))
        self.assertFalse(self.reload(self.text.replace("htps", "https"))["held"])

    def test_an_empty_file(self) -> None:
        """A file that was emptied by mistake takes nobody off the net."""
        self.begin()
        self.reload("")
        self.assertEqual(len(self.sites.by_name), 2)
        self.assertTrue(self.alarm.now)


class FolderTests(RunningCase):
    """Folders of sites that are not there."""

    def test_told_from_the_beginning(self) -> None:
        """A folder that is missing is a site's detail before anybody has visited it, and no fault;
        the log has it once."""
        self.absent = {"a.example": "/a does not exist"}
        logged: list[Any] = []
        self.patch(Running, "log", Logger(observer=logged.append))
        self.begin()
        status = self.running.status()
        details = {site["site"]: site["detail"] for site in status["sites"]}
        self.assertEqual(details, {"a.example": "/a does not exist", "b.example": ""})
        self.assertEqual((status["faults"], status["alarms"]), ([], []))
        answer = self.reload(self.text)
        self.assertEqual(answer["faults"], [])
        self.assertEqual(
            answer["warnings"], ["s.ini:4: [a.example] root: warning: /a does not exist"]
        )
        self.assertEqual([event["log_level"] for event in logged].count(LogLevel.warn), 1)

    def test_there_by_now(self) -> None:
        """What was missing is looked at again when somebody asks; what was there is not."""
        self.text += A.replace("[a", "[c")
        self.absent = {"a.example": "away"}
        self.begin()
        self.looked.clear()
        self.successResultOf(self.running.freshen())
        self.absent = {}
        self.successResultOf(self.running.freshen())
        self.assertEqual(self.running.status()["sites"][0]["detail"], "")
        self.successResultOf(self.running.freshen())
        self.assertEqual(self.looked, [["a.example"], ["a.example"]])

    def test_given_up(self) -> None:
        """Of a site that is removed, or is of another type, nothing is said any more."""
        self.absent = {"a.example": "away"}
        self.begin()
        self.reload(SETTINGS + B + B.replace("[b", "[a").replace("a.example\n", "c.example\n", 1))
        self.assertEqual({site["detail"] for site in self.running.status()["sites"]}, {""})

    def test_the_look_fails(self) -> None:
        """A reload is done, whatever becomes of the look at folders."""
        self.begin()
        self.absent = cast("dict[str, str]", None)
        self.assertEqual(len(self.reload(self.text + BOX)["added"]), 1)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)


class JustAppliedTests(RunningCase):
    """What the watcher has applied before a person asked for a reload."""

    def saved(self) -> None:
        self.begin()
        self.text += BOX
        self.files["number"] = 2
        self.successResultOf(self.running.watch())

    def test_told(self) -> None:
        """Who asks a moment later learns what the save did, and when."""
        self.saved()
        self.now += 2.0
        before = self.reload(self.text)["before"]
        self.assertEqual(before["seconds"], 2.0)
        self.assertEqual(before["added"], [{"site": "box.example", "kind": "process"}])

    def test_long_ago(self) -> None:
        """After a minute it is no news; nor where this reload has changed something itself."""
        self.saved()
        self.assertNotIn("before", self.reload(self.text + A.replace("[a", "[c")))
        self.now += 61.0
        self.assertNotIn("before", self.reload(self.text))

    def test_nothing_was_applied(self) -> None:
        """A look that changed nothing is not told."""
        self.begin()
        self.files["number"] = 2
        self.successResultOf(self.running.watch())
        self.assertNotIn("before", self.reload(self.text))

    def test_asked_for(self) -> None:
        """What a person has asked for was told then."""
        self.begin()
        self.reload(self.text + BOX)
        self.assertNotIn("before", self.reload(self.text))


class WatchTests(RunningCase):
    """Looking for changes."""

    def test_change(self) -> None:
        """Files that changed are read; files that did not are not."""
        self.begin()
        self.text += BOX
        self.successResultOf(self.running.watch())
        self.assertNotIn("box.example", self.sites.by_name)
        self.files["number"] = 2
        self.successResultOf(self.running.watch())
        self.assertIn("box.example", self.sites.by_name)
        self.successResultOf(self.running.watch())
        self.assertEqual(self.running.reloads, {"ok": 1, "faults": 0, "failed": 0})

    def test_being_written(self) -> None:
        """A file that changes while it is looked at is left for the next time."""
        self.begin()
        self.text += BOX
        self.files.update({"number": 2, "written meanwhile": 1})
        self.successResultOf(self.running.watch())
        self.assertNotIn("box.example", self.sites.by_name)
        self.successResultOf(self.running.watch())
        self.assertIn("box.example", self.sites.by_name)

    def test_exceptions(self) -> None:
        """A look or a reload that fails is logged; the next one is as good as any."""
        self.begin()
        self.files["raises"] = True
        self.successResultOf(self.running.watch())
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        del self.files["raises"]
        self.files["number"] = 2
        load, self.running._load = self.running._load, lambda: 1 / 0  # type: ignore[assignment]
        self.successResultOf(self.running.watch())
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(self.told[-1], "ready")
        self.running._load = load
        self.text += BOX
        self.successResultOf(self.running.watch())
        self.assertIn("box.example", self.sites.by_name)

    def test_one_after_the_other(self) -> None:
        """A reload waits for the one before it."""
        self.begin()
        waiting: list[Deferred[Any]] = []

        def later(function: Any, *arguments: Any) -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[-1]

        self.running._in_thread = later
        first, second = self.running.reload(), self.running.reload()
        self.assertEqual(len(waiting), 1)
        waiting[0].callback(self.load())
        self.assertNoResult(first)
        # The look at folders.
        waiting[1].callback({})
        self.successResultOf(first)
        self.assertEqual(len(waiting), 3)
        waiting[2].callback(self.load())
        waiting[3].callback({})
        self.successResultOf(second)


class StatusTests(RunningCase):
    """What there is to say."""

    def test_sites(self) -> None:
        """A line a site, with its life's state and its certificate's days."""
        box = "[box.example]\ntype = container\nimage = lamp:7\n"
        self.text += box + "[off.example]\ntype = static\nroot = /x\nenabled = off\n"
        self.begin()
        self.lives.said = {
            "box.example": {
                "state": "awake",
                "since": 5.0,
                "uses": 2,
                "waiting": 1,
                "detail": "",
                "id": "77",
                "image": "lamp@sha256:7",
                "notice": "A newer one is here.",
            }
        }
        self.certificates.said = {
            "a.example": {"source": "internal", "not_after": 1000 + 86400 * 3, "fault": ""}
        }
        status = self.running.status()
        sites = {site["site"]: site for site in status["sites"]}
        self.assertEqual(status["version"], "1")
        self.assertEqual(sites["a.example"]["state"], "serving")
        self.assertEqual(sites["a.example"]["certificate_days"], 3.0)
        self.assertEqual(sites["off.example"]["state"], "disabled")
        box = sites["box.example"]
        self.assertEqual(
            (box["state"], box["since"], box["uses"], box["waiting"], box["id"]),
            ("awake", 5.0, 2, 1, "77"),
        )
        self.assertEqual((box["image"], box["notice"]), ("lamp@sha256:7", "A newer one is here."))
        self.assertEqual(
            (box["declared_image"], sites["a.example"]["declared_image"]), ("lamp:7", "")
        )
        self.assertEqual((sites["a.example"]["image"], sites["a.example"]["notice"]), ("", ""))

    def test_orders(self) -> None:
        """What is going on with a certificate is told, and why it is not going on."""
        self.begin()
        said: dict[str, Any] = {"a.example": {"step": "proving by http-01", "fault": ""}}
        self.running._renewer = cast(IRenewer, SimpleNamespace(states=lambda: said))
        (site,) = self.running.status()["sites"][:1]
        self.assertEqual((site["certificate_step"], site["detail"]), ("proving by http-01", ""))
        said["a.example"]["fault"] = "the authority is away"
        (site,) = self.running.status()["sites"][:1]
        self.assertEqual(site["detail"], "the authority is away")

    def test_an_alarm_is_a_detail(self) -> None:
        """What is wrong with a site stands in its line."""
        self.begin()
        self.alarm.raised("certificate", "a.example", "there is none")
        details = {site["site"]: site["detail"] for site in self.running.status()["sites"]}
        self.assertEqual(details, {"a.example": "there is none", "b.example": ""})

    def test_a_failed_reload_is_told(self) -> None:
        """Whoever asked for a reload learns that it failed."""
        self.begin()
        self.running._in_thread = lambda *_: fail(RuntimeError("no"))
        self.failureResultOf(self.running.reload(), RuntimeError)
        self.flushLoggedErrors(RuntimeError)


@implementer(IColleagues)
class Others:
    """Other processes, in the test's hand."""

    def __init__(self) -> None:
        self.shares: dict[str, Share] = {}
        self.fresh: list[Deferred[None]] = []

    def freshen(self) -> Deferred[None]:
        self.fresh.append(Deferred())
        return self.fresh[-1]

    def share(self, site: str) -> Share:
        return self.shares.get(site, NOTHING)

    def report(self) -> list[dict[str, Any]]:
        return [{"pid": 7}]

    def handshakes(self) -> dict[str, int]:
        return {"ok": 5, "failed": 1}


class OthersTests(RunningCase):
    """Other processes have their part."""

    def setUp(self) -> None:
        super().setUp()
        self.others = self.running._others = Others()
        verifyObject(IColleagues, self.others)
        self.text = SETTINGS + A + B + BOX
        self.begin()

    def states(self) -> dict[str, Any]:
        return {site["site"]: site for site in self.running.status()["sites"]}

    def test_nobody(self) -> None:
        """Without other processes there is nothing of theirs, and nothing to wait for."""
        nobody = Nobody()
        verifyObject(IColleagues, nobody)
        self.assertEqual((nobody.share("a.example"), nobody.report()), (NOTHING, []))
        self.successResultOf(nobody.freshen())

    def test_metrics(self) -> None:
        """What is measured is that of all processes, and is up to date."""
        live = self.sites.by_name["a.example"]

        def measured() -> dict[str, int]:
            live.traffic.codes[200] = 3
            return {"ok": 2, "timeout": 4}

        self.running._measured = measured
        self.others.shares["a.example"] = Share(traffic=Traffic(codes=((200, 4), (404, 1))))
        metrics = self.running.metrics()
        self.assertEqual(metrics.handshakes, {"ok": 7, "failed": 1, "timeout": 4})
        self.assertEqual(metrics.sites["a.example"].codes, ((200, 7), (404, 1)))
        self.assertEqual(set(metrics.sites), {"a.example", "b.example", "box.example"})
        self.assertEqual(metrics.status, self.running.status())
        self.assertEqual(metrics.lives, self.lives.said)

    def test_uses_told_late(self) -> None:
        """A lease that a worker has given back since it told of it is no use less than none."""
        said = {"state": "awake", "since": 1.0, "uses": 0, "waiting": 0, "detail": "", "id": ""}
        self.lives.said = {"box.example": said}
        self.others.shares["box.example"] = Share(uses=-1)
        self.assertEqual(self.states()["box.example"]["uses"], 0)

    def test_status(self) -> None:
        """What they have of a site is added; who they are is said."""
        self.sites.by_name["a.example"].requests = 5
        self.sites.by_name["a.example"].connections.add(Connection())
        self.lives.said = {
            "box.example": {
                "state": "awake",
                "since": 5.0,
                "uses": 2,
                "waiting": 1,
                "detail": "",
                "id": "77",
            }
        }
        self.others.shares = {
            "a.example": Share(10, 2, 0, None),
            "box.example": Share(3, 1, 4, None),
        }
        states = self.states()
        self.assertEqual(
            [(states[name]["requests"], states[name]["connections"]) for name in sorted(states)],
            [(15, 3), (0, 0), (3, 1)],
        )
        self.assertEqual((states["a.example"]["uses"], states["box.example"]["uses"]), (0, 6))
        self.assertEqual(self.running.status()["workers"], [{"pid": 7}])

    def test_certificate(self) -> None:
        """A certificate that only they have loaded is told of; one that was loaded here is ours."""
        theirs = {"source": "files", "not_after": 1000 + 86400 * 2, "fault": "it is old"}
        self.others.shares = {"a.example": Share(certificate=theirs)}
        said = self.states()["a.example"]
        self.assertEqual(
            (said["certificate"], said["certificate_days"], said["detail"]),
            (theirs, 2.0, "it is old"),
        )
        ours = {"source": "internal", "not_after": 1000 + 86400 * 3, "fault": ""}
        self.certificates.said = {"a.example": ours}
        self.assertEqual(self.states()["a.example"]["certificate"], ours)

    def test_plan(self) -> None:
        """What a change closes is closed with them, too."""
        self.lives.said = {"box.example": {"uses": 2}}
        self.sites.by_name["a.example"].connections.add(Connection())
        self.others.shares = {
            "a.example": Share(10, 2, 0, None),
            "box.example": Share(3, 1, 4, None),
        }
        self.text = SETTINGS + B + BOX.replace("run", "walk")
        plan = self.successResultOf(self.running.plan())
        self.assertEqual([entry["closes"] for entry in plan["removed"]], [3])
        self.assertEqual([entry["closes"] for entry in plan["changed"]], [6])

    def test_freshen(self) -> None:
        """Whoever asks may wait until they have told."""
        fresh = self.running.freshen()
        self.assertNoResult(fresh)
        self.others.fresh[0].callback(None)
        self.successResultOf(fresh)

    def test_reload(self) -> None:
        """A reload is over when it holds with them as well."""
        self.text = SETTINGS + A
        reloaded = self.running.reload()
        self.assertNotIn("b.example", self.sites.by_name)
        self.assertNoResult(reloaded)
        self.assertEqual(self.told, ["reloading"])
        self.others.fresh[0].callback(None)
        answer = self.successResultOf(reloaded)
        self.assertEqual(len(answer["removed"]), 2)
        self.assertEqual(self.told, ["reloading", "ready"])


class WholeTests(RunningCase):
    """All that runs, for somebody who has nothing yet."""

    def test_before_the_begin(self) -> None:
        """Before anything runs it is nothing."""
        self.assertEqual(self.running.whole(), Change())

    def test_whole(self) -> None:
        """It has settings, all sites as they run, those that were never good, and the default."""
        self.text = SETTINGS + "default site = b.example\n" + A + B
        self.begin()
        self.reload(self.text.replace("root = /a", "rot = /a") + "[c.example]\ntype = no\n")
        whole = self.running.whole()
        assert whole.settings is not None
        self.assertEqual(whole.settings.default_site, "b.example")
        self.assertEqual(sorted(site.name for site in whole.added), ["a.example", "b.example"])
        self.assertEqual((whole.changed, whole.removed), ((), ()))
        self.assertEqual((whole.broken, whole.default), (("c.example",), "b.example"))

    def test_what_waits_for_a_restart(self) -> None:
        """Who starts later starts as we did, with what a restart is not needed for as it is now."""
        self.begin()
        self.reload(SETTINGS.replace("/s", "/t") + "http2 = off\nkeep alive = 7s\n" + A)
        settings = self.running.whole().settings
        assert settings is not None
        self.assertEqual((settings.state, settings.http2, settings.keep_alive), ("/s", True, 7.0))

    def test_the_same(self) -> None:
        """Who takes it has what we have after all changes; it can be taken over and over."""
        self.begin()
        self.reload(SETTINGS + A.replace("/a", "/new") + BOX + "[c.example]\ntype = no\n")
        other = SiteTable()
        taker = LiveSites(
            other, self.make, lambda: Handler(None), Certificates(), self.settings.append
        )
        for _ in range(2):
            taker.apply(self.running.whole())
            self.assertEqual(
                {name: live.site for name, live in other.by_name.items()},
                {name: live.site for name, live in self.sites.by_name.items()},
            )


THROUGH = "[a.example]\ntype = passthrough\nto = tcp:b:443\n"


class UnopenedTests(RunningCase):
    """Sites whose TLS is not opened here."""

    def test_no_certificate(self) -> None:
        """They have none; one that is opened no more loses its own, and the other way round."""
        self.begin()
        self.reload(SETTINGS + THROUGH + B)
        self.assertEqual(self.certificates.applied, [[[], [], ["a.example"]]])
        self.certificates.applied.clear()
        self.reload(SETTINGS + THROUGH.replace("443", "444") + B)
        self.assertEqual(self.certificates.applied, [[[], [], ["a.example"]]])
        self.certificates.applied.clear()
        self.reload(SETTINGS + A + B)
        self.assertEqual(self.certificates.applied, [[[], ["a.example"], []]])

    def test_first(self) -> None:
        """From the first configuration on, none is made."""
        self.text = SETTINGS + THROUGH
        self.running.begin(self.load())
        self.assertEqual(self.certificates.applied, [[[], [], ["a.example"]]])
        self.assertTrue(self.sites.by_name["a.example"].unopened)

    def test_idle_connections(self) -> None:
        """When TLS is opened no more, connections on which nothing is asked are closed."""
        self.begin()
        connection = Connection()
        self.sites.by_name["a.example"].connections.add(connection)
        self.reload(SETTINGS + THROUGH + B)
        self.assertTrue(connection.idle_closed)
        connection.idle_closed = False
        self.reload(SETTINGS + THROUGH.replace("443", "444") + B)
        self.assertFalse(connection.idle_closed)

    def test_plan(self) -> None:
        """Neither a change nor the removal closes a connection that was carried."""
        self.text = SETTINGS + THROUGH + B
        self.begin()
        self.sites.by_name["a.example"].connections.add(Connection())
        (site, _) = self.running.status()["sites"]
        self.assertEqual((site["kind"], site["connections"]), ("passthrough", 1))
        self.text = SETTINGS + THROUGH.replace("443", "444") + "proxy protocol = v2\n" + B
        (change,) = self.successResultOf(self.running.plan())["changed"]
        self.assertEqual(change["options"]["to"], ["tcp:b:443", "tcp:b:444"])
        self.assertEqual(change["options"]["proxy protocol"], ["off", "v2"])
        self.assertEqual(change["closes"], 0)
        self.text = SETTINGS + B
        (removed,) = self.successResultOf(self.running.plan())["removed"]
        self.assertEqual((removed["kind"], removed["closes"]), ("passthrough", 0))
