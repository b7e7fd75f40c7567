"""How values are written: durations, sizes, lists, paths, endpoints and the rest.

Each `Format` reads one kind of value and writes it back in the same words. A format never looks
at the disk, the network or the clock, and never accepts what it cannot write back; what it
refuses, it refuses with a `Wrong` whose text says what would be right.
"""

from __future__ import annotations

import math
import os.path
import re
import shlex
from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Generic, TypeVar

from attrs import fields, frozen

from snickers import bounds
from snickers.config.hosts import site_name
from snickers.config.values import Keep
from snickers.config.wrong import NotYet, Wrong

T = TypeVar("T")


@frozen
class Place:
    """Where a value's text stands, and for which site it is read."""

    base: str
    """The folder of the file; relative paths begin there. Absolute."""
    host: str = ""
    """The site's name, for ``{host}``; empty: braces are left alone."""
    data: str = ""
    """The site's own folder, for ``{data}``."""

    def fill(self, text: str) -> str:
        """Return *text* with ``{host}`` and ``{data}`` replaced."""
        if not self.host or "{" not in text:
            return text
        # The folder's name last: what it contains is not looked into again.
        return text.replace("{host}", self.host).replace("{data}", self.data)


@frozen
class Format(Generic[T]):
    """One kind of value."""

    words: str
    """What it is called in the reference."""
    read: Callable[[str, Place], T]
    """Raises `Wrong`. The text is stripped, not empty, and not yet filled in."""
    show: Callable[[T], str]
    """The text that `read` reads as this value."""


def one_line(text: str, place: Place) -> str:
    """Return *text* filled in, if it is one line without control characters."""
    if "\n" in text:
        raise Wrong(
            "one value is expected, but the indented lines below continue it; "
            "an option of its own begins in the same column as this one"
        )
    filled = place.fill(text)
    if not filled.isprintable():
        raise Wrong("contains a control character; remove it")
    return filled


def each_word(text: str, place: Place) -> list[str]:
    """Return the words of *text*, each filled in after they were split."""
    return [one_line(word, place) for word in text.split()]


def same(value: str) -> str:
    """Return *value*: a text is shown as it is."""
    return value


# Numbers, durations, sizes

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def show_duration(seconds: float) -> str:
    """Return *seconds* as it is written: the largest unit that leaves no fraction."""
    if math.isinf(seconds):
        return "never"
    milliseconds = round(seconds * 1000)
    for unit in ("d", "h", "m", "s"):
        size = round(_UNITS[unit] * 1000)
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def duration(least: float = 0.0, most: float = math.inf, *, never: bool = False) -> Format[float]:
    """Return the format of durations from *least* to *most* seconds; infinite if *never*."""

    def read(text: str, place: Place) -> float:
        line = one_line(text, place).lower()
        if line == "never":
            if never:
                return math.inf
            raise Wrong("cannot be 'never' here; write a duration such as 30s or 5m")
        matched = _DURATION.fullmatch("0s" if line == "0" else line)
        if matched is None:
            also = ", or never" if never else ""
            raise Wrong(
                f"{line!r} is not a duration; write one such as 250ms, 30s, 5m, 2h, 7d{also}"
            )
        number, unit = matched.groups()
        milliseconds = float(number) * _UNITS[unit] * 1000
        if milliseconds >= 1e15:
            raise Wrong("is too long" + ("; write never" if never else ""))
        seconds = round(milliseconds) / 1000
        if seconds < least:
            raise Wrong(f"{line} is too short; the least is {show_duration(least)}")
        if seconds > most:
            raise Wrong(f"{line} is too long; the most is {show_duration(most)}")
        return seconds

    return Format("duration" + (" or `never`" if never else ""), read, show_duration)


def _read_hsts(text: str, place: Place) -> float:
    if text.lower() == "off":
        return 0.0
    try:
        return duration(1.0).read(text, place)
    except Wrong as wrong:
        raise Wrong(f"{wrong}, or off") from None


