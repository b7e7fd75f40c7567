"""The waking page in a real browser: it says how far the server is, and opens by itself."""

from __future__ import annotations

from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast

from twisted.trial.unittest import TestCase

from snickers.http.waking import LOOK, LOOK_FIELD, stage_answer, waking_page
from snickers.interfaces.leases import Stage
from tests.browser import MISSING, WITHIN, Browser, Tab
from tests.live_setup import ECHO, Snickers

PULLING = "pulling registry.inner/alpine:3: 1 of 3 layers, {} %"
OPENED = b"<!doctype html><title>The site</title><p>as it was asked for"


class Waking(ThreadingHTTPServer):
    """A site whose server is as far as the test says; it answers itself when that is awake."""

    stage = Stage("asleep")
    scripted = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: list[tuple[str, str]] = []
        self.looks = 0


class Answers(BaseHTTPRequestHandler):
    """Answers as a handler of a personal server would."""

    def do_GET(self) -> None:
        site = cast(Waking, self.server)
        stage = site.stage
        if self.path == LOOK.decode() and self.headers.get(LOOK_FIELD.decode()):
            site.looks += 1
            self.answer(200, *stage_answer(stage))
            return
        if self.path != "/favicon.ico":
            site.asked.append((self.command, self.path))
        if stage.phase == "awake":
            self.answer(200, [(b"Content-Type", b"text/html")], OPENED)
        else:
            self.answer(*waking_page(stage, self.path.encode(), site.scripted))

    def answer(self, status: int, fields: Any, body: bytes) -> None:
        self.send_response(status)
        for name, value in fields:
            self.send_header(name.decode(), value.decode())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class PageTests(TestCase):
    """The page, with a site in the test's hand."""

    skip = MISSING
    timeout = 4 * WITHIN

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.site = Waking()
        thread = Thread(target=self.site.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(thread.join, 20)
        self.addCleanup(self.site.server_close)
        self.addCleanup(self.site.shutdown)
        self.address = f"http://a.localhost:{self.site.server_port}/path?query=1#fragment"

    def visit(self) -> Tab:
        tab = Browser(self.folder / "home", None).tab(self)
        tab.visit(self.address)
        return tab

    def status(self, tab: Tab) -> str:
        return str(tab.evaluate("document.getElementById('stage').textContent"))

    def looked(self, tab: Tab, times: int = 2) -> None:
        """Wait until the page has looked so often again."""
        before = self.site.looks
        tab.until(lambda: self.site.looks >= before + times, "a look")

    def test_opens(self) -> None:
        """It says how far the server is as that goes on, asks for the address once more when the
        server is awake and not before, and nothing of the address is lost."""
        self.site.stage = Stage("starting", PULLING.format(45))
        tab = self.visit()
        tab.reads("Fetching what is needed")
        tab.reads("45\u202f%")
        tab.evaluate("window.same = true")
        self.site.stage = Stage("starting", PULLING.format(90))
        tab.reads("90\u202f%")
        self.assertEqual(tab.evaluate("document.querySelector('progress').value"), 90)
        self.site.stage = Stage("checking")
        tab.reads("Checking that it answers")
        self.assertNotIn("%", tab.text())
        self.assertIs(tab.evaluate("window.same"), True)
        self.assertEqual(self.site.asked, [("GET", "/path?query=1")])
        self.site.stage = Stage("awake")
        tab.reads("as it was asked for")
        self.assertEqual(tab.evaluate("location.href"), self.address)
        self.assertEqual(self.site.asked, [("GET", "/path?query=1")] * 2)
        self.assertEqual(tab.evaluate("history.length"), 2)

    def test_without_scripts(self) -> None:
        """Without scripts the browser loads it again, path and query as they were, until it is
        the site. The fragment, which no server knows, is lost then, and must not be in the way."""
        self.site.stage = Stage("checking")
        tab = Browser(self.folder / "home", None).tab(self)
        tab.call("Emulation.setScriptExecutionDisabled", value=True)
        tab.visit(self.address)
        tab.reads("Checking that it answers")
        self.site.stage = Stage("starting")
        tab.reads("Starting")
        self.site.stage = Stage("awake")
        tab.reads("as it was asked for")
        self.assertEqual(tab.evaluate("location.href"), self.address.partition("#")[0])
        self.assertEqual(self.site.looks, 0)
        self.assertEqual(set(self.site.asked), {("GET", "/path?query=1")})

    def test_unscripted(self) -> None:
        """The page without a script, for sites with a policy of their own, opens by itself too."""
        self.site.stage, self.site.scripted = Stage("checking"), False
        tab = self.visit()
        tab.reads("Checking that it answers")
        self.site.stage = Stage("awake")
        tab.reads("as it was asked for")
        self.assertEqual(set(self.site.asked), {("GET", "/path?query=1")})

    def test_put_to_sleep(self) -> None:
        """When somebody puts the server to sleep meanwhile, the page says so and does not wake it
        again; when somebody wakes it, the page opens."""
        self.site.stage = Stage("checking")
        tab = self.visit()
        self.looked(tab)
        self.site.stage = Stage("stopping")
        tab.reads("Finishing what went before")
        self.site.stage = Stage("asleep")
        tab.reads("It was put to sleep")
        self.looked(tab)
        self.assertEqual(len(self.site.asked), 1)
        self.site.stage = Stage("awake")
        tab.reads("as it was asked for")

    def test_went_to_sleep_before(self) -> None:
        """Who comes while it goes to sleep wakes it: that was before the visit, and not against
        it."""
        self.site.stage = Stage("stopping")
        tab = self.visit()
        self.looked(tab)
        self.assertEqual(len(self.site.asked), 1)
        self.site.stage = Stage("asleep")
        tab.until(lambda: len(self.site.asked) > 1, "another request")

    def test_crashed(self) -> None:
        """A crash is said, without another start; it is said on while the server rests."""
        self.site.stage = Stage("starting")
        tab = self.visit()
        self.looked(tab)
        self.site.stage = Stage("crashed")
        tab.reads("The site has stopped")
        self.assertEqual(tab.evaluate("document.title"), "The site has stopped")
        self.site.stage = Stage("asleep")
        self.looked(tab)
        self.assertIn("ended unexpectedly", tab.text())
        self.assertEqual(len(self.site.asked), 1)

    def test_away(self) -> None:
        """With no engine the page says that the site cannot be started; it asks again when the
        engine is back."""
        self.site.stage = Stage("away")
        tab = self.visit()
        tab.reads("The site cannot be started at the moment")
        self.looked(tab, 1)
        self.assertEqual(len(self.site.asked), 1)
        self.site.stage = Stage("asleep")
        tab.until(lambda: len(self.site.asked) > 1, "another request")

    def test_late(self) -> None:
        """A start that takes too long is said to, and the page opens all the same."""
        self.site.stage = Stage("checking")
        tab = self.visit()
        self.looked(tab)
        self.site.stage = Stage("checking", late=True)
        tab.reads("takes longer than usual")
        self.site.stage = Stage("awake")
        tab.reads("as it was asked for")

    def test_looks(self) -> None:
        """Light and dark, and at twice the size on a small screen: nothing is cut off, and the
        words can be told from what is behind them (WCAG 2.2 §1.4.3: 4.5 to 1)."""
        self.site.stage = Stage("starting", PULLING.format(45))
        tab = self.visit()
        tab.reads("45\u202f%")
        colors = set()
        for scheme in ("light", "dark"):
            tab.call(
                "Emulation.setEmulatedMedia",
                features=[{"name": "prefers-color-scheme", "value": scheme}],
            )
            paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
            colors.add(paper)
            for place in ("body", "p.soft"):
                ink = tab.evaluate(f"getComputedStyle(document.querySelector('{place}')).color")
                self.assertGreater(contrast(ink, paper), 4.5, (scheme, place, ink, paper))
            tab.picture(self.folder / f"{scheme}.png")
        self.assertEqual(len(colors), 2)
        tab.call(
            "Emulation.setDeviceMetricsOverride",
            width=180,
            height=320,
            deviceScaleFactor=2,
            mobile=False,
        )
        tab.picture(self.folder / "large.png")
        self.assertLessEqual(tab.evaluate("document.documentElement.scrollWidth"), 180)


def contrast(one: str, other: str) -> float:
    """Return how far two colours are apart (WCAG 2.2, relative luminance)."""

    def luminance(color: str) -> float:
        parts = [int(part) / 255 for part in color.removeprefix("rgb(").rstrip(")").split(",")]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
                            for c in parts)  # fmt: skip
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


