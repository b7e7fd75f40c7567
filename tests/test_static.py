"""Tests for `snickers.http.static`."""

from __future__ import annotations

import os
from email import message_from_bytes

from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from snickers.config.values import Static
from snickers.http import files
from snickers.http.connections import RESERVE, Connections
from snickers.http.filecache import FileCache
from snickers.http.files import WHOLE
from snickers.http.openfile import PIECE
from snickers.http.static import StaticHandler
from snickers.interfaces.exchange import IHandler, IResponder
from tests.descriptors import open_descriptors
from tests.exchange_fake import RecordingExchange
from tests.proxy_case import RecordingAlarm
from tests.threads_fake import FakeThreads

LONG_AGO = 784111777
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


class FakeClock:
    """A coarse clock that stands still."""

    now = 100.0


class StaticTests(TestCase):
    """`StaticHandler`."""

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        os.mkdir(self.root)
        self.threads = FakeThreads()
        self.clock = FakeClock()
        self.cache = FileCache()
        self.open = open_descriptors()

    def tearDown(self) -> None:
        self.threads.run_all()
        self.assertEqual(open_descriptors() - self.open, set(), "a descriptor was left open")

    def handler(self, **options: object) -> StaticHandler:
        static = Static(self.root, **options)
        return StaticHandler(static, self.threads.defer, self.clock, self.cache)

    def write(self, path: str, data: bytes, modified: int = LONG_AGO) -> bytes:
        """Write a file whose times are in the past; return its data."""
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(data)
        os.utime(full, (modified, modified))
        return data

    def test_no_descriptors_left(self) -> None:
        """A large file is not sent where its descriptor would be one too many; small ones are."""
        self.write("a.txt", b"x" * (3 * PIECE))
        self.write("small.txt", b"small")
        connections = Connections(lambda: 1, lambda: RESERVE + 2)
        handler = StaticHandler(
            Static(self.root), self.threads.defer, self.clock, self.cache, connections=connections
        )
        first = self.begin(handler, window=1)
        self.threads.run_all()
        self.assertEqual((first.status, connections.open), (200, 1))
        self.assertEqual(self.ask(handler, b"//a.txt").status, 503)
        self.assertEqual(self.ask(handler, b"/small.txt").status, 200)
        first.lose()
        self.assertEqual(connections.open, 0)
        self.assertEqual(self.ask(handler).status, 200)

    def begin(
        self,
        handler: StaticHandler,
        target: bytes = b"/a.txt",
        method: bytes = b"GET",
        window: int | None = None,
        **fields: bytes,
    ) -> RecordingExchange:
        """Ask, and let no thread run."""
        sent = [(name.replace("_", "-").encode(), value) for name, value in fields.items()]
        exchange = RecordingExchange(method, target, sent, window)
        handler.handle(exchange)
        return exchange

    def ask(self, handler: StaticHandler, *args: object, **fields: object) -> RecordingExchange:
        """Ask, and let the threads do their work."""
        exchange = self.begin(handler, *args, **fields)
        self.threads.run_all()
        self.assertTrue(exchange.ended)
        return exchange

    def settle(self) -> None:
        """Have the handlers believe that what was just written was written long ago."""
        self.patch(files, "SETTLED", -(10**18))

    # The folder itself

    def test_folder_is_away(self) -> None:
        """Visitors of a folder that is not there raise an alarm, once, until it is there."""
        alarm = RecordingAlarm()
        raised: list[str] = []
        self.patch(
            RecordingAlarm,
            "raised",
            lambda alarm, *what: (raised.append(what[2]), alarm.now.append(what)),
        )
        static = Static(self.root)
        handler = StaticHandler(
            static, self.threads.defer, self.clock, self.cache, "a.example", alarm
        )
        self.ask(handler)
        self.assertEqual(alarm.now, [])
        os.rmdir(self.root)
        for _ in range(2):
            self.assertEqual(self.ask(handler).status, 503)
        ((kind, site, message),) = alarm.now
        self.assertEqual((kind, site, raised), ("folder", "a.example", [message]))
        self.assertIn(f"root = {self.root} cannot be opened: No such file", message)
        os.mkdir(self.root)
        self.assertEqual(self.ask(handler).status, 404)
        self.assertEqual(alarm.now, [])
        os.rmdir(self.root)
        exchange = self.begin(handler, b"/b")
        self.ask(handler)
        self.assertEqual(len(alarm.now), 1)
        self.assertTrue(exchange.ended)
        late = self.begin(handler)
        handler.close()
        self.assertEqual(alarm.now, [])
        self.threads.run_all()
        self.assertEqual((late.status, alarm.now), (503, []))

    # Methods and paths

    def test_interface(self) -> None:
        """It is a handler; what waits for a thread is a responder."""
        handler = self.handler()
        verifyObject(IHandler, handler)
        verifyObject(IResponder, self.begin(handler).responder)
        handler.close()
        handler.close()

    def test_file(self) -> None:
        """A file comes with its type, date and tag."""
        self.write("a.txt", b"hello")
        exchange = self.ask(self.handler())
        self.assertEqual(
            (exchange.status, exchange.data, exchange.ended), (200, b"hello", "finish")
        )
        self.assertEqual(exchange.length, 5)
        self.assertEqual(exchange.get(b"content-type"), b"text/plain; charset=utf-8")
        self.assertEqual(exchange.get(b"last-modified"), DATE)
        self.assertIsNone(exchange.get(b"vary"))

    def test_query_is_ignored(self) -> None:
        """The query chooses no other file, and no other place in memory."""
        self.write("a.txt", b"hello")
        handler = self.handler()
        self.assertEqual(self.ask(handler, b"/a.txt?v=1").data, b"hello")
        self.assertEqual(self.begin(handler, b"/a.txt?v=2?/../").data, b"hello")

    def test_head(self) -> None:
        """HEAD announces what GET would send, small and large, and reads no large file."""
        self.write("a.txt", b"hello")
        self.write("big", b"x" * (WHOLE + 1))
        handler = self.handler()
        for target, length in ((b"/a.txt", 5), (b"/big", WHOLE + 1)):
            exchange = self.ask(handler, target, b"HEAD", range=b"bytes=0-1")
            self.assertEqual((exchange.status, exchange.length), (200, length))
        self.assertNotIn("read", self.threads.ran)

    def test_other_methods(self) -> None:
        """OPTIONS says what can be done, everything else is refused, also for what is not there."""
        handler = self.handler()
        for target in (b"/a.txt", b"*"):
            exchange = self.begin(handler, target, b"OPTIONS")
            self.assertEqual((exchange.status, exchange.length), (204, None))
            self.assertEqual(exchange.get(b"allow"), b"GET, HEAD, OPTIONS")
        for method in (b"POST", b"PUT", b"DELETE", b"TRACE", b"get", b"PROPFIND"):
            exchange = self.begin(handler, b"/", method, accept=b"text/html")
            self.assertEqual((exchange.status, exchange.ended), (405, "finish"))
            self.assertEqual(exchange.get(b"allow"), b"GET, HEAD, OPTIONS")

    def test_refused_paths(self) -> None:
        """A path that cannot be a file's is refused without a look at the disk."""
        handler = self.handler(fallback="index.html")
        for target, status in [
            (b"/%zz", 400),
            (b"*", 400),
            (b"/../etc/passwd", 404),
            (b"/a%2fb", 404),
            (b"/.git/config", 404),
        ]:
            self.assertEqual(self.begin(handler, target).status, status, target)
        self.assertEqual(self.threads.waiting, [])

    def test_missing(self) -> None:
        """What is not there is 404, in the form the client reads."""
        exchange = self.ask(self.handler(), b"/none", accept=b"application/json")
        self.assertEqual(exchange.status, 404)
        self.assertEqual(exchange.get(b"content-type"), b"application/json")

    def test_folder_without_slash(self) -> None:
        """A folder's address gets its slash, and keeps its query."""
        self.write("dir/ü b/index.html", b"i")
        for target, location in [
            (b"/dir/%C3%BC%20b?x=1&y", b"/dir/%C3%BC%20b/?x=1&y"),
            (b"//dir/%C3%BC%20b", b"/dir/%C3%BC%20b/"),
            (b"///dir?", b"/dir/?"),
        ]:
            exchange = self.ask(self.handler(), target)
            self.assertEqual((exchange.status, exchange.get(b"location")), (301, location))

    def test_redirect_stays_here(self) -> None:
        """No path of a folder can make the redirect point to another host, or end the field."""
        for name in ("evil.example", "a:b", "@x", "javascript:alert(1)"):
            os.makedirs(os.path.join(self.root, name))
            for before in (b"/", b"//", b"///"):
                target = before + name.encode()
                location = self.ask(self.handler(), target).get(b"location")
                self.assertEqual(location, b"/" + name.encode() + b"/")
        location = self.ask(self.handler(), b"/@x?\r\nSet-Cookie: a").get(b"location")
        self.assertEqual(location, b"/@x/?%0D%0ASet-Cookie:%20a")

    def test_listing(self) -> None:
        """A folder without index is listed where that is wanted."""
        self.write("dir/<b>.txt", b"")
        exchange = self.ask(self.handler(listing=True), b"/dir/")
        self.assertEqual(exchange.status, 200)
        self.assertIn(b"./%3Cb%3E.txt", exchange.data)
        self.assertNotIn(b"<b>", exchange.data)
        self.assertEqual(self.ask(self.handler(), b"/dir/").status, 404)

    def test_fallback(self) -> None:
        """A single-page application answers for every address that is no file."""
        self.settle()
        self.write("app.html", b"app")
        handler = self.handler(fallback="app.html")
        for target in (b"/users/1", b"/users/2"):
            exchange = self.ask(handler, target)
            self.assertEqual((exchange.status, exchange.data), (200, b"app"))
            self.assertEqual(exchange.get(b"content-type"), b"text/html; charset=utf-8")
        kept = {slot.kept for slot in handler._slots.values()}
        self.assertEqual(len(kept), 1, "every address has a copy of its own")

    # Memory

    def test_from_memory(self) -> None:
        """Within a second a small file is served again without a thread."""
        self.write("a.txt", b"hello")
        handler = self.handler()
        first = self.ask(handler)
        self.clock.now += 0.9
        exchange = self.begin(handler)
        self.assertEqual((exchange.data, exchange.ended), (b"hello", "finish"))
        self.assertEqual(exchange.fields, first.fields)
        self.assertEqual(exchange.length, 5)

    def test_fields_stay_as_they_are(self) -> None:
        """The fields that answers share are not changed by any of them."""
        self.write("a.txt", b"hello")
        handler = self.handler()
        first = self.ask(handler)
        etag = first.get(b"etag")
        assert etag is not None
        self.begin(handler, range=b"bytes=0-1")
        self.begin(handler, range=b"bytes=0-1,3-3")
        self.begin(handler, if_none_match=etag)
        self.begin(handler, if_match=b'"x"')
        self.assertEqual(self.begin(handler).fields, first.fields)

    def test_looked_at_again(self) -> None:
        """After a second the file is looked at: kept as it is if it did not change."""
        self.settle()
        self.write("a.txt", b"one")
        handler = self.handler()
        self.ask(handler)
        self.clock.now += 1
        exchange = self.begin(handler)
        self.assertEqual(exchange.ended, "")
        self.threads.run_all()
        self.assertEqual(exchange.data, b"one")
        self.assertEqual(self.begin(handler).data, b"one")
        self.clock.now += 1
        self.write("a.txt", b"two")
        self.assertEqual(self.ask(handler).data, b"two")
        self.assertEqual(self.begin(handler).data, b"two")
        self.clock.now += 1
        os.unlink(os.path.join(self.root, "a.txt"))
        self.assertEqual(self.ask(handler).status, 404)
        self.assertEqual(self.cache.size, 0)

    def test_age_counts_from_the_look(self) -> None:
        """A look that took long is as old as its beginning."""
        self.write("a.txt", b"one")
        handler = self.handler()
        self.begin(handler)
        self.clock.now += 1.5
        self.threads.run_all()
        self.assertEqual(self.begin(handler).ended, "")

    def test_one_look_for_many(self) -> None:
        """Who asks for the same while it is looked for shares the look; gone ones are left out."""
        self.write("a.txt", b"one")
        handler = self.handler()
        exchanges = [self.begin(handler) for _ in range(3)]
        exchanges.append(self.begin(handler, method=b"HEAD"))
        exchanges[1].lose()
        self.assertEqual(len(self.threads.waiting), 1)
        self.threads.run_all()
        self.assertEqual(
            [exchange.ended for exchange in exchanges], ["finish", "gone", "finish", "finish"]
        )

    def test_evicted_while_looked_at(self) -> None:
        """What leaves memory during its look is served all the same, and counted right."""
        self.settle()
        self.write("a.txt", b"one")
        handler = self.handler()
        self.ask(handler)
        self.clock.now += 1
        exchange = self.begin(handler)
        handler._shelf.clear()
        self.threads.run_all()
        self.assertEqual((exchange.data, self.cache.size), (b"one", 0))

    def test_closed(self) -> None:
        """A closed handler lets its memory go, and finishes what it has begun."""
        self.write("a.txt", b"one")
        handler = self.handler()
        self.ask(handler)
        self.clock.now += 1
        exchange = self.begin(handler)
        handler.close()
        self.assertEqual(self.cache.size, 0)
        self.threads.run_all()
        self.assertEqual((exchange.data, self.cache.size), (b"one", 0))

    def test_look_that_fails(self) -> None:
        """A look that breaks in a way nobody thought of is a 500 for all who wait, and logged."""
        handler = self.handler()
        exchanges = [self.begin(handler) for _ in range(3)]
        exchanges[0].lose()
        deferred, _, args = self.threads.waiting.pop()

        def broken(*args: object) -> None:
            raise RuntimeError("no more threads")

        self.threads.waiting.append((deferred, broken, args))
        self.threads.run_all()
        self.assertEqual([exchange.status for exchange in exchanges], [None, 500, 500])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.write("a.txt", b"one")
        self.assertEqual(self.ask(handler).data, b"one")

    # Conditions and ranges

    def both(self, **fields: bytes) -> RecordingExchange:
        """Ask for a small and a large file of the same kind; return the large one's answer."""
        data = bytes(range(256)) * (WHOLE // 256 + 1)
        small = self.write("small.txt", data[:1000])
        large = self.write("large.txt", data)
        self.settle()
        handler = self.handler()
        answers = []
        for target, content in ((b"/small.txt", small), (b"/large.txt", large)):
            first = self.ask(handler, target)
            sent = {
                name: (value(first, content) if callable(value) else value)
                for name, value in fields.items()
            }
            answer = self.ask(handler, target, **sent)
            answers.append(answer)
            if answer.status == 206 and not (answer.get(b"content-type") or b"").startswith(
                b"mult"
            ):
                _, _, rest = (answer.get(b"content-range") or b"").partition(b" ")
                span, _, size = rest.partition(b"/")
                start, _, last = span.partition(b"-")
                self.assertEqual(answer.data, content[int(start) : int(last) + 1])
                self.assertEqual(int(size), len(content))
        self.assertEqual(answers[0].status, answers[1].status)
        self.assertEqual(
            [name for name, _ in answers[0].fields], [name for name, _ in answers[1].fields]
        )
        return answers[1]

    def test_not_modified(self) -> None:
        """Who has the file gets no body, and no word about its length or type."""
        for fields in (
            {"if_none_match": lambda first, content: first.get(b"etag")},
            {"if_modified_since": DATE},
        ):
            exchange = self.both(**fields)
            self.assertEqual((exchange.status, exchange.length), (304, None))
            self.assertIsNotNone(exchange.get(b"etag"))
            self.assertIsNone(exchange.get(b"content-type"))

    def test_precondition_failed(self) -> None:
        """Who wants another state than there is gets 412."""
        self.assertEqual(self.both(if_match=b'"other"').status, 412)
        early = b"Sun, 06 Nov 1994 08:49:36 GMT"
        self.assertEqual(self.both(if_unmodified_since=early).status, 412)

    def test_single_range(self) -> None:
        """A part comes as it was asked for."""
        for value, length in [(b"bytes=0-0", 1), (b"bytes=10-19", 10), (b"bytes=-7", 7)]:
            exchange = self.both(range=value)
            self.assertEqual((exchange.status, exchange.length), (206, length))

    def test_range_of_the_whole(self) -> None:
        """A part may be all there is."""
        self.assertEqual(self.both(range=b"bytes=0-").status, 206)

    def test_several_ranges(self) -> None:
        """Several parts come in one multipart body, whose parts say what they are."""
        self.both(range=b"bytes=0-4,-3")
        for target, size in ((b"/small.txt", 1000), (b"/large.txt", WHOLE + 256)):
            exchange = self.ask(self.handler(), target, range=b"bytes=0-4,-3")
            self.assertEqual(exchange.status, 206)
            self.assertIsNone(exchange.get(b"content-range"))
            content_type = exchange.get(b"content-type") or b""
            message = message_from_bytes(
                b"Content-Type: %b\r\n\r\n%b" % (content_type, exchange.data)
            )
            parts = message.get_payload()
            self.assertEqual(
                [part["content-range"] for part in parts],
                [f"bytes 0-4/{size}", f"bytes {size - 3}-{size - 1}/{size}"],
            )
            self.assertEqual(parts[0]["content-type"], "text/plain; charset=utf-8")
            self.assertEqual(parts[0].get_payload(decode=True), bytes(range(5)))

    def test_unsatisfiable_range(self) -> None:
        """A part that is not there is 416, with the size there is."""
        exchange = self.both(range=b"bytes=999999-")
        self.assertEqual(exchange.status, 416)
        self.assertEqual(exchange.get(b"content-range"), b"bytes */%d" % (WHOLE + 256))

    def test_if_range(self) -> None:
        """A part of another state than the client's is not sent: the whole is."""
        same = self.both(range=b"bytes=0-4", if_range=lambda first, content: first.get(b"etag"))
        self.assertEqual(same.status, 206)
        self.assertEqual(self.both(range=b"bytes=0-4", if_range=b'"other"').status, 200)

    def test_conditions_on_first_look(self) -> None:
        """Conditions hold also for who comes first."""
        self.write("a.txt", b"hello")
        self.assertEqual(self.ask(self.handler(), if_modified_since=DATE).status, 304)
        self.assertEqual(self.ask(self.handler(), range=b"bytes=1-2").data, b"el")

    # Compressed forms

    def test_precompressed(self) -> None:
        """Each client gets the form it takes, with a tag of its own, from memory too."""
        self.write("a.css", b"plain")
        self.write("a.css.br", b"br")
        self.write("a.css.gz", b"gz")
        handler = self.handler(precompressed=True)
        tags = set()
        for accept, body, coding in [
            (b"gzip, br", b"br", b"br"),
            (b"gzip", b"gz", b"gzip"),
            (b"identity", b"plain", None),
            (b"br;q=0, *", b"gz", b"gzip"),
        ]:
            for exchange in (
                self.ask(handler, b"/a.css", accept_encoding=accept),
                self.begin(handler, b"/a.css", accept_encoding=accept),
            ):
                self.assertEqual(exchange.data, body)
                self.assertEqual(exchange.get(b"content-encoding"), coding)
                self.assertEqual(exchange.get(b"content-type"), b"text/css; charset=utf-8")
                self.assertEqual(exchange.get(b"vary"), b"Accept-Encoding")
                tags.add(exchange.get(b"etag"))
        self.assertEqual(len(tags), 3)
        self.assertEqual(self.ask(handler, b"/a.css").data, b"plain")

    def test_compressed_only_where_wanted(self) -> None:
        """Without the option the compressed forms are files like others."""
        self.write("a.css", b"plain")
        self.write("a.css.br", b"br")
        handler = self.handler()
        exchange = self.ask(handler, b"/a.css", accept_encoding=b"br")
        self.assertEqual((exchange.data, exchange.get(b"vary")), (b"plain", None))
        exchange = self.ask(handler, b"/a.css.br")
        self.assertEqual(exchange.get(b"content-encoding"), None)

    # Large files

    def test_large_file(self) -> None:
        """A large file arrives whole, at the pace of its client, and is closed."""
        content = self.write("big", os.urandom(WHOLE * 12 + 7))
        exchange = self.begin(self.handler(), b"/big", window=WHOLE)
        for _ in range(100):
            self.threads.run_all()
            if exchange.ended:
                break
            exchange.drain()
        self.assertEqual((exchange.data, exchange.ended), (content, "finish"))

    def test_large_file_for_many(self) -> None:
        """One open file serves all who asked while it was looked for."""
        content = self.write("big", os.urandom(WHOLE * 4))
        handler = self.handler()
        exchanges = [self.begin(handler, b"/big", window=1000) for _ in range(3)]
        self.threads.run()
        exchanges[0].lose()
        for _ in range(100):
            self.threads.run_all()
            for exchange in exchanges:
                exchange.drain()
        self.assertEqual([exchange.data for exchange in exchanges[1:]], [content] * 2)

    def test_gone_before_it_was_found(self) -> None:
        """A client that has gone leaves no descriptor behind."""
        self.write("big", b"x" * WHOLE * 4)
        exchange = self.begin(self.handler(), b"/big")
        exchange.lose()
        self.threads.run_all()
        self.assertIsNone(exchange.status)

    def test_paused_before_it_was_found(self) -> None:
        """A client that reads slowly before its answer begins is not sent more than one piece."""
        self.write("big", b"x" * WHOLE * 12)
        exchange = self.begin(self.handler(), b"/big")
        assert exchange.responder is not None
        exchange.responder.pause()
        self.threads.run_all()
        self.assertLessEqual(len(exchange.data), 2 * WHOLE)
        assert exchange.responder is not None
        exchange.responder.resume()
        self.threads.run_all()
        self.assertEqual(exchange.ended, "finish")

    def test_truncated_while_sent(self) -> None:
        """A large file that shrinks ends the answer by abort, never short."""
        self.write("big", b"x" * WHOLE * 12)
        exchange = self.begin(self.handler(), b"/big", window=WHOLE)
        self.threads.run_all()
        os.truncate(os.path.join(self.root, "big"), 10)
        exchange.drain()
        self.threads.run_all()
        self.assertEqual(exchange.ended, "abort")

    def test_replaced_while_sent(self) -> None:
        """A large file whose name is given to another one is sent to its end."""
        content = self.write("big", b"x" * WHOLE * 12)
        exchange = self.begin(self.handler(), b"/big", window=WHOLE)
        self.threads.run_all()
        self.write("new", b"y")
        os.rename(os.path.join(self.root, "new"), os.path.join(self.root, "big"))
        for _ in range(20):
            exchange.drain()
            self.threads.run_all()
        self.assertEqual((exchange.data, exchange.ended), (content, "finish"))
