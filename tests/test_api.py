"""What may be asked over the control socket."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred, fail

from snickers.interfaces.certificates import CertifyingFailed, Submitted
from snickers.interfaces.copies import Copy, CopyFailed
from tests.control_caller import ApiCase
from tests.control_fake import LifeFailed


class LookingTests(ApiCase):
    """Status, sites, plans."""

    def test_status(self) -> None:
        """The status is what the front door says."""
        self.assertEqual(self.ask("GET", "/status"), (200, self.front_door.status()))

    def test_status_of_one_site(self) -> None:
        """With ?site= the status has that site alone."""
        status, answer = self.ask("GET", "/status?site=blog.example")
        self.assertEqual(status, 200)
        self.assertEqual([site["site"] for site in answer["sites"]], ["blog.example"])
        self.assertEqual(answer["version"], "1.2.3")

    def test_site_with_a_server(self) -> None:
        """A site's entry comes with its server's life."""
        status, answer = self.ask("GET", "/sites/alice.example")
        self.assertEqual(status, 200)
        self.assertEqual(answer["requests"], 12041)
        self.assertEqual(answer["life"], {"state": "ready", "uses": 2})

    def test_site_without_a_server(self) -> None:
        """A site that has no server has no life."""
        self.assertNotIn("life", self.ask("GET", "/sites/blog.example")[1])

    def test_other_spellings(self) -> None:
        """Upper case, a trailing dot, another name and percent-encoding find the site."""
        for host in ("ALICE.example.", "www.alice.example", "%61lice.example"):
            status, answer = self.ask("GET", f"/sites/{host}")
            self.assertEqual((status, answer["site"]), (200, "alice.example"))

    def test_unicode_name(self) -> None:
        """A name in its own script finds the site of the A-labels that the configuration makes."""
        self.front_door.sites.append({"site": "xn--bcher-kva.example"})
        self.front_door.sites.append({"site": "xn--strae-oqa.example"})
        for host in ("b%C3%BCcher.example", "B%C3%9CCHER.example.", "stra%C3%9Fe.example"):
            self.assertEqual(self.ask("GET", f"/sites/{host}")[0], 200, host)

    def test_unknown_site(self) -> None:
        """An unknown name is 404 and names the nearest."""
        status, answer = self.ask("GET", "/sites/alise.example")
        self.assertEqual(status, 404)
        self.assertEqual(answer["nearest"], "alice.example")
        self.assertEqual(answer["error"], "no site alise.example; did you mean alice.example?")

    def test_unknown_site_without_a_near_one(self) -> None:
        """A name that is near to none gets no guess."""
        status, answer = self.ask("GET", "/sites/qqqq")
        self.assertEqual(status, 404)
        self.assertEqual(answer, {"error": "no site qqqq; see them with: snickers status"})

    def test_unknown_path(self) -> None:
        """A path that is nothing is 404 and says what there is."""
        for path in ("/", "/nothing", "/sites", "/sites/alice.example/wake/up"):
            status, answer = self.ask("GET", path)
            self.assertEqual(status, 404)
            self.assertIn("/status", answer["error"])

    def test_path_that_is_not_utf8(self) -> None:
        """Bytes that are no text are refused in words."""
        self.assertEqual(self.ask("GET", "/sites/%ff")[0], 400)

    def test_wrong_method(self) -> None:
        """Looking at what must be done, and doing what can be looked at, is 405."""
        for method, path, right in (
            ("POST", "/status", "GET"),
            ("POST", "/plan", "GET"),
            ("GET", "/reload", "POST"),
            ("GET", "/sites/alice.example/wake", "POST"),
            ("POST", "/sites/alice.example/logs", "GET"),
            ("DELETE", "/sites/alice.example", "GET"),
        ):
            response = self.call(method, path).response()
            self.assertEqual((response.status, response.getheader("allow")), (405, right))
        self.assertEqual(self.lives.calls, [])
        self.assertEqual(self.front_door.reloads, [])

    def test_plan(self) -> None:
        """The plan is answered when it is made, with everything in JSON's types."""
        caller = self.call("GET", "/plan")
        self.assertEqual(caller.transport.value(), b"")
        options = {"idle after": [1800.0, float("inf")], "also": [(), ("www.x",)]}
        self.front_door.plans[0].callback({"changed": [{"site": "x", "options": options}]})
        self.assertEqual(
            json.loads(caller.body())["changed"][0]["options"],
            {"idle after": [1800.0, "never"], "also": [[], ["www.x"]]},
        )

    def test_reload(self) -> None:
        """A reload is answered with what it did."""
        caller = self.call("POST", "/reload")
        self.front_door.reloads[0].callback({"added": []})
        self.assertEqual(json.loads(caller.body()), {"added": []})

    def test_answered_when_fresh(self) -> None:
        """An answer waits until the others have told what they know, and has that in it."""
        self.front_door.stale = Deferred()
        caller = self.call("GET", "/status")
        self.assertEqual(caller.transport.value(), b"")
        self.front_door.sites = [{"site": "fresh.example"}]
        self.front_door.stale.callback(None)
        self.assertEqual(json.loads(caller.body())["sites"], [{"site": "fresh.example"}])

    def test_leaving_before_it_is_fresh(self) -> None:
        """Who has gone meanwhile is not answered, and what was asked is not done."""
        self.front_door.stale = Deferred()
        callers = [self.call("POST", "/reload"), self.call("POST", "/sites/alice.example/wake")]
        for caller in callers:
            caller.leave()
        self.front_door.stale.callback(None)
        self.assertEqual([caller.transport.value() for caller in callers], [b"", b""])
        self.assertEqual((self.front_door.reloads, self.lives.calls), ([], []))

    def test_freshening_that_fails(self) -> None:
        """Should asking the others fail, which it must not, that is said like any bug."""
        self.front_door.stale = fail(ZeroDivisionError())
        self.assertEqual(self.ask("GET", "/status")[0], 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_leaving_before_the_answer(self) -> None:
        """Who leaves while the reload goes on is not written to, and the reload goes on."""
        caller = self.call("POST", "/reload")
        caller.leave()
        self.front_door.reloads[0].callback({"added": []})
        self.assertEqual(caller.transport.value(), b"")

    def test_failure_in_words(self) -> None:
        """A reload that fails in words is a 500 with these words."""
        caller = self.call("POST", "/reload")
        self.front_door.reloads[0].errback(LifeFailed("the disk is full"))
        self.assertEqual(len(self.flushLoggedErrors(LifeFailed)), 1)
        response = caller.response()
        self.assertEqual(response.status, 500)
        self.assertEqual(json.loads(response.read()), {"error": "the disk is full"})

    def test_mistake_of_our_own(self) -> None:
        """A bug is a 500 that shows its kind alone; the log has the rest."""
        self.front_door.sites = None  # type: ignore[assignment]
        status, answer = self.ask("GET", "/sites/alice.example")
        self.assertEqual(status, 500)
        self.assertEqual(answer["error"], "Snickers itself failed (TypeError); its log says more")
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_two_requests_on_one_connection(self) -> None:
        """A connection is kept for more than one request."""
        caller = self.call("GET", "/status")
        first = len(caller.transport.value())
        caller.send("GET", "/status")
        self.assertEqual(len(caller.transport.value()), 2 * first)


COPY = Copy("alice.example", "c1", 1000.0, "asked for", 5)


class CopyTests(ApiCase):
    """Copies of a site's own folder."""

    def test_listed(self) -> None:
        """The copies there are."""
        caller = self.call("GET", "/sites/www.alice.example/snapshots")
        self.assertEqual(self.snapshots.calls[0].asked, ("snapshots", "alice.example"))
        self.snapshots.calls[0].result.callback([COPY])
        self.assertEqual(
            json.loads(caller.body())["copies"],
            [
                {
                    "site": "alice.example",
                    "id": "c1",
                    "time": 1000.0,
                    "why": "asked for",
                    "size": 5,
                }
            ],
        )

    def test_not_listed(self) -> None:
        """Why they cannot be listed is said in words, and is no mistake of Snickers."""
        caller = self.call("GET", "/sites/alice.example/snapshots")
        self.snapshots.calls[0].result.errback(CopyFailed("no restic"))
        self.assertEqual(json.loads(caller.body()), {"site": "alice.example", "error": "no restic"})

    def test_acting(self) -> None:
        """What is asked, of which copy; progress; and which copy it was."""
        for target, asked in (
            ("snapshot", ("snapshot", "alice.example")),
            ("restore?id=c1", ("restore", "alice.example", "c1")),
            ("prove", ("prove", "alice.example", "latest")),
            ("verify", ("verify", "alice.example")),
        ):
            caller = self.call("POST", f"/sites/alice.example/{target}")
            call = self.snapshots.calls[-1]
            self.assertEqual(call.asked, asked)
            call.tell("copying")
            call.result.callback(None if target == "verify" else COPY)
            first, last = caller.lines()
            self.assertEqual(first, {"progress": "copying"})
            self.assertEqual(last["done"], True)
            self.assertEqual(last.get("id"), None if target == "verify" else "c1")

    def test_failing(self) -> None:
        """A failure in words is the last line."""
        caller = self.call("POST", "/sites/alice.example/restore?id=x")
        self.snapshots.calls[0].result.errback(CopyFailed("There is no copy x."))
        self.assertEqual(caller.lines(), [{"error": "There is no copy x."}])

    def test_no_server(self) -> None:
        """Only sites with a server of their own have copies."""
        self.assertEqual(self.ask("GET", "/sites/blog.example/snapshots")[0], 409)
        self.assertEqual(self.ask("POST", "/sites/blog.example/snapshot")[0], 409)
        self.assertEqual(self.ask("GET", "/sites/alice.example/snapshot")[0], 405)


class CertificateTests(ApiCase):
    """Sites' certificates."""

    BODY = json.dumps({"certificate": ["c", "C"], "key": ["k", "K"], "chain": ["CHAIN", ""]})

    def test_listed(self) -> None:
        """What is known of them, of all sites or of one by any of its names."""
        self.assertEqual(
            self.ask("GET", "/certificates"), (200, {"certificates": self.certifying.rows})
        )
        answer = self.ask("GET", "/certificates?site=www.alice.example")
        self.assertEqual(answer, (200, {"certificates": [{"site": "alice.example"}]}))
        self.assertEqual(self.ask("GET", "/certificates?site=alise.example")[0], 404)
        self.assertEqual(self.ask("POST", "/certificates")[0], 405)

    def test_none(self) -> None:
        """A site that has none here says why."""
        status, answer = self.ask("GET", "/certificates?site=broken.example")
        self.assertEqual(status, 409)
        self.assertIn("passthrough", answer["error"])

    def test_renew(self) -> None:
        """A new one is asked for with progress; who leaves does not undo it."""
        caller = self.call("POST", "/sites/www.alice.example/renew")
        (call,) = self.certifying.calls
        self.assertEqual(call.asked, ("renew", "alice.example"))
        call.tell("ordering")
        call.result.errback(CertifyingFailed("the authority is away"))
        self.assertEqual(
            caller.lines(), [{"progress": "ordering"}, {"error": "the authority is away"}]
        )
        self.assertEqual(self.ask("GET", "/sites/alice.example/renew")[0], 405)

    def test_take_in(self) -> None:
        """One from elsewhere is for the host that was named, in whatever spelling."""
        caller = self.call("PUT", "/sites/WWW.alice.example./certificate", self.BODY.encode())
        (call,) = self.certifying.calls
        submitted = Submitted(b"C", b"K", b"", ("c", "k", "CHAIN"))
        self.assertEqual(call.asked, ("take in", "alice.example", "www.alice.example", submitted))
        call.result.callback({"problems": ["no"]})
        self.assertEqual(json.loads(caller.body()), {"problems": ["no"]})

    def test_not_taken_in(self) -> None:
        """Why it cannot be stored is said in words, and is no mistake of Snickers."""
        caller = self.call("PUT", "/sites/alice.example/certificate", self.BODY.encode())
        self.certifying.calls[0].result.errback(CertifyingFailed("read-only"))
        self.assertEqual(json.loads(caller.body()), {"site": "alice.example", "error": "read-only"})

    def test_nothing_to_take_in(self) -> None:
        """What is no certificate of the form is refused, and what is too large."""
        for body in (
            b"",
            b"{",
            b"[]",
            b'{"certificate": ["c", "C"]}',
            self.BODY.replace('"K"', '"\u20ac"').encode(),
            self.BODY.replace('["k", "K"]', "5").encode(),
        ):
            self.assertEqual(self.ask("PUT", "/sites/alice.example/certificate", body)[0], 400)
        large = self.BODY.replace('"K"', '"' + "K" * 90_000 + '"').encode()
        self.assertEqual(self.ask("PUT", "/sites/alice.example/certificate", large)[0], 413)
        self.assertEqual(self.certifying.calls, [])


class ActingTests(ApiCase):
    """wake, sleep, restart."""

    def test_image(self) -> None:
        """An update may be to another image; nothing else has one."""
        for verb, asked in (("update", ("update", "alice.example", "lamp:8")), ("wake", None)):
            caller = self.call("POST", f"/sites/alice.example/{verb}?image=lamp%3A8")
            call = self.lives.calls[-1]
            self.assertEqual(call.asked, asked or ("wake", "alice.example"))
            call.result.callback(None)
            self.assertEqual(caller.lines(), [{"done": True}])
            caller.body()

    def test_progress_is_streamed(self) -> None:
        """Each step is a line as it happens, the last line says that it is done."""
        for verb, asked in (
            *((name, name) for name in ("wake", "sleep", "restart", "update")),
            ("rollback", "roll_back"),
        ):
            caller = self.call("POST", f"/sites/alice.example/{verb}")
            call = self.lives.calls[-1]
            self.assertEqual(call.asked, (asked, "alice.example"))
            self.assertEqual(caller.response().status, 200)
            self.assertEqual(caller.response().getheader("content-type"), "application/x-ndjson")
            call.tell("pulling")
            self.assertEqual(caller.lines(), [{"progress": "pulling"}])
            call.tell("checking")
            call.result.callback(None)
            self.assertEqual(
                caller.lines(),
                [{"progress": "pulling"}, {"progress": "checking"}, {"done": True}],
            )
            caller.body()

    def test_failure_in_words(self) -> None:
        """A failure in words is the last line."""
        caller = self.call("POST", "/sites/alice.example/wake")
        self.lives.calls[0].result.errback(LifeFailed("no such image"))
        self.assertEqual(caller.lines(), [{"error": "no such image"}])

    def test_mistake_of_our_own(self) -> None:
        """A bug is told by its kind alone, and logged."""
        self.lives.wake = lambda site, progress: fail(KeyError("secret"))  # type: ignore
        caller = self.call("POST", "/sites/alice.example/wake")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertNotIn(b"secret", caller.body())
        self.assertEqual(
            caller.lines(), [{"error": "Snickers itself failed (KeyError); its log says more"}]
        )

    def test_leaving_does_not_undo(self) -> None:
        """Who leaves stops nothing, and is told nothing more."""
        caller = self.call("POST", "/sites/alice.example/restart")
        caller.leave()
        seen = caller.transport.value()
        call = self.lives.calls[0]
        self.assertFalse(call.cancelled)
        call.tell("starting")
        call.result.callback(None)
        self.assertEqual(caller.transport.value(), seen)

    def test_failure_after_leaving(self) -> None:
        """What fails when nobody waits any more is in the log."""
        caller = self.call("POST", "/sites/alice.example/wake")
        caller.leave()
        self.lives.calls[0].result.errback(LifeFailed("no such image"))
        self.assertEqual(len(self.flushLoggedErrors(LifeFailed)), 1)

    def test_site_without_a_server(self) -> None:
        """A site of another type is 409, and its type is named."""
        status, answer = self.ask("POST", "/sites/blog.example/wake")
        self.assertEqual(status, 409)
        self.assertEqual(
            answer["error"],
            "blog.example has no server of its own (type static); wake is for sites of type "
            "container or process",
        )

    def test_site_whose_server_is_not_there(self) -> None:
        """A site at fault, or switched off, is 409 and says what to do."""
        self.lives.lives.clear()
        for host in ("broken.example", "alice.example"):
            status, answer = self.ask("POST", f"/sites/{host}/restart")
            self.assertEqual(status, 409)
            self.assertIn("put it right and reload", answer["error"])

    def test_unknown_site(self) -> None:
        """An unknown site is 404 before anything happens."""
        self.assertEqual(self.ask("POST", "/sites/alise.example/wake")[0], 404)
        self.assertEqual(self.lives.calls, [])


class StoppingTests(ApiCase):
    """The room closes while streams are open."""

    def test_never_started(self) -> None:
        """A service that was never started stops at once."""
        self.assertEqual(self.successResultOf(self.service.stopService()), None)

    def test_open_streams_end(self) -> None:
        """Those who wait are told; logs break off and are not followed any more."""
        waking = self.call("POST", "/sites/alice.example/wake")
        logs = self.call("GET", "/sites/alice.example/logs?follow=1")
        self.lives.calls[1].tell(b"one\n")
        self.service.factory.room.close()
        self.assertEqual(waking.lines(), [{"error": "Snickers itself is being stopped"}])
        self.assertFalse(self.lives.calls[0].cancelled)
        self.assertTrue(self.lives.calls[1].cancelled)
        self.assertTrue(logs.transport.disconnecting)
        self.lives.calls[0].result.callback(None)

    def test_connections_are_closed(self) -> None:
        """A connection that is kept for later is closed."""
        caller = self.call("GET", "/status")
        self.assertFalse(caller.transport.disconnecting)
        self.service.factory.hang_up()
        self.assertTrue(caller.transport.disconnecting)