class SiteTests(TestCase):
    """A site of a real Snickers, over https and HTTP/2, in this process and in workers."""

    skip = MISSING
    timeout = 4 * WITHIN

    def begin(self, settings: str = "") -> Snickers:
        script = f"while [ ! -e go ]; do sleep 0.1; done; exec {ECHO}"
        text = (
            "[box.localhost]\ntype = process\nhold = 500ms\nanswers asleep =\n  /up 204\n"
            f"command = sh -c '{script}'\ndirectory = {{data}}\n"
            "env.TITLE = opened\n"
        )
        snickers = Snickers(self, settings + text)
        self.addCleanup(lambda: self.assertEqual(snickers.end(), 0))
        return snickers

    def opens(self, snickers: Snickers) -> None:
        assert snickers.trust
        authority = snickers.folder / "state" / "internal" / "ca.pem"
        tab = Browser(snickers.folder / "home", authority).tab(self)
        for path, status in [("/up", 204), ("/robots.txt?x", 503)]:
            self.assertEqual(snickers.get("box.localhost", path)[0], status)
        self.assertEqual(snickers.asked("status")["sites"][0]["state"], "asleep")
        tab.visit(f"https://box.localhost:{snickers.https}/a?b#c")
        tab.reads("Checking that it answers")
        tab.evaluate("window.same = true")
        self.assertEqual(snickers.asked("status")["sites"][0]["waiting"], 0)
        self.assertIs(tab.evaluate("window.same"), True)
        (snickers.folder / "data" / "box.localhost" / "go").touch()
        tab.reads("opened")
        self.assertTrue(str(tab.evaluate("location.href")).endswith("/a?b#c"))
        self.assertNotIn("waking up", tab.text())
        # Awake, the server is asked itself.
        self.assertEqual(snickers.get("box.localhost", "/up")[0], 200)

    def test_opens(self) -> None:
        """The page opens the site by itself; before that nothing that is listed had woken it."""
        self.opens(self.begin())

    def test_opens_with_workers(self) -> None:
        """The same whichever process is asked."""
        self.opens(self.begin("workers = 3\n"))


class AwayTests(TestCase):
    """Without a Docker."""

    timeout = 4 * WITHIN

    def test_away(self) -> None:
        """A browser is told that the site cannot be started, instead of waiting for ever; what is
        listed is answered all the same."""
        snickers = Snickers(self, "[box.localhost]\ntype = container\nimage = x\nhold = 500ms\n")
        with snickers.connect("box.localhost") as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: box.localhost\r\nAccept: text/html\r\n\r\n")
            answer = HTTPResponse(sock)
            answer.begin()
            self.assertEqual((answer.status, answer.headers["Retry-After"]), (503, "30"))
            self.assertIn(b"The site cannot be started at the moment", answer.read())
        status, body = snickers.get("box.localhost", "/robots.txt")
        self.assertEqual(status, 503)
        self.assertIn(b"asleep", body)
        self.assertEqual(snickers.end(), 0)
