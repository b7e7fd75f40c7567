"""The fuzzer's targets, over what it begins from and bytes that Hypothesis finds; and that what the
fuzzer finds is told.
"""

from __future__ import annotations

import contextlib
import io
import sys

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.tls.clienthello import Hello, parse
from tests.fuzz.__main__ import fuzz, main
from tests.fuzz.targets import HELLOS, TARGETS

FIXED = settings(derandomize=True, deadline=None, max_examples=60)


class TargetTests(SynchronousTestCase):
    """What is true of every reader whatever comes."""

    def test_seeds(self) -> None:
        """Of well-formed bytes, and of each of their beginnings."""
        for target, seeds in TARGETS.values():
            for seed in seeds:
                for size in range(len(seed) + 1):
                    target(seed[:size])

    @FIXED
    @given(st.sampled_from(sorted(TARGETS)), st.data())
    def test_changed(self, name: str, data: st.DataObject) -> None:
        """Of well-formed bytes of which some were replaced."""
        target, seeds = TARGETS[name]
        seed = data.draw(st.sampled_from(seeds))
        start = data.draw(st.integers(0, len(seed)))
        end = data.draw(st.integers(start, len(seed)))
        target(seed[:start] + data.draw(st.binary(max_size=20)) + seed[end:])

    @FIXED
    @given(st.sampled_from(sorted(TARGETS)), st.binary(max_size=200))
    def test_any(self, name: str, data: bytes) -> None:
        """Of any bytes."""
        TARGETS[name][0](data)

    def test_hellos(self) -> None:
        """What it begins from are whole hellos of real clients, TLS 1.3 with post-quantum keys
        among them; in one record or in several they say the same."""
        read = {name: parse(data) for name, data in HELLOS.items()}
        for name, hello in read.items():
            assert isinstance(hello, Hello), name
            self.assertEqual(hello.size, len(HELLOS[name]))
            expected = b"" if name.endswith("no-name") else b"site.example"
            self.assertEqual(hello.server_name, expected, name)
        for name in ("openssl-4-post-quantum", "chromium"):
            hello = read[name]
            assert isinstance(hello, Hello)
            self.assertIn(0x0304, hello.versions)
            # X25519MLKEM768 (0x11ec), with a key share of 1216 bytes.
            self.assertIn(b"\x11\xec\x04\xc0", HELLOS[name])
        seeds = TARGETS["client_hello"][1]
        several = [data for data in seeds if data[:1] == b"\x16" and data not in HELLOS.values()]
        self.assertEqual([parse(data).server_name for data in several], [b"site.example"])  # type: ignore[union-attr]


class RunTests(SynchronousTestCase):
    """``python -m tests.fuzz`` with programs that stand in for atheris."""

    def run_with(self, code: str) -> tuple[bool, str]:
        return fuzz("chunks", 1, (sys.executable, "-c", f"import sys\n{code}"))

    def test_well(self) -> None:
        """Who has run and found nothing."""
        self.assertEqual(
            self.run_with("print('Done 5 runs in 1 second(s)', file=sys.stderr)"),
            (True, "chunks: Done 5 runs in 1 second(s)"),
        )

    def test_finding(self) -> None:
        """A finding is told, with its bytes; a crash without one is told, too."""
        found = (
            "prefix = sys.argv[-1].partition('=')[2]\n"
            "open(prefix + 'crash-1', 'wb').write(b'odd')\nsys.exit({})"
        )
        for status in (77, 0):
            well, words = self.run_with(found.format(status))
            self.assertFalse(well)
            self.assertTrue(words.endswith("b'odd'"), words)
        self.assertFalse(self.run_with("sys.exit(1)")[0])
        self.assertFalse(self.run_with("import os; os.abort()")[0])

    def test_nothing_run(self) -> None:
        """One that says nothing of its runs has run nothing."""
        self.assertFalse(self.run_with("pass")[0])

    def test_all(self) -> None:
        """Each target is run and told, in order; the first finding is the last that is told, and
        all of it has failed then."""
        program = (
            "import sys\n"
            "if sys.argv[1] == 'hpack': sys.exit(1)\n"
            "print('Done 5 runs in 1 second(s)', file=sys.stderr)"
        )
        for names, status, told in (
            (["http2", "chunks", "request_head"], 0, ["http2", "chunks", "request_head"]),
            (["chunks", "hpack", "http2"], 1, ["chunks", "hpack"]),
        ):
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                self.assertEqual(main(["1", *names], (sys.executable, "-c", program)), status)
            lines = [line for line in out.getvalue().splitlines() if ": " in line]
            self.assertEqual([line.split(":")[0] for line in lines], told)