DURATION_OR_OFF: Format[float] = Format(
    "duration or `off`", _read_hsts, lambda value: show_duration(value) if value else "off"
)

_SIZE = re.compile(r"(\d+)\s*([kmgt]?)")
_POWERS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def show_size(size: int) -> str:
    """Return *size* bytes as it is written."""
    for unit in ("t", "g", "m", "k"):
        if size and size % _POWERS[unit] == 0:
            return f"{size // _POWERS[unit]}{unit}"
    return str(size)


def size(least: int = 0) -> Format[int]:
    """Return the format of sizes of at least *least* bytes."""

    def read(text: str, place: Place) -> int:
        line = one_line(text, place).lower()
        matched = _SIZE.fullmatch(line) if line.isascii() and len(line) < 20 else None
        if matched is None:
            raise Wrong(f"{line!r} is not a size; write one such as 64k, 512m or 2g")
        number, unit = matched.groups()
        value = int(number) * _POWERS[unit]
        if value < least:
            raise Wrong(f"{line} is too small; the least is {show_size(least)}")
        return value

    return Format("size", read, show_size)


def integer(least: int, most: int, words: str = "number") -> Format[int]:
    """Return the format of whole numbers from *least* to *most*."""

    def read(text: str, place: Place) -> int:
        line = one_line(text, place)
        if not (line.isascii() and line.isdigit() and len(line) < 16):
            raise Wrong(f"{line!r} is not a whole number; write one from {least} to {most}")
        value = int(line)
        if not least <= value <= most:
            raise Wrong(f"{line} is out of range; write a number from {least} to {most}")
        return value

    return Format(words, read, str)


def _read_workers(text: str, place: Place) -> int:
    if one_line(text, place).lower() == "auto":
        return 0
    return _WORKERS.read(text, place)


_WORKERS = integer(1, 64)
WORKERS: Format[int] = Format(
    "number or `auto`", _read_workers, lambda count: str(count) if count else "auto"
)
"""0 is ``auto``."""


def _read_decimal(text: str, place: Place) -> float:
    line = one_line(text, place)
    if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", line, re.ASCII) is None or float(line) <= 0:
        raise Wrong(f"{line!r} is not a number above 0; write one such as 0.5 or 2")
    return float(line)


DECIMAL: Format[float] = Format(
    "number", _read_decimal, lambda v: f"{v:.6f}".rstrip("0").rstrip(".")
)


def _read_percent(text: str, place: Place) -> float:
    line = one_line(text, place)
    if re.fullmatch(r"\d{1,4}(\.\d{1,3})?\s*%", line, re.ASCII) is None:
        raise Wrong(f"{line!r} is not a share; write one such as 5% or 0.5%")
    return float(line.rstrip("% \t"))


PERCENT: Format[float] = Format(
    "share", _read_percent, lambda v: f"{v:.3f}".rstrip("0").rstrip(".") + "%"
)


# Choices


def _read_switch(text: str, place: Place) -> bool:
    line = one_line(text, place).lower()
    if line not in ("on", "off"):
        raise Wrong(f"{line!r} is neither on nor off; write one of the two")
    return line == "on"


SWITCH: Format[bool] = Format("`on` or `off`", _read_switch, lambda value: "on" if value else "off")


def one_of(*choices: str, later: Iterable[str] = ()) -> Format[str]:
    """Return the format of one of *choices*; those in *later* are known, and not available yet."""
    waiting = tuple(later)
    listed = either(choices)

    def read(text: str, place: Place) -> str:
        line = " ".join(one_line(text, place).lower().split())
        if line in waiting:
            raise NotYet(f"{line!r} is not available yet in this version; write {listed}")
        if line not in choices:
            raise Wrong(f"{line!r} is unknown; write {listed}")
        return line

    words = either([f"`{choice}`" for choice in choices])
    if waiting:
        words += f", later {either([f'`{choice}`' for choice in waiting])}"
    return Format(words, read, same)


def one_number_of(*choices: int) -> Format[int]:
    """Return the format of one of some numbers."""
    texts = one_of(*map(str, choices))
    return Format(texts.words, lambda text, place: int(texts.read(text, place)), str)


