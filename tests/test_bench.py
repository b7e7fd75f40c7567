"""The comparison's arithmetic: what is read from the load's report, and what is made of it."""

from __future__ import annotations

import io
import signal
import socket
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from threading import Event, Thread
from xml.etree import ElementTree

from bench import asleep, sleepers, switch, wake
from bench.loads import Load, Unanswered, Unspoken, read_report, urls
from bench.plot import LEFT, WIDTH, plot, scale
from bench.report import BEGIN, END, Measurement, Row, between_markers, rows, table
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.parse import parse

REPORT = """\
TLS Protocol: TLSv1.3
Cipher: TLS_AES_128_GCM_SHA256
Application protocol: http/1.1

finished in 850.50ms, 23515.58 req/s, 29.22MB/s
requests: 200 total, 200 started, 200 done, 200 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 200 2xx, 0 3xx, 0 4xx, 0 5xx
"""


class ReportTests(SynchronousTestCase):
    """h2load's report."""

    def test_read(self) -> None:
        """The time it took is read in its unit."""
        self.assertAlmostEqual(read_report(REPORT, 200, "http/1.1"), 0.8505)
        longer = REPORT.replace("850.50ms", "2.50s")
        self.assertAlmostEqual(read_report(longer, 200, "http/1.1"), 2.5)

    def test_refused(self) -> None:
        """A report of anything but complete success over TLS 1.3 is no measurement."""
        for wrong in (
            "",
            REPORT.replace("200 succeeded, 0 failed", "199 succeeded, 1 failed"),
            REPORT.replace("200 2xx, 0 3xx", "150 2xx, 50 3xx"),
            REPORT.replace("TLSv1.3", "TLSv1.2"),
        ):
            self.assertRaises(Unanswered, read_report, wrong, 200, "http/1.1")
        self.assertRaises(Unanswered, read_report, REPORT, 300, "http/1.1")

    def test_another_protocol(self) -> None:
        """An answer in another protocol than the load's is no measurement of that one."""
        self.assertRaises(Unspoken, read_report, REPORT, 200, "h2")
        agreed = REPORT.replace("http/1.1", "h2")
        self.assertAlmostEqual(read_report(agreed, 200, "h2"), 0.8505)

    def test_protocol(self) -> None:
        """A load that is told to speak HTTP/1.1 must not be spoken to in anything else."""
        self.assertEqual(Load("k", "K", "h", "/1k", 1, 1).protocol, "http/1.1")
        self.assertEqual(Load("k", "K", "h", "/1k", 1, 1, more=("-m16",)).protocol, "h2")


class UrlsTests(SynchronousTestCase):
    """What is asked for."""

    def test_urls(self) -> None:
        """One address, or as many as the load says, all different."""
        self.assertEqual(urls(Load("k", "K", "h", "/1k", 1, 1), 7), ["https://h:7/1k"])
        many = urls(Load("k", "K", "h", "/1k", 1, 1, addresses=50), 7)
        self.assertEqual(len(set(many)), 50)
        self.assertEqual(many[3], "https://h:7/1k?3")


