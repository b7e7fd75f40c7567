"""Value formats: what they read, what they refuse and in which words, and what they show."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from snickers.config import formats
from snickers.config.formats import Format, Place
from snickers.config.values import Keep
from snickers.config.wrong import NotYet, Wrong
from tests.format_case import HERE, FormatCase

FIXED = settings(derandomize=True, deadline=None, max_examples=300)


class FormatTests(FormatCase):
    """Each format by itself."""

    def test_duration(self) -> None:
        """Durations have a unit; ``never`` is one only where it makes sense."""
        seconds = {"250ms": 0.25, "30s": 30, "5m": 300, "2h": 7200, "7d": 604800, "1.5h": 5400}
        self.reads(formats.duration(), seconds | {"0": 0, "0s": 0, "30 S": 30})
        self.reads(formats.duration(never=True), {"never": math.inf, "NEVER": math.inf})
        self.refuses(formats.duration(), "30s", "30", "-1s", "1w", "s", "1e3s", "٣s", "1s 2s")
        self.refuses(formats.duration(), "cannot be 'never'", "never")
        self.refuses(formats.duration(1, 60), "the least is 1s", "0", "999ms")
        self.refuses(formats.duration(1, 60), "the most is 1m", "61s", "2h")
        self.refuses(formats.duration(), "too long", "9" * 400 + "d")

    def test_shown_durations(self) -> None:
        """The largest unit without a fraction is shown."""
        shown = [formats.show_duration(s) for s in (0, 0.25, 1.5, 60, 90, 5400, 86400, math.inf)]
        self.assertEqual(shown, ["0s", "250ms", "1500ms", "1m", "90s", "90m", "1d", "never"])

    def test_duration_or_off(self) -> None:
        """``off`` is no duration at all, and is shown as it was written."""
        self.reads(formats.DURATION_OR_OFF, {"off": 0.0, "365d": 31536000.0})
        self.refuses(formats.DURATION_OR_OFF, "or off", "on", "0s")

    def test_size(self) -> None:
        """Sizes count in powers of 1024."""
        sizes = {"64k": 65536, "512m": 2**29, "2G": 2**31, "1t": 2**40, "100": 100}
        self.reads(formats.size(), sizes)
        self.refuses(formats.size(), "512m", "1.5g", "-1", "64kb", "k", "²k")
        self.refuses(formats.size(6 * 2**20), "the least is 6m", "5m", "6")

    def test_numbers(self) -> None:
        """Whole numbers keep to their range; others are above 0."""
        self.reads(formats.integer(1, 10), {"1": 1, "010": 10})
        self.refuses(
            formats.integer(1, 10), "from 1 to 10", "0", "11", "x", "1.0", "+1", "٣", "1_0"
        )
        self.reads(formats.DECIMAL, {"0.5": 0.5, "2": 2.0, "0.000001": 0.000001})
        self.refuses(formats.DECIMAL, "above 0", "0", "-1", "nan", "inf", "1e3", ".5")

    def test_choices(self) -> None:
        """One of some words; one that is to come is told from one that nobody knows."""
        format = formats.one_of("swap", "round robin", later=["acme"])
        self.reads(format, {"swap": "swap", "Round   Robin": "round robin"})
        self.refuses(format, "write swap or round robin", "swapp", "acme")
        self.assertRaises(NotYet, format.read, "acme", HERE)
        self.reads(formats.SWITCH, {"on": True, "Off": False})
        self.refuses(formats.SWITCH, "neither on nor off", "yes", "1", "true")
        self.reads(formats.one_number_of(301, 308), {"308": 308})
        self.refuses(formats.one_number_of(301, 308), "301 or 308", "200")

    def test_one_line(self) -> None:
        """A value of one line that continues says what probably happened; no control characters."""
        self.refuses(formats.PATH, "begins in the same column", "/srv\nroot = /x")
        self.refuses(formats.PATH, "control character", "/srv\x00", "/srv\x1b[2J")

    def test_paths(self) -> None:
        """Relative paths begin at the file's folder; the site's name and folder are filled in."""
        self.reads(
            formats.PATH,
            {
                "/srv//www/": "/srv/www",
                "www": "/etc/snickers/www",
                "../www": "/etc/www",
                "{data}/public": "/data/alice.example/public",
                "/srv/{host}/{other}": "/srv/alice.example/{other}",
            },
        )
        self.refuses(formats.PATH, "home folder", "~/www", "~alice")
        self.refuses(formats.PATH, "write /srv/www", '"/srv/www"', "'/srv/www'")
        self.refuses(formats.PATH, "begins no comment", "/srv/www # mine")
        self.reads(formats.PATH_INSIDE, {"/data/": "/data"})
        self.refuses(formats.PATH_INSIDE, "inside the container", "data", "/a/../b")
        self.reads(formats.PATH_BELOW, {"/app/index.html": "app/index.html"})
        self.refuses(formats.PATH_BELOW, "below the root", "../x", "a/../../x", "/")
        self.reads(
            formats.GLOBS, {"sites.d/*.ini /x.ini": ("/etc/snickers/sites.d/*.ini", "/x.ini")}
        )

    def test_braces_without_a_site(self) -> None:
        """Where there is no site, braces stay."""
        self.assertEqual(formats.PATH.read("/srv/{host}", Place("/")), "/srv/{host}")

    def test_filled_in_once(self) -> None:
        """What is filled in is not looked into again."""
        place = Place("/", "a.example", "/{host}/{data}")
        self.assertEqual(place.fill("{data} {host}"), "/{host}/{data} a.example")

    def test_lists(self) -> None:
        """Lists are words, on one line or several."""
        names = {"A.example\n\n b.Example a.example": ("a.example", "b.example")}
        self.reads(formats.SITE_NAMES, names)
        self.reads(formats.SITE_NAMES, {"www.{host}": ("www.alice.example",)})
        self.refuses(formats.SITE_NAMES, "'a_b' is not a host name", "ok.example a_b")
        self.reads(formats.words("names", r"[a-z]+", "x"), {"b a\nb": ("b", "a", "b")})
        self.refuses(formats.words("names", r"[a-z]+", "x"), "write names such as x", "a B")
        self.reads(formats.CAPABILITIES, {"cap_chown NET_RAW": ("CHOWN", "NET_RAW")})

    def test_commands(self) -> None:
        """Commands are words as in a shell; what is filled in is never split."""
        place = Place("/etc/snickers", "a.example", "/data/my sites")
        read = formats.COMMAND.read
        self.assertEqual(read("x 'a b' {data}/y", place), ("x", "a b", "/data/my sites/y"))
        self.assertEqual(read("./x {y}", place), ("./x", "{y}"))
        self.reads(
            formats.PROGRAM, {"./run a": ("/etc/snickers/run", "a"), "python3": ("python3",)}
        )
        self.refuses(formats.COMMAND, "no closing quotation", "sh -c 'a", 'x "')
        self.refuses(formats.COMMAND, "empty", "''")
        self.refuses(formats.COMMAND, "zero byte", "a b\x00")

    def test_commands_are_no_lines_of_a_shell(self) -> None:
        """A word that only a shell would understand is told, unless it has quotes."""
        self.refuses(
            formats.COMMAND,
            "no shell runs it",
            *("dump | gzip", "cd /a && tar c .", "dump > /a", "dump >/a 2>&1", "dump 2>/a", "x &"),
        )
        self.reads(
            formats.COMMAND,
            {
                "x '|' \">\" \\&": ("x", "|", ">", "&"),
                "sh -c 'dump | gzip > /a'": ("sh", "-c", "dump | gzip > /a"),
                "get http://a/?b=1&c=2 a>b x'> y'": ("get", "http://a/?b=1&c=2", "a>b", "x> y"),
                'say it\\\'s "a > b"': ("say", "it's", "a > b"),
            },
        )

    def test_volumes(self) -> None:
        """A volume is a folder or a named volume, and where it is mounted."""
        self.reads(
            formats.VOLUMES,
            {
                "/srv/a:/a": ("/srv/a:/a",),
                "shared:/a:ro\n./b:/b:rw": ("shared:/a:ro", "/etc/snickers/b:/b"),
                "{data}/x:/x": ("/data/alice.example/x:/x",),
            },
        )
        self.refuses(
            formats.VOLUMES, "SOURCE:TARGET", "/a", "/a:b", ":/a", "/a:/b:rx", "/a:/b:ro:x"
        )
        self.refuses(formats.VOLUMES, "neither a path nor", "-x:/a")
        self.refuses(formats.VOLUMES, "no '..'", "/a:/b/../../etc")

    def test_health(self) -> None:
        """A health check is a word or a path."""
        self.reads(formats.health("tcp"), {"TCP": "tcp", "/up?x=1": "/up?x=1"})
        self.refuses(formats.health("tcp"), "write tcp or a path", "docker", "up", "/a b", "/ä")

    def test_keep(self) -> None:
        """A rule has each word at most once, a number behind each; or it is that all are kept."""
        self.reads(
            formats.KEEP,
            {
                "all": Keep(),
                "last 3 daily 7 weekly 4": Keep(last=3, daily=7, weekly=4),
                "Yearly 1\nmonthly 12 hourly 24": Keep(yearly=1, monthly=12, hourly=24),
            },
        )
        for wrong in (
            "3",
            "last",
            "last x",
            "last 0",
            "last -1",
            "last 3 last 4",
            "all 3",
            "ever 1",
        ):
            self.refuses(formats.KEEP, "no part of such a rule", wrong)

    def test_texts(self) -> None:
        """A text keeps to its pattern; anything else is free but for the zero byte."""
        self.refuses(
            formats.text("user", r"[a-z]+", "www"), "valid user; write one such as www", "W"
        )
        self.reads(formats.ANYTHING, {"a\nb {host}": "a\nb alice.example"})
        self.refuses(formats.ANYTHING, "zero byte", "a\0")

    def test_shares(self) -> None:
        """A share of a processor is written in per cent, and as it was read is it shown."""
        self.reads(formats.PERCENT, {"5%": 5.0, "0.5 %": 0.5, "150%": 150.0})
        self.assertEqual(formats.PERCENT.show(0.5), "0.5%")
        self.refuses(formats.PERCENT, "such as 5%", "5", "-1%", "many", "1e2%")

    def test_workers(self) -> None:
        """A number of processes, or as many as there are processors."""
        self.reads(formats.WORKERS, {"1": 1, "64": 64, "auto": 0, "AUTO": 0})
        self.refuses(formats.WORKERS, "from 1 to 64", "0", "65", "many")

    @FIXED
    @given(
        st.sampled_from(
            [
                *(formats.duration(never=True), formats.size(), formats.integer(0, 10**9)),
                *(formats.DECIMAL, formats.PATH, formats.GLOBS, formats.COMMAND, formats.VOLUMES),
                *(formats.SITE_NAMES, formats.PROGRAM, formats.CAPABILITIES, formats.PATH_BELOW),
                *(formats.PATH_INSIDE, formats.health("tcp"), formats.DURATION_OR_OFF),
                formats.KEEP,
            ]
        ),
        st.one_of(
            st.text(min_size=1, max_size=20),
            st.lists(
                st.sampled_from(
                    [*"0159.:/'\"\\ \n{}~-_", "ms", "k", "never", "/a", "ro", "{data}"]
                ),
                min_size=1,
                max_size=8,
            ).map("".join),
        ),
    )
    def test_any_text(self, format: Format[Any], text: str) -> None:
        """Any text is refused in words, or its value shows as a text that reads the same."""
        try:
            value = format.read(text, HERE)
        except Wrong as wrong:
            self.assertTrue(str(wrong))
        else:
            self.assertEqual(format.read(format.show(value), HERE), value)