def either(words: Iterable[str]) -> str:
    """Return *words* as a choice: ``a, b or c``."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


# Names, texts, paths, commands


def text(words: str, pattern: str = r".+", example: str = "") -> Format[str]:
    """Return the format of one line that matches *pattern*; called *words* in the reference."""
    compiled = re.compile(pattern, re.ASCII)

    def read(text: str, place: Place) -> str:
        line = one_line(text, place)
        if compiled.fullmatch(line) is None:
            raise Wrong(f"{line!r} is not a valid {words}; write one such as {example}")
        return line

    return Format(words, read, same)


def _read_anything(text: str, place: Place) -> str:
    if "\0" in text:
        raise Wrong("contains a zero byte; remove it")
    return place.fill(text)


ANYTHING: Format[str] = Format("text", _read_anything, same)

SITE_NAME: Format[str] = Format(
    "host name", lambda text, place: site_name(one_line(text, place)), same
)


def _read_site_names(text: str, place: Place) -> tuple[str, ...]:
    return tuple(dict.fromkeys(site_name(word) for word in each_word(text, place)))


SITE_NAMES: Format[tuple[str, ...]] = Format("list of host names", _read_site_names, " ".join)


def words(of: str, pattern: str = r".+", example: str = "") -> Format[tuple[str, ...]]:
    """Return the format of a list of words that match *pattern*; *of* names them."""
    compiled = re.compile(pattern, re.ASCII)

    def read(text: str, place: Place) -> tuple[str, ...]:
        found = each_word(text, place)
        for word in found:
            if compiled.fullmatch(word) is None:
                raise Wrong(f"{word!r} is not valid here; write {of} such as {example}")
        return tuple(found)

    return Format(f"list of {of}", read, " ".join)


def _read_capabilities(text: str, place: Place) -> tuple[str, ...]:
    found = tuple(word.upper().removeprefix("CAP_") for word in each_word(text, place))
    for word in found:
        if wrong := bounds.refused_capability(word):
            raise Wrong(wrong)
    return found


CAPABILITIES: Format[tuple[str, ...]] = Format("list of capabilities", _read_capabilities, " ".join)


def absolute(text: str, base: str) -> str:
    """Return the absolute path that *text* means in a file of the folder *base*."""
    if text.startswith("~"):
        raise Wrong("'~' is not replaced by a home folder; write the whole path")
    if len(text) > 1 and text[0] in "'\"" and text[0] == text[-1]:
        raise Wrong(f"{text} would be a path with quotes in its name; write {text[1:-1]}")
    if " #" in text:
        raise Wrong("' #' begins no comment behind a value; write ' ;' before one")
    return os.path.normpath(os.path.join(base, text))


PATH: Format[str] = Format(
    "path", lambda text, place: absolute(one_line(text, place), place.base), same
)


def _read_inside(text: str, place: Place) -> str:
    line = one_line(text, place)
    if not line.startswith("/") or ".." in line.split("/"):
        raise Wrong(f"{line!r} must be an absolute path inside the container, such as /data")
    return os.path.normpath(line)


PATH_INSIDE: Format[str] = Format("path in the container", _read_inside, same)


def _read_below(text: str, place: Place) -> str:
    line = one_line(text, place).lstrip("/")
    if not line or ".." in line.split("/"):
        raise Wrong("must be the path of a file below the root, such as index.html")
    return os.path.normpath(line)


PATH_BELOW: Format[str] = Format("path below the root", _read_below, same)


def _read_globs(text: str, place: Place) -> tuple[str, ...]:
    return tuple(absolute(word, place.base) for word in each_word(text, place))


GLOBS: Format[tuple[str, ...]] = Format("list of paths, `*` allowed", _read_globs, " ".join)


_RAW_WORD = re.compile(r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\])+""", re.DOTALL)
"""A word as it is written, its quotes included."""
_OPERATOR = re.compile(r"\|\|?|&&?|(?:[0-9&]?>|<).*", re.DOTALL)
"""A word that would be an operator of a shell, had it no quotes."""


