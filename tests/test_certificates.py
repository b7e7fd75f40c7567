"""Tests for snickers.tls.certificates."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from attrs import evolve
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from snickers.config.values import Redirect, Site
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.certificates import ICertificates
from snickers.tls import authority as authority_module
from snickers.tls import certificates as module
from snickers.tls.authority import Authority
from snickers.tls.certificates import CONTEXT_LIFE, LOOK_EVERY, Certificates
from snickers.tls.credentials import CertificateUnavailable
from snickers.tls.ordered import Ordered
from snickers.tls.table import RETRY_LOOKS
from tests.pairs import DAY, NOW, make_pair, put, put_ordered, shake_hands, shown


class FakeThreads:
    """Runs at once, or with ``held`` when told to."""

    def __init__(self):
        self.held = False
        self.queue = []
        self.jobs = 0
        self.running = False

    def start(self):
        self.running = True

    def stop(self):
        self.running = False

    def run(self, function):
        self.jobs += 1
        if not self.held:
            return maybeDeferred(function)
        done = Deferred()
        self.queue.append((done, function))
        return done

    def release(self):
        """Run what is held."""
        queue, self.queue = self.queue, []
        for done, function in queue:
            maybeDeferred(function).chainDeferred(done)


@implementer(IAlarm)
class FakeAlarm:
    """Writes down what it is told."""

    def __init__(self):
        self.told = []
        self.current = {}

    def raised(self, kind, site, message):
        self.told.append((site, message))
        self.current.setdefault(site, []).append(message)

    def cleared(self, kind, site):
        self.told.append((site, None))
        self.current.pop(site, None)


verifyObject(IAlarm, FakeAlarm())


def site(name, *also, source="files"):
    return Site(name, Redirect("https://elsewhere.example/"), also, source)


class Base(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.clock.advance(NOW)
        self.threads = FakeThreads()
        self.alarm = FakeAlarm()
        self.folder = self.mktemp()
        self.directory = os.path.join(self.folder, "files")
        os.makedirs(self.directory)
        self.ordered = os.path.join(self.folder, "ordered")
        self.authority = Authority(os.path.join(self.folder, "internal"))
        self.hardened = []
        self.store = self.make()

    def make(self, **options):
        store = Certificates(
            self.clock,
            self.threads,
            self.authority,
            self.directory,
            Ordered(self.ordered),
            self.hardened.append,
            self.alarm,
            self.clock.seconds,
            **options,
        )
        store.start()
        self.addCleanup(store.stop)
        return store

    def put(self, host, pair, **options):
        put(os.path.join(self.directory, host), pair, **options)

    def add(self, *sites):
        self.store.apply(sites, (), ())

    def get(self, name, server_name=None):
        """Return the context, which may take a thread."""
        found = self.store.context(name, (server_name or name).encode())
        return self.successResultOf(found) if isinstance(found, Deferred) else found

    def get_now(self, name, server_name=None):
        """Return the context, which must be there without a thread."""
        found = self.store.context(name, (server_name or name).encode())
        self.assertIsInstance(found, SSL.Context)
        return found

    def refusal(self, name, server_name=None):
        """Return the words of the failure."""
        found = self.store.context(name, (server_name or name).encode())
        return str(self.failureResultOf(found, CertificateUnavailable).value)

    def later(self, seconds):
        self.clock.advance(seconds)

    def look(self, times=1):
        for _ in range(times):
            self.clock.advance(LOOK_EVERY)


class HandshakeTests(Base):
    """What a handshake gets."""

    def test_interface(self):
        """It is what the reload and the control room expect."""
        verifyObject(ICertificates, self.store)

    def test_first_and_second(self):
        """The first handshake waits for the files, the second has its context at once."""
        pair = make_pair("a.example")
        self.put("a.example", pair)
        self.add(site("a.example"))
        first = self.store.context("a.example", b"a.example")
        self.assertIsInstance(first, Deferred)
        context = self.successResultOf(first)
        self.assertIs(self.get_now("a.example"), context)
        self.assertEqual(shown(context), [pair.certificate])
        self.assertEqual(self.hardened, [context])

    def test_once_for_all(self):
        """Several that wait for the same certificate wait for one load."""
        self.put("a.example", make_pair("a.example"))
        self.add(site("a.example"))
        self.threads.held = True
        waiting = [self.store.context("a.example", b"a.example") for _ in range(3)]
        self.assertEqual(self.threads.jobs, 1)
        for waiter in waiting:
            self.assertNoResult(waiter)
        self.threads.release()
        contexts = {self.successResultOf(waiter) for waiter in waiting}
        self.assertEqual(len(contexts), 1)

    def test_one_gives_up(self):
        """One that waits no more spoils nothing for the others."""
        self.put("a.example", make_pair("a.example"))
        self.add(site("a.example"))
        self.threads.held = True
        first = self.store.context("a.example", b"a.example")
        second = self.store.context("a.example", b"a.example")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.threads.release()
        self.successResultOf(second)

    def test_unknown_site(self):
        """A site that is not configured has no certificate, and nothing is looked for."""
        self.assertIn("no such site", self.refusal("a.example"))
        self.assertEqual(self.threads.jobs, 0)

    def test_internal_trusted(self):
        """A client that trusts the authority's ca.pem completes a handshake with the site."""
        self.authority = Authority(os.path.join(self.folder, "now"))
        clock = Clock()
        clock.advance(datetime.now(UTC).timestamp())
        self.clock = clock
        self.store = self.make()
        self.add(site("a.example", "www.a.example", source="internal"))
        client_context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        client_context.set_verify(SSL.VERIFY_PEER)
        context = self.get("a.example")
        client_context.load_verify_locations(self.authority.trust)
        client, _ = shake_hands(context, client_context)
        self.assertTrue(client.get_verified_chain())
        self.assertIs(self.get_now("a.example", "www.a.example"), context)

    def test_chain(self):
        """The chain is shown whether it is in cert.pem or in ca.pem; a root is not."""
        root = make_pair(common="root")
        middle = make_pair(common="middle", issuer=root)
        pair = make_pair("a.example", issuer=middle, common="leaf")
        self.put("a.example", pair, chain=middle.pem + root.pem)
        self.put("b.example", make_pair("b.example", issuer=middle, common="leaf"))
        with open(os.path.join(self.directory, "b.example", "ca.pem"), "wb") as file:
            file.write(middle.pem)
        self.add(site("a.example"), site("b.example"))
        for name in ("a.example", "b.example"):
            self.assertEqual(shown(self.get(name))[1:], [middle.certificate])

    def test_folder_of_another_name(self):
        """Another name's own folder is used for that name, else the site's."""
        own, other = make_pair("a.example", "w.a.example"), make_pair("b.example")
        self.put("a.example", own)
        self.put("b.example", other)
        self.add(site("a.example", "b.example", "w.a.example"))
        self.assertEqual(shown(self.get("a.example", "b.example")), [other.certificate])
        self.assertEqual(shown(self.get("a.example", "w.a.example")), [own.certificate])
        self.assertEqual(shown(self.get("a.example")), [own.certificate])

    def test_name_not_covered(self):
        """A name that the site's certificate is not for harms that name alone."""
        self.put("a.example", make_pair("a.example"))
        self.add(site("a.example", "b.example"))
        self.assertIn("not for b.example", self.refusal("a.example", "b.example"))
        self.get("a.example")
        [message] = self.alarm.current["a.example"]
        self.assertIn("b.example", message)

    def test_wildcard_site(self):
        """A wildcard's folder is spelled with a star or an underscore; any host shows it."""
        for spelling in ("*.x.example", "_.x.example"):
            name = spelling.replace("_", "*")
            pair = make_pair(name)
            self.put(spelling, pair)
            self.store = self.make()
            self.add(site(name))
            self.assertEqual(shown(self.get(name, "q.x.example")), [pair.certificate])
            self.assertIs(self.get_now(name, "r.x.example"), self.get_now(name))
            os.rename(
                os.path.join(self.directory, spelling),
                os.path.join(self.folder, name[1:] + spelling[0]),
            )

    def test_strange_names(self):
        """What clients ask for, however odd, shows the site's own and grows nothing."""
        self.put("a.example", make_pair("a.example"))
        self.add(site("a.example"))
        own = self.get("a.example")
        for name in (b"", b"x.example", b"../../etc", b"\xff\x00"):
            self.assertIs(self.store.context("a.example", name), own)
        self.assertEqual(list(self.store.states()), ["a.example"])

    def test_bounded(self):
        """Only the most recently used contexts are kept; the others are loaded again."""
        self.store = self.make(limit=2)
        for name in ("a.example", "b.example", "c.example"):
            self.put(name, make_pair(name))
            self.add(site(name))
        a, _ = self.get("a.example"), self.get("b.example")
        self.assertIs(self.get_now("a.example"), a)
        self.get("c.example")
        self.assertIs(self.get_now("a.example"), a)
        self.assertIsInstance(self.store.context("b.example", b""), Deferred)

    def test_stopped(self):
        """At the end who waits is refused, and nothing is begun any more."""
        self.put("a.example", make_pair("a.example"))
        self.add(site("a.example"))
        self.threads.held = True
        waiter = self.store.context("a.example", b"a.example")
        self.store.stop()
        self.failureResultOf(waiter, CertificateUnavailable)
        self.threads.release()
        self.refusal("a.example")
        self.assertFalse(self.threads.running)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ProveTests(Base):
    """Trying a certificate before anybody asks for it."""

    def test_proved(self):
        """A certificate that can be shown is proved, and not kept."""
        self.add(site("a.example"))
        self.put("a.example", make_pair("a.example"))
        self.assertIsNone(self.successResultOf(self.store.prove("a.example", "a.example")))
        self.assertIsInstance(self.store.context("a.example", b"a.example"), Deferred)

    def test_unproved(self):
        """One that cannot is told in words; so is one of nobody."""
        self.add(site("a.example"))
        for name in ("a.example", "b.example"):
            self.failureResultOf(self.store.prove("a.example", name), CertificateUnavailable)
        self.failureResultOf(self.store.prove("b.example", "b.example"), CertificateUnavailable)


