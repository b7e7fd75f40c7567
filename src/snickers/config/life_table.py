"""The options of sites with a server of their own: its surroundings, and when it runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from snickers.config import formats
from snickers.config.answers_asleep import ANSWERS
from snickers.config.formats import Format
from snickers.config.option import Option

_LIVES = ("container", "process")
_DURATION = formats.duration(0.001)
_PATIENCE = formats.duration()
_USER = formats.text(
    "user", r"[a-z0-9_][a-z0-9_.-]*(:[a-z0-9_][a-z0-9_.-]*)?", "www-data or 1000:1000"
)


def life_options() -> Iterable[Option]:
    """Return them all."""
    yield from _personal()
    yield from _life()
    yield from _copies()


def _personal() -> Iterable[Option]:
    yield Option(
        "env.NAME",
        _LIVES,
        formats.ANYTHING,
        "",
        "An environment variable of the server.",
        "env.TITLE = Welcome to {host}",
        empty="",
    )
    yield Option(
        "env file",
        _LIVES,
        formats.PATH,
        "",
        "A file of KEY=VALUE lines with more variables; an `env.NAME` wins over it. Values are "
        "taken as they are, quotes included; lines that begin with `#` are comments.",
        "secrets/{host}.env",
        empty="",
    )
    yield Option(
        "user",
        _LIVES,
        _USER,
        "",
        "The user, or USER:GROUP, that runs it; empty: the image's, or the one Snickers runs as.",
        "www-data",
        "kind.user",
        empty="",
    )


def _life() -> Iterable[Option]:
    def option(
        name: str, of: Format[Any], default: str, doc: str, example: str, **more: Any
    ) -> Option:
        attribute = more.pop("attribute", "life." + name.replace(" ", "_"))
        return Option(name, _LIVES, of, default, doc, example, attribute, **more)

    yield option(
        "wake",
        formats.one_of("demand", "always", "manual"),
        "demand",
        "When the server runs: once somebody asks for it, always, or only when you say so.",
        "always",
    )
    for scope, words in (("container", ("tcp", "docker")), ("process", ("tcp",))):
        yield Option(
            "health",
            (scope,),
            formats.health(*words),
            "tcp",
            "How to see that the server is ready: its port accepts connections (`tcp`), a path "
            "is answered with a status of 200 to 399"
            + (
                ", or Docker's own check of the image passes (`docker`; where it has none, the "
                "server is ready as soon as it runs)."
                if words[1:]
                else "."
            ),
            "/up",
            "life.health",
        )
    yield option(
        "wake within",
        _DURATION,
        "60s",
        "How long it may take to become ready; then those who wait are told so. The start itself "
        "is given up after three times as long.",
        "2m",
    )
    yield option(
        "hold",
        _PATIENCE,
        "2s",
        "How long a browser waits before it is shown the waking page.",
        "5s",
    )
    yield Option(
        "answers asleep",
        _LIVES,
        ANSWERS,
        "",
        "What is answered while the server is not awake, without waking it: lines of a path and a "
        "file whose content is sent, or a path and a status. Queries do not matter; only GET and "
        "HEAD are answered so. `/robots.txt` is answered with 503 unless it is listed: robots stay "
        "away until they can read it (RFC 9309 §2.3.1.4).",
        "/robots.txt robots.txt",
        "site.asleep",
        empty=(),
    )
    yield option(
        "pause after",
        formats.duration(1.0, never=True),
        "never",
        "After how long without use it is paused: it keeps its memory and gets no processor, and "
        "goes on within some tens of milliseconds when somebody comes.",
        "5m",
    )
    yield option(
        "idle after",
        formats.duration(0.1, never=True),
        "30m",
        "After how long without requests and open websockets it is put to sleep.",
        "2h",
    )
    yield option(
        "busy above",
        formats.PERCENT,
        "",
        "The share of one processor above which it counts as used although nobody asks it for "
        "anything; looked at every ten seconds. Empty: that is not looked at.",
        "5%",
        empty=None,
    )
    yield Option(
        "busy traffic above",
        ("container",),
        formats.size(),
        "",
        "The bytes a second, both ways, above which it counts as used although nobody asks it for "
        "anything: a download of its own, a sync with elsewhere; looked at every ten seconds. What "
        "`services` say to each other counts. Empty: that is not looked at.",
        "10k",
        "life.busy_traffic_above",
        empty=None,
    )
    yield option(
        "veto",
        formats.COMMAND,
        "",
        "A command, run inside before it is paused or put to sleep for want of use: another exit "
        "status than 0 means that it is in use. It has ten seconds to say so.",
        "/in-use.sh",
        empty=(),
    )
    yield option(
        "stop within",
        _PATIENCE,
        "10s",
        "How long it is given to end by itself before it is killed.",
        "30s",
    )
    yield option(
        "drain within",
        _PATIENCE,
        "30s",
        "How long its open requests are given to finish before it is stopped.",
        "1m",
    )
    yield option(
        "snapshot",
        formats.COMMAND,
        "",
        "A command, run inside or in its folder, before every stop. When it fails, the server is "
        "not stopped, and the alarm says what the command has said.",
        "/snapshot.sh",
        empty=(),
    )
    yield option(
        "snapshot within",
        _DURATION,
        "5m",
        "How long a snapshot may take.",
        "10m",
    )
    yield option(
        "update",
        formats.one_of("swap", "parallel"),
        "swap",
        "How another server takes over. `swap`: requests are held, the old one ends, the new one "
        "starts in its place, and the old one comes back if the new one does not pass its check "
        "within half of `wake within`. `parallel`: the new one starts beside the old one and gets "
        "no request before it has passed its check, within `wake within`; then the old one keeps "
        "what it has for `drain within` at the most. Two servers then work on one folder at once: "
        "only for those that allow that.",
        "parallel",
    )


def _copies() -> Iterable[Option]:
    yield Option(
        "copy before update",
        _LIVES,
        formats.SWITCH,
        "off",
        "Whether a copy of the site's own folder (DATA/HOST) is made before another server is "
        "tried on it, when the old one has ended; if the new one does not prove itself, the folder "
        "is put back as it was. Requests wait meanwhile, within `wake within`, so a large folder "
        "is better copied by hand before. Not with `update = parallel`.",
        "on",
        "life.copy_before_update",
    )
    yield Option(
        "copy when asleep",
        _LIVES,
        formats.SWITCH,
        "off",
        "Whether a copy of the site's own folder (DATA/HOST) is made each time its server has "
        "fallen asleep, when nothing writes to it.",
        "on",
        "life.copy_when_asleep",
    )
    yield Option(
        "keep snapshots",
        _LIVES,
        formats.KEEP,
        "last 3 daily 7 weekly 4",
        "Which copies of the site's own folder are kept when a new one has been made: the newest "
        "(`last`), and the newest of so many hours, days, weeks, months or years that have one "
        "(`hourly daily weekly monthly yearly`, in UTC); `all`: every one. Copies that were asked "
        "for count as the others do and go as they go: write a larger `last` where several are "
        "made in a row, or keep one elsewhere.",
        "last 5 daily 14 monthly 6",
        "life.keep_snapshots",
    )