class TableTests(SynchronousTestCase):
    """What is made of measurements."""

    def measured(self) -> list[Measurement]:
        """Three rounds of one load on two proxies, one of them disturbed."""
        ours = [Measurement("k", "Ours", cost, 0.9) for cost in (30e-6, 90e-6, 33e-6)]
        return ours + [Measurement("k", "Peer", 22e-6, 0.9) for _ in range(3)]

    def test_median(self) -> None:
        """A disturbed round does not count; a load that was not measured has no row."""
        (row,) = rows([("k", "Kept", "request"), ("other", "Other", "MiB")], self.measured())
        self.assertEqual(row.cost, {"Ours": 33e-6, "Peer": 22e-6})
        self.assertAlmostEqual(row.ratio("Ours", "Peer"), 1.5)
        self.assertIsNone(row.ratio("Ours", "Absent"))

    def test_table(self) -> None:
        """Costs first, then the ratios; what a peer cannot do is a dash."""
        found = rows([("k", "Kept", "request")], self.measured())
        self.assertEqual(
            table(found, ["Ours", "Peer", "Third"], "Ours").splitlines(),
            [
                "| CPU of the proxy | Ours | Peer | Third | Ours : Peer | Ours : Third |",
                "|---|---|---|---|---|---|",
                "| Kept | 33 µs | 22 µs | – | **1.50** | – |",
            ],
        )

    def test_memory(self) -> None:
        """Memory is told in KB, not in time."""
        found = rows([("k", "Idle", "KB")], [Measurement("k", "Ours", 24064.0, 0.0)])
        self.assertEqual(table(found, ["Ours"], "Ours").splitlines()[-1], "| Idle | 23.5 KB |")

    def test_markers(self) -> None:
        """Only what lies between the markers is replaced; missing markers are added."""
        page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
        once = between_markers(page, "new")
        self.assertEqual(once, f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n")
        self.assertEqual(between_markers(once, "new"), once)
        self.assertEqual(between_markers("page\n", "t"), f"page\n\n{BEGIN}\n\nt\n\n{END}\n")


class PlotTests(SynchronousTestCase):
    """The picture."""

    def drawn(self, cost: dict[str, float]) -> ElementTree.Element:
        """The picture of one row."""
        return ElementTree.fromstring(plot([Row("A & B", "request", cost)], "Ours", ["Peer", "<"]))

    def bars(self, picture: ElementTree.Element) -> list[tuple[float, float]]:
        """Where each bar begins and how wide it is; not the legend's."""
        found = picture.iter("{http://www.w3.org/2000/svg}rect")
        return [
            (float(b.get("x", 0)), float(b.get("width", 0))) for b in found if b.get("y") != "16"
        ]

    def texts(self, picture: ElementTree.Element) -> list[str]:
        """All that can be read."""
        return [text.text or "" for text in picture.iter("{http://www.w3.org/2000/svg}text")]

    def test_bars(self) -> None:
        """A cheaper one's bar ends at 1, a dearer one's begins there; twice is as long as half."""
        picture = self.drawn({"Ours": 2.0, "Peer": 1.0, "<": 4.0})
        (dear, width), (cheap, as_wide) = self.bars(picture)
        self.assertAlmostEqual(dear, cheap + as_wide, delta=0.2)
        self.assertAlmostEqual(width, as_wide, delta=0.2)
        self.assertAlmostEqual(dear, scale([]).x(1.0), delta=0.2)
        texts = self.texts(picture)
        self.assertLessEqual({"A & B", "2.00", "0.50", "beside Peer", "beside <", "1"}, set(texts))

    def test_absent(self) -> None:
        """What a peer cannot do has no bar."""
        self.assertEqual(len(self.bars(self.drawn({"Ours": 2.0, "Peer": 1.0}))), 1)

    def test_scale(self) -> None:
        """Any ratio is within the picture, and a usual one does not fill it."""
        self.assertLess(scale([1.1]).x(1.1) - scale([1.1]).x(1.0), 60)
        for ratio in (0.01, 0.13, 1.0, 4.5, 100.0):
            self.assertLessEqual(LEFT, scale([ratio]).x(ratio))
            self.assertLess(scale([ratio]).x(ratio), WIDTH)


class WakeTests(SynchronousTestCase):
    """What waking is measured by."""

    def test_row(self) -> None:
        """The difference is that of each round, not that of medians of different rounds; rounds
        that were disturbed do not count."""
        pairs = [
            wake.Pair(0.32, 0.30, 0.007, 0.010),
            wake.Pair(0.45, 0.44, 0.005, 0.011),
            wake.Pair(9.0, 0.31, 0.004, 0.012),
        ]
        pairs += [wake.Pair(0.33, 0.30, 0.005, 0.009), wake.Pair(0.335, 0.30, 0.006, 0.013)]
        self.assertEqual(
            wake.row(wake.Case("k", "stopped"), pairs),
            "| stopped | 300 ms | 335 ms | **30 ms** | 20 ms to 35 ms | 11 ms | 5 ms |",
        )

    def test_twins(self) -> None:
        """Both sites of a case have the same server, and Snickers lets the second alone."""
        for case in wake.CASES:
            visited, by_hand = case.options
            self.assertTrue(visited.startswith(by_hand))
            self.assertEqual("pause after" in visited, case.paused)
            self.assertNotIn("pause after", by_hand)
        self.assertEqual(len({name for case in wake.CASES for name in case.sites}), 6)

    def test_sites_are_right(self) -> None:
        """Their sections are a configuration without a fault, and the server is what was meant."""
        case = wake.Case("slow", "slow", needs=0.25)
        name, _ = case.sites
        text = sleepers.sections(
            "unix:///docker.sock", "busybox:1", 443, Path("/here"), {name: case.options[0]}
        )
        found = parse([("/here/sites.ini", text)])
        self.assertEqual(found.faults, ())
        self.assertIn("sleep 0.25; exec httpd", found.sites[name].kind.command[2])

    def test_asked_until_it_answers(self) -> None:
        """Who starts a container by hand asks until there is an answer, and no longer."""
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            address = listening.getsockname()
            refused = Event()

            def serve() -> None:
                refused.wait(30)
                listening.listen()
                listening.accept()[0].close()
                connection, _ = listening.accept()
                with connection:
                    connection.sendall(connection.recv(100)[:3])

            def pause(seconds: float) -> None:
                refused.set()

            thread = Thread(target=serve)
            thread.start()
            self.addCleanup(thread.join, 30)
            wake.ask(address, pause)
            self.assertTrue(refused.is_set())


class SwitchTests(SynchronousTestCase):
    """What visitors notice of a replacement."""

    def test_row(self) -> None:
        """What was lost is told by the kind of visitor, and nothing where nothing was."""
        none = switch.Result("A", "so", 15, 65_555, 9_114, ())
        self.assertEqual(none.row, "| A | so | 15 | 9,114 | 65,555 | **0** |")
        some = switch.Result("B", "so", 2, 10, 5, (("h2", 3), ("kept", 1)))
        self.assertEqual(some.row, "| B | so | 2 | 5 | 10 | **4** (3 h2, 1 kept) |")

    def test_stuck(self) -> None:
        """What does not come about is given up in words."""
        self.patch(switch, "WITHIN", 0.0)
        self.assertRaises(switch.Stuck, switch.until, lambda: False, "never")
        self.assertEqual(switch.until(lambda: 7, "at once"), 7)

    def test_one_stuck(self) -> None:
        """One that cannot be replaced leaves the rows of the others as they are; kills come last,
        and only of those whom somebody follows."""
        out, err = io.StringIO(), io.StringIO()
        done: list[tuple[str, str, int]] = []

        def measure(what: switch.Arrangement, how: str, does: object, rounds: int) -> switch.Result:
            done.append((what.name, how, rounds))
            if what.name == "HAProxy":
                raise switch.Stuck("there is no new worker")
            return switch.Result(what.name, how, rounds, 1, 1, ())

        self.patch(switch, "measure", measure)
        self.patch(signal, "alarm", lambda seconds: None)
        with redirect_stdout(out), redirect_stderr(err):
            switch.main(["15"])
        snickers, nginx = switch.Snickers, switch.Nginx
        self.assertEqual(
            done,
            [
                ("Snickers", snickers.how, 15),
                ("HAProxy", switch.HAProxy.how, 15),
                ("nginx", nginx.how, 15),
                ("Snickers", snickers.killed, switch.KILLS),
                ("nginx", nginx.killed, switch.KILLS),
            ],
        )
        self.assertEqual(out.getvalue().count("\n| "), 4)
        self.assertEqual(err.getvalue(), "HAProxy is left out: there is no new worker\n")


class AsleepTests(SynchronousTestCase):
    """What sleeping sites are measured by."""

    def test_row(self) -> None:
        """A site's memory is what further ones have added; the first row has nothing before it."""
        one = asleep.Measured(1, 50 * asleep.MB, 2)
        more = asleep.Measured(1001, 50 * asleep.MB + 4_200_000, 0)
        self.assertEqual(asleep.row(one, None), "| 1 | 50.0 MB | – | 2 |")
        self.assertEqual(asleep.row(more, one), "| 1001 | 54.0 MB | **4.2 KB** | 0 |")