class RefusedTests(Base):
    """What must not be shown."""

    def refused(self, *words):
        self.add(site("a.example"))
        refusal = self.refusal("a.example")
        for word in words:
            self.assertIn(word, refusal)
        self.assertEqual(self.alarm.current, {"a.example": [refusal]})

    def path(self, file):
        return os.path.join(self.directory, "a.example", file)

    def test_nothing(self):
        """No folder: the words say where it should be."""
        self.refused(os.path.join(self.directory, "a.example"), "cert.pem", "key.pem")

    def test_no_key(self):
        """No key: the words name the file."""
        self.put("a.example", make_pair("a.example"))
        os.unlink(self.path("key.pem"))
        self.refused(self.path("key.pem"), "no such file")

    def test_other_key(self):
        """A key of another certificate is refused."""
        self.put("a.example", make_pair("a.example"))
        with open(self.path("key.pem"), "wb") as file:
            file.write(make_pair("a.example").key_pem)
        self.refused("do not belong together")

    def test_expired(self):
        """A certificate that has expired is refused."""
        self.put("a.example", make_pair("a.example", begin=NOW - 90 * DAY, end=NOW - 1))
        self.refused("expired at")

    def test_not_yet_valid(self):
        """A certificate of the future is refused; the words name the clock."""
        self.put("a.example", make_pair("a.example", begin=NOW + 60))
        self.refused("not valid before", "clock")

    def test_other_name(self):
        """A certificate for another name is refused; the words say for which it is."""
        self.put("a.example", make_pair("b.example", "c.example"))
        self.refused("not for a.example", "b.example, c.example")

    def test_readable_key(self):
        """A key that others can read is refused; the words hold the command that mends it."""
        self.put("a.example", make_pair("a.example"), mode=0o644)
        self.refused(f"chmod 600 {self.path('key.pem')}")

    def test_not_pem(self):
        """What is not PEM is refused, the file named."""
        for file in ("cert.pem", "key.pem"):
            self.put("a.example", make_pair("a.example"))
            with open(self.path(file), "wb") as broken:
                broken.write(b"\x30\x82garbage")
            self.alarm.current.clear()
            self.store = self.make()
            self.refused(self.path(file), "BEGIN")

    def test_fifo(self):
        """What is no regular file is refused and not waited for."""
        os.makedirs(os.path.dirname(self.path("cert.pem")))
        os.mkfifo(self.path("cert.pem"))
        self.refused("not a regular file")

    def test_asked_once(self):
        """A refusal is remembered: handshakes do not make the disk busy."""
        self.refused()
        jobs = self.threads.jobs
        self.refusal("a.example")
        self.assertEqual(self.threads.jobs, jobs)

    def test_mended(self):
        """What is mended is in use after the next look, and the alarm is over."""
        self.refused()
        pair = make_pair("a.example")
        self.put("a.example", pair)
        self.look()
        self.assertEqual(self.alarm.current, {})
        self.assertEqual(shown(self.get("a.example")), [pair.certificate])

    def test_mended_by_chmod(self):
        """A key's new permissions are noticed."""
        self.put("a.example", make_pair("a.example"), mode=0o644)
        self.refused()
        os.chmod(self.path("key.pem"), 0o600)
        self.look()
        self.assertEqual(self.alarm.current, {})

    def test_mended_by_time(self):
        """What only time can mend is tried again."""
        self.put("a.example", make_pair("a.example", begin=NOW + 60))
        self.refused()
        self.look(RETRY_LOOKS + 6)
        self.assertEqual(self.alarm.current, {})
        self.get("a.example")

    def test_unexpected(self):
        """What should not go wrong at all is a refusal, a line in the log, and an alarm."""
        self.put("a.example", make_pair("a.example"))

        def harden(context):
            raise RuntimeError("no such cipher")

        self.hardened = type("Hardened", (), {"append": staticmethod(harden)})
        self.store = self.make()
        self.refused("no such cipher")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_nobody_waits_for_ever(self):
        """Should telling of it go wrong, who waits is refused all the same."""

        def raised(kind, site, message):
            raise RuntimeError("nobody listens")

        self.alarm.raised = raised
        self.add(site("a.example"))
        self.assertIn("cannot be loaded", self.refusal("a.example"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class LookTests(Base):
    """The periodic look."""

    def test_replaced(self):
        """A new certificate is in use after the next look; open connections keep theirs."""
        old, new = make_pair("a.example"), make_pair("a.example")
        self.put("a.example", old)
        self.add(site("a.example"))
        first = self.get("a.example")
        client, _ = shake_hands(first, SSL.Context(SSL.TLS_CLIENT_METHOD))
        self.put("a.example", new)
        self.assertIs(self.get_now("a.example"), first)
        self.look()
        self.assertEqual(shown(self.get_now("a.example")), [new.certificate])
        self.assertEqual(client.get_peer_certificate(as_cryptography=True), old.certificate)

    def test_unchanged(self):
        """What has not changed is not loaded again."""
        self.put("a.example", make_pair("a.example"))
        self.add(site("a.example"))
        context = self.get("a.example")
        self.look(30)
        self.assertIs(self.get_now("a.example"), context)
        self.assertEqual(len(self.hardened), 1)

    def test_bad_successor(self):
        """An unusable successor is told of once, and the old certificate stays in use."""
        self.put("a.example", make_pair("a.example"))
        self.add(site("a.example"))
        context = self.get("a.example")
        self.put("a.example", make_pair("b.example"))
        self.look(30)
        self.assertIs(self.get_now("a.example"), context)
        self.assertEqual(len(self.alarm.told), 1)
        self.assertIn("not for a.example", self.store.states()["a.example"]["fault"])
        new = make_pair("a.example")
        self.put("a.example", new)
        self.look()
        self.assertEqual(self.alarm.current, {})
        self.assertEqual(shown(self.get_now("a.example")), [new.certificate])

    def test_taken_away(self):
        """Files that are taken away are told of; what was loaded stays in use."""
        self.put("a.example", make_pair("a.example"))
        self.add(site("a.example"))
        context = self.get("a.example")
        os.rename(self.directory, f"{self.directory}-away")
        self.look()
        self.assertIs(self.get_now("a.example"), context)
        self.assertEqual(len(self.alarm.current["a.example"]), 1)

    def test_folder_appears(self):
        """A folder that another name gets later is found."""
        self.put("a.example", make_pair("a.example", "b.example"))
        self.add(site("a.example", "b.example"))
        self.get("a.example", "b.example")
        other = make_pair("b.example")
        self.put("b.example", other)
        self.look()
        self.assertEqual(shown(self.get_now("a.example", "b.example")), [other.certificate])

    def test_expiry(self):
        """Its owner hears 14 days before the end, at the end, and no more when it is replaced."""
        pair = make_pair("a.example", begin=NOW - DAY, end=NOW + 89 * DAY)
        self.put("a.example", pair)
        self.add(site("a.example"))
        self.get("a.example")
        self.later(75 * DAY - 2 * LOOK_EVERY)
        self.assertEqual(self.alarm.told, [])
        self.look(3)
        [message] = self.alarm.current["a.example"]
        self.assertIn("expires at", message)
        self.later(14 * DAY)
        [message] = self.alarm.current["a.example"]
        self.assertIn("expired at", message)
        self.assertEqual(shown(self.get_now("a.example")), [pair.certificate])
        self.look(20)
        self.assertEqual(len(self.alarm.told), 3)
        now = self.clock.seconds()
        self.put("a.example", make_pair("a.example", begin=now - DAY, end=now + 89 * DAY))
        self.look()
        self.assertEqual(self.alarm.current, {})

    def test_short_lives(self):
        """Of a certificate that lives for six days its owner hears at a fifth of that."""
        self.put("a.example", make_pair("a.example", begin=NOW, end=NOW + 6 * DAY))
        self.add(site("a.example"))
        self.get("a.example")
        self.later(4.7 * DAY)
        self.assertEqual(self.alarm.told, [])
        self.later(0.2 * DAY)
        self.assertEqual(len(self.alarm.told), 1)

    def test_internal_renewed(self):
        """An internal certificate is renewed in time, with nobody asking for it."""
        self.add(site("a.example", source="internal"))
        context = self.get("a.example")
        first = self.store.states()["a.example"]["not_after"]
        chain = shown(context)
        self.later(59 * DAY)
        self.assertEqual(shown(self.get_now("a.example")), chain)
        self.later(2 * DAY)
        self.assertGreater(self.store.states()["a.example"]["not_after"], first)
        self.assertNotEqual(shown(self.get_now("a.example")), chain)
        self.assertEqual(self.alarm.told, [])

    def test_internal_cannot_be_renewed(self):
        """On a full disk the old one stays in use, with an alarm, until there is room."""
        self.add(site("a.example", source="internal"))
        before = shown(self.get("a.example"))

        def full(path, data, mode):
            raise OSError(28, "No space left on device", path)

        original = authority_module.replace
        self.patch(authority_module, "replace", full)
        self.later(61 * DAY)
        self.look(30)
        self.assertEqual(shown(self.get_now("a.example")), before)
        [message] = self.alarm.current["a.example"]
        self.assertIn("No space left on device", message)
        self.assertEqual(len(self.alarm.told), 1)
        self.patch(authority_module, "replace", original)
        self.look(RETRY_LOOKS)
        self.assertEqual(self.alarm.current, {})
        self.assertNotEqual(shown(self.get_now("a.example")), before)

    def test_internal_made_by_another(self):
        """What another process renewed is taken over."""
        self.add(site("a.example", source="internal"))
        self.get("a.example")
        Authority(self.authority.folder).renew(("a.example",), NOW)
        other = self.authority.issue(("a.example",), NOW).credentials.chain
        self.look()
        self.assertEqual(shown(self.get_now("a.example")), list(other))

    def test_goes_on(self):
        """A look that goes wrong is logged, and there is a next one."""
        self.put("a.example", make_pair("a.example"))
        self.add(site("a.example"))
        self.get("a.example")
        self.patch(module, "changed", lambda watched: 1 / 0)
        self.look(2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_survey(self):
        """What is wrong with files is told before anybody asks for the site."""
        self.put("a.example", make_pair("a.example"))
        self.add(site("a.example"), site("b.example"), site("c.example", source="internal"))
        self.assertEqual(self.threads.jobs, 0)
        self.look()
        self.assertEqual(list(self.alarm.current), ["b.example"])
        states = self.store.states()
        self.assertEqual(list(states), ["a.example", "b.example"])
        self.assertEqual(
            (states["b.example"]["source"], states["b.example"]["not_after"]), ("files", 0)
        )
        self.assertIn("no such folder", states["b.example"]["fault"])
        self.assertIsInstance(self.store.context("a.example", b""), Deferred)

    def test_flat(self):
        """A thousand renewals later as much is held as after the first."""
        self.store = self.make(limit=3)
        for name in ("a.example", "b.example", "c.example", "d.example"):
            self.add(site(name, source="internal"))
            self.get(name)
        for _ in range(20):
            self.later(61 * DAY)
            self.store.apply((), (site("a.example", source="internal"),), ())
        self.assertEqual(len(self.store._recent), 3)
        self.assertEqual(self.store._loads, {})
        self.assertEqual(len(self.store._unseen), 0)
        self.assertEqual(sum(len(row.entries) for row in self.store._rows.values()), 4)


class OrderedTests(Base):
    """Certificates that an authority on the network has signed."""

    def order(self, *names, **options):
        pair = make_pair(*names)
        put_ordered(self.ordered, pair, names[0], **options)
        return pair

    def add_acme(self, *names):
        self.add(site(*names, source="acme"))

    def source(self, name="a.example"):
        return self.store.states()[name]["source"]

    def test_not_there_yet(self):
        """Until it is there the internal authority's is shown; no handshake waits for anybody."""
        self.add_acme("a.example")
        context = self.get("a.example")
        self.assertIs(self.get_now("a.example"), context)
        self.assertEqual(self.source(), "internal (acme: none yet)")
        self.assertEqual(self.alarm.told, [])

    def test_arrives(self):
        """When it is there it is in use as soon as that is told, or after the next look."""
        for arrive in (lambda: self.store.reread("a.example"), self.look):
            self.store = self.make()
            self.add_acme("a.example")
            self.get("a.example")
            pair = self.order("a.example")
            arrive()
            self.assertEqual(shown(self.get_now("a.example")), [pair.certificate])
            self.assertEqual(self.source(), "acme")
            os.unlink(os.path.join(self.ordered, "a.example.pem"))

    def test_reread(self):
        """A replaced one is in use at once; who has the old one keeps it, and nobody waits."""
        old = self.order("a.example")
        self.add_acme("a.example")
        client, _ = shake_hands(self.get("a.example"), SSL.Context(SSL.TLS_CLIENT_METHOD))
        new = self.order("a.example")
        self.threads.held = True
        self.store.reread("a.example")
        self.assertEqual(shown(self.get_now("a.example")), [old.certificate])
        self.threads.release()
        self.assertEqual(shown(self.get_now("a.example")), [new.certificate])
        self.assertEqual(client.get_peer_certificate(as_cryptography=True), old.certificate)

    def test_reread_while_loading(self):
        """What was being read when it was replaced is read again."""
        self.order("a.example")
        self.add_acme("a.example")
        self.threads.held = True
        waiter = self.store.context("a.example", b"a.example")
        [(done, read)] = self.threads.queue
        self.threads.queue.clear()
        before = read()
        new = self.order("a.example")
        self.store.reread("a.example")
        done.callback(before)
        self.assertNoResult(waiter)
        self.threads.release()
        self.assertEqual(shown(self.successResultOf(waiter)), [new.certificate])

    def test_reread_of_nobody(self):
        """A site that is not here, or is not in use here, is nothing to read."""
        self.store = self.make(survey=0)
        self.add_acme("a.example")
        for name in ("a.example", "b.example"):
            self.store.reread(name)
        self.assertEqual(self.threads.jobs, 0)
        self.store.stop()
        self.store.reread("a.example")

    def test_survey(self):
        """What is there is known before anybody asks for it, where that is looked for at all."""
        self.order("a.example")
        self.add_acme("a.example")
        self.look()
        self.assertEqual(self.source(), "acme")
        worker = self.make(survey=0)
        for _ in range(3):
            worker.apply((), (site("a.example", source="acme"),), ())
        worker.look()
        self.assertEqual((worker.states(), len(worker._unseen)), ({}, 0))

    def test_broken_successor(self):
        """One that cannot be used is told of once, and leaves the last good one in use."""
        self.order("a.example")
        self.add_acme("a.example")
        context = self.get("a.example")
        path = put_ordered(self.ordered, make_pair("a.example"), mode=0o644)
        self.store.reread("a.example")
        self.look(30)
        self.assertIs(self.get_now("a.example"), context)
        [message] = self.alarm.current["a.example"]
        self.assertIn(f"chmod 600 {path}", message)
        self.assertEqual((len(self.alarm.told), self.source()), (1, "acme"))
        os.chmod(path, 0o600)
        self.look()
        self.assertEqual(self.alarm.current, {})
        self.assertIsNot(self.get_now("a.example"), context)

    def test_taken_away(self):
        """One whose file is taken away stays in use, until it ends."""
        self.order("a.example")
        self.add_acme("a.example")
        before = shown(self.get("a.example"))
        os.unlink(os.path.join(self.ordered, "a.example.pem"))
        self.look(3)
        self.assertEqual(shown(self.get_now("a.example")), before)
        self.assertEqual(self.source(), "acme")
        self.later(89 * DAY)
        self.assertNotEqual(shown(self.get_now("a.example")), before)
        self.assertEqual(self.source(), "internal (acme: none yet)")

    def test_another_name(self):
        """A name that was added is shown the internal authority's until it has been ordered,
        while the others go on with theirs."""
        pair = self.order("a.example")
        self.add_acme("a.example")
        self.get("a.example")
        self.store.apply((), (site("a.example", "b.example", source="acme"),), ())
        self.assertEqual(shown(self.get_now("a.example")), [pair.certificate])
        stand_in = shown(self.get("a.example", "b.example"))
        self.assertNotEqual(stand_in, [pair.certificate])
        self.assertEqual(self.alarm.told, [])
        both = self.order("a.example", "b.example")
        self.store.reread("a.example")
        for name in ("a.example", "b.example"):
            self.assertEqual(shown(self.get_now("a.example", name)), [both.certificate])

    def test_source_changed(self):
        """A site that changes to ACME keeps what it has until the first one has come."""
        before = make_pair("a.example")
        self.put("a.example", before)
        self.add(site("a.example"))
        self.get("a.example")
        self.store.apply((), (site("a.example", source="acme"),), ())
        self.assertEqual(shown(self.get("a.example")), [before.certificate])
        self.assertEqual(self.source(), "files")
        pair = self.order("a.example")
        self.look()
        self.assertEqual(shown(self.get("a.example")), [pair.certificate])

    def test_not_renewed(self):
        """That it ends is told by who should renew it; when it has ended, the internal authority's
        is shown, and why is told here."""
        self.order("a.example")
        self.add_acme("a.example")
        before = shown(self.get("a.example"))
        self.later(88 * DAY)
        self.assertEqual(shown(self.get_now("a.example")), before)
        self.assertEqual(self.alarm.told, [])
        self.later(DAY)
        self.assertNotEqual(shown(self.get_now("a.example")), before)
        self.assertEqual(self.source(), "internal (acme: expired)")
        [message] = self.alarm.current["a.example"]
        self.assertIn("expired at", message)
        self.assertIn("snickers certs", message)


class ResumptionTests(Base):
    """Sessions live as long as their context: see `CONTEXT_LIFE`."""

    def setUp(self):
        super().setUp()
        self.pair = make_pair("a.example")
        self.put("a.example", self.pair)
        self.add(site("a.example"))
        self.context = self.get("a.example")

    def test_same_again(self):
        """Files that were touched, or written again with the same in them, change nothing."""
        os.utime(os.path.join(self.directory, "a.example", "cert.pem"))
        self.look()
        self.put("a.example", self.pair)
        self.look()
        self.store.reread("a.example")
        self.successResultOf(self.store.renew("a.example"))
        self.assertEqual(len(self.hardened), 5)
        self.assertIs(self.get_now("a.example"), self.context)

    def test_reload(self):
        """So does a reload, whatever else it changes of the site."""
        self.store.apply((), (site("a.example", "b.example"),), ())
        self.store.directory = os.path.join(self.folder, "files", ".")
        self.assertIs(self.get("a.example"), self.context)

    def test_aged(self):
        """A context is replaced in time, with the keys of its tickets, though nothing changed."""
        self.later(CONTEXT_LIFE - LOOK_EVERY)
        self.assertIs(self.get_now("a.example"), self.context)
        self.look()
        second = self.get_now("a.example")
        self.assertIsNot(second, self.context)
        self.assertEqual(shown(second), [self.pair.certificate])
        self.later(CONTEXT_LIFE - LOOK_EVERY)
        self.assertIs(self.get_now("a.example"), second)
        self.look()
        self.assertIsNot(self.get_now("a.example"), second)

    def test_aged_unused(self):
        """What nobody uses is not made again."""
        self.store.stop()
        self.store = self.make(limit=1)
        self.put("b.example", make_pair("b.example"))
        self.add(site("a.example"), site("b.example"))
        self.get("a.example")
        self.get("b.example")
        made = len(self.hardened)
        self.later(CONTEXT_LIFE)
        self.assertEqual(len(self.hardened), made + 1)

    def test_aged_at_fault(self):
        """What cannot be made again goes on until it can."""
        os.rename(self.directory, f"{self.directory}-away")
        self.later(CONTEXT_LIFE)
        self.assertIs(self.get_now("a.example"), self.context)
        os.rename(f"{self.directory}-away", self.directory)
        self.look()
        self.assertIsNot(self.get_now("a.example"), self.context)


class ApplyTests(Base):
    """A new configuration."""

    def test_reads_nothing(self):
        """Taking it is a matter of memory alone."""
        self.threads.held = True
        for index in range(50):
            self.add(site(f"s{index}.example"))
        self.store.apply((), (site("s1.example", "b.example"),), (site("s2.example"),))
        self.assertEqual(self.threads.jobs, 0)

    def test_other_change(self):
        """A change of something else leaves the context alone."""
        self.put("a.example", make_pair("a.example"))
        before = site("a.example")
        self.add(before)
        context = self.get("a.example")
        self.store.apply((), (evolve(before, kind=Redirect("https://b.example/")),), ())
        self.assertIs(self.get_now("a.example"), context)

    def test_names_changed(self):
        """An internal site's new name is in the certificate from the next handshake on."""
        self.add(site("a.example", source="internal"))
        self.get("a.example")
        self.store.apply((), (site("a.example", "b.example", source="internal"),), ())
        self.get("a.example", "b.example")
        self.assertEqual(self.store.states()["a.example"]["names"], ["a.example", "b.example"])

    def test_names_of_files_changed(self):
        """Another name for a site with files leaves the context of the first alone."""
        self.put("a.example", make_pair("a.example"))
        self.add(site("a.example", "b.example"))
        context = self.get("a.example")
        self.refusal("a.example", "b.example")
        self.store.apply((), (site("a.example", "c.example"),), ())
        self.assertIs(self.get_now("a.example"), context)
        self.assertEqual(self.alarm.current, {})

    def test_source_changed(self):
        """Another source is used from the next handshake on."""
        pair = make_pair("a.example")
        self.put("a.example", pair)
        self.add(site("a.example", source="internal"))
        self.get("a.example")
        self.store.apply((), (site("a.example"),), ())
        self.assertEqual(shown(self.get("a.example")), [pair.certificate])

    def test_source_changed_to_nothing(self):
        """While the other source has nothing the old certificate stays in use."""
        self.add(site("a.example", source="internal"))
        context = self.get("a.example")
        self.store.apply((), (site("a.example"),), ())
        self.assertIs(self.get("a.example"), context)
        self.assertEqual(len(self.alarm.current["a.example"]), 1)

    def test_source_at_fault_changed(self):
        """What was wrong with the former source is over at once, without a visitor."""
        self.add(site("a.example"))
        self.refusal("a.example")
        self.assertEqual(len(self.alarm.current["a.example"]), 1)
        self.store.apply((), (site("a.example", source="internal"),), ())
        self.assertEqual(self.alarm.current, {})
        self.assertEqual(self.store.states(), {})
        self.look()
        self.assertEqual(self.store.states()["a.example"]["source"], "internal")

    def test_changed_while_loading(self):
        """Who waits while the site changes gets what the new configuration says."""
        pair = make_pair("a.example")
        self.put("a.example", pair)
        self.add(site("a.example", source="internal"))
        self.threads.held = True
        waiter = self.store.context("a.example", b"a.example")
        self.store.apply((), (site("a.example"),), ())
        self.threads.release()
        self.threads.release()
        self.assertEqual(shown(self.successResultOf(waiter)), [pair.certificate])

    def test_removed(self):
        """A removed site has no certificate, no alarm and no state any more."""
        self.put("a.example", make_pair("a.example"))
        self.add(site("a.example"), site("b.example"))
        self.get("a.example")
        self.refusal("b.example")
        self.store.apply((), (), (site("a.example"), site("b.example")))
        self.assertIn("no such site", self.refusal("a.example"))
        self.assertEqual(self.alarm.current, {})
        self.assertEqual(self.store.states(), {})
        self.assertEqual(len(self.store._recent), 0)

    def test_removed_while_loading(self):
        """Who waits while the site is removed is refused; nothing of it is kept."""
        self.put("a.example", make_pair("a.example"))
        self.add(site("a.example"))
        self.threads.held = True
        waiter = self.store.context("a.example", b"a.example")
        self.store.apply((), (), (site("a.example"),))
        self.threads.release()
        self.failureResultOf(waiter, CertificateUnavailable)
        self.assertEqual(len(self.store._recent), 0)

    def test_directory(self):
        """Another certificate directory is read before the next use."""
        self.put("a.example", make_pair("a.example"))
        self.add(site("a.example"))
        self.get("a.example")
        self.directory = self.store.directory = os.path.join(self.folder, "others")
        pair = make_pair("a.example")
        self.put("a.example", pair)
        self.assertEqual(shown(self.get("a.example")), [pair.certificate])


class ControlTests(Base):
    """What the control room sees and asks for."""

    def test_states(self):
        """Of each site that was loaded: the source, the end, the names, what is wrong."""
        self.put("a.example", make_pair("a.example", "*.a.example"))
        self.add(site("a.example"), site("b.example"))
        self.get("a.example")
        self.assertEqual(
            self.store.states(),
            {
                "a.example": {
                    "source": "files",
                    "issuer": "test",
                    "not_after": NOW + 89 * DAY,
                    "names": ["a.example", "*.a.example"],
                    "next": None,
                    "fault": "",
                }
            },
        )

    def test_next(self):
        """When it is renewed is known of what is renewed here."""
        self.add(site("a.example", source="internal"), site("b.example", source="acme"))
        self.get("a.example")
        self.get("b.example")
        states = self.store.states()
        self.assertLess(states["a.example"]["next"], states["a.example"]["not_after"])
        self.assertIsNone(states["b.example"]["next"])

    def test_first_end(self):
        """Of a site with several certificates it is the one that ends first."""
        self.put("a.example", make_pair("a.example"))
        self.put("b.example", make_pair("b.example", end=NOW + 30 * DAY))
        self.add(site("a.example", "b.example"))
        self.get("a.example")
        self.get("a.example", "b.example")
        self.assertEqual(self.store.states()["a.example"]["names"], ["b.example"])

    def test_renew(self):
        """An internal certificate is made anew when asked to, however fresh it is."""
        self.add(site("a.example", source="internal"))
        before = shown(self.get("a.example"))
        self.successResultOf(self.store.renew("a.example"))
        self.assertNotEqual(shown(self.get_now("a.example")), before)

    def test_renew_files(self):
        """Of files the present content is in use when it fires."""
        self.put("a.example", make_pair("a.example"))
        self.add(site("a.example"))
        self.get("a.example")
        pair = make_pair("a.example")
        self.put("a.example", pair)
        self.successResultOf(self.store.renew("a.example"))
        self.assertEqual(shown(self.get_now("a.example")), [pair.certificate])

    def test_renew_fails(self):
        """What cannot be done is said in words."""
        self.add(site("a.example"))
        failure = self.failureResultOf(self.store.renew("a.example"), CertificateUnavailable)
        self.assertIn("no such folder", str(failure.value))
        self.failureResultOf(self.store.renew("b.example"), CertificateUnavailable)