def _read_command(text: str, place: Place) -> tuple[str, ...]:
    try:
        # Filled in after it was split: a folder with a space in its name stays one word.
        command = tuple(place.fill(word) for word in shlex.split(text))
    except ValueError as error:
        raise Wrong(
            f"cannot be split into words: {str(error).lower()} "
            "(text behind ' ;' is a comment); close what was opened"
        ) from None
    if not command or not command[0]:
        raise Wrong("is empty; write a program and its arguments")
    if "\0" in "".join(command):
        raise Wrong("contains a zero byte; remove it")
    for found in _RAW_WORD.finditer(text):
        if _OPERATOR.fullmatch(found[0]):
            raise Wrong(
                f"no shell runs it, so {found[0]} would be one more argument; write sh -c '…' "
                "around all of it, or quotes around what is an argument"
            )
    return command


def _read_program(text: str, place: Place) -> tuple[str, ...]:
    command = _read_command(text, place)
    if "/" in command[0]:
        return (absolute(command[0], place.base), *command[1:])
    return command


COMMAND: Format[tuple[str, ...]] = Format("command", _read_command, shlex.join)
PROGRAM: Format[tuple[str, ...]] = Format("command", _read_program, shlex.join)


def _read_volumes(text: str, place: Place) -> tuple[str, ...]:
    # A folder's name may contain a colon only if nothing is to be guessed: it is refused.
    volumes = []
    for word in text.split():
        source, colon, rest = word.partition(":")
        target, _, mode = rest.partition(":")
        if not colon or not source or not target.startswith("/") or mode not in ("", "ro", "rw"):
            raise Wrong(f"{word!r} is not SOURCE:TARGET or SOURCE:TARGET:ro, such as /srv/a:/a:ro")
        source, target = (one_line(part, place) for part in (source, target))
        if "/" in source or source in (".", ".."):
            source = absolute(source, place.base)
        elif re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", source) is None:
            raise Wrong(f"{source!r} is neither a path nor the name of a volume")
        if ":" in source + target or ".." in target.split("/"):
            raise Wrong(f"{word!r}: no path of a volume may contain ':', its target no '..'")
        volumes.append(f"{source}:{target}" + (":ro" if mode == "ro" else ""))
    return tuple(volumes)


VOLUMES: Format[tuple[str, ...]] = Format("list of volumes", _read_volumes, " ".join)


_KEEP = tuple(field.name for field in fields(Keep))


def _read_keep(text: str, place: Place) -> Keep:
    found: dict[str, int] = {}
    said = [word.lower() for word in text.split()]
    if said == ["all"]:
        return Keep()
    for name, number in zip_longest(said[::2], said[1::2], fillvalue=""):
        if (
            name not in _KEEP
            or name in found
            or not re.fullmatch(r"[1-9]\d{0,4}", number, re.ASCII)
        ):
            raise Wrong(
                f"{' '.join((name, number)).strip()!r} is no part of such a rule; write `all`, or "
                f"each of {', '.join(_KEEP)} at most once, a number behind it, such as "
                "last 3 daily 7 weekly 4"
            )
        found[name] = int(number)
    return Keep(**found)


def _show_keep(keep: Keep) -> str:
    counts = [(name, getattr(keep, name)) for name in _KEEP]
    return " ".join(f"{name} {count}" for name, count in counts if count) or "all"


KEEP: Format[Keep] = Format("rule", _read_keep, _show_keep)


def health(*words: str) -> Format[str]:
    """Return the format of health checks: one of *words*, or a path."""

    def read(text: str, place: Place) -> str:
        line = one_line(text, place)
        if line.lower() in words:
            return line.lower()
        if re.fullmatch(r"/[!-~]*", line, re.ASCII) is None:
            raise Wrong(f"{line!r} is unknown; write {either([*words, 'a path such as /up'])}")
        return line

    return Format(either([*(f"`{word}`" for word in words), "a path"]), read, same)
