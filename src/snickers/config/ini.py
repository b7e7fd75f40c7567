"""The grammar of the INI text: sections and options, each knowing its line.

What is accepted is what ``configparser.RawConfigParser`` accepts with ``delimiters=("=",)``, the
comment prefixes ``#`` and ``;``, the inline comment prefix ``;`` and no interpolation; but every
fault of a text is found in one pass, not only the first. It must never raise for any text, and
never guess: a line that is not understood is a fault, and no part of any value.

Only ``=`` separates a name from its value. A colon is too frequent inside names and values
(``tcp:443``, ``http://…``) to be a second separator.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from attrs import field, frozen

from snickers.config.values import Fault, Where

CASED = ("env.", "header.")
"""Beginnings of option names whose rest keeps its case."""

_HEADER = re.compile(r"\[(?P<title>.+)\]")
_COMMENT = re.compile(r"(?:^|(?<=\s));")
_NOT_SPACE = re.compile(r"\S")


@frozen
class Option:
    """One ``name = value`` of a section."""

    name: str
    value: str
    """Continuation lines are joined by newlines, comments removed."""
    where: Where
    """The line of its name."""


def _read_only(options: Mapping[str, Option]) -> Mapping[str, Option]:
    return MappingProxyType(dict(options))


@frozen
class Section:
    """One ``[title]`` and what follows it."""

    title: str
    where: Where
    options: Mapping[str, Option] = field(converter=_read_only)
    faults: tuple[Fault, ...] = ()
    """The lines of it that were not understood, and a title that was used before."""


@frozen
class Text:
    """A text that was read: its sections in order, and what is wrong outside of them."""

    file: str
    sections: tuple[Section, ...]
    faults: tuple[Fault, ...] = ()
    """Text before the first section; the faults of sections are with the sections."""
    damaged: bool = False
    """Whether lines were not understood: one of them may have been a section's title."""


def option_name(written: str) -> str:
    """Return the name that *written* means: lower case, one space between words.

    What follows ``env.`` and ``header.`` keeps its case.
    """
    name = " ".join(written.split())
    for prefix in CASED:
        if name.lower().startswith(prefix):
            return prefix + name[len(prefix) :]
    return name.lower()


class _Gathering:
    """A section while its lines are being read."""

    def __init__(self, title: str, where: Where, earlier: Where | None) -> None:
        self.title = title
        self.where = where
        self.values: dict[str, tuple[Where, list[str]]] = {}
        self.faults: list[Fault] = []
        if earlier is not None:
            self.fault(
                where,
                "",
                f"this section is already at {earlier}; write everything in one of the two",
            )

    def fault(self, where: Where, option: str, message: str) -> None:
        self.faults.append(Fault(where, self.title, option, message))

    def line(self, where: Where, line: str) -> list[str] | None:
        """Take a line that should be an option; return the list its continuations go to."""
        written, delimiter, value = line.partition("=")
        written = written.rstrip()
        if line.startswith("["):
            title = line[1:].strip() or "alice.example"
            self.fault(where, "", f"a section's title ends with ']'; write [{_short(title)}]")
            return None
        if not delimiter:
            message = f"{_quoted(line)} is neither an option nor a section"
            if ":" in line:
                message += "; the name and the value are separated by '=', not by ':'"
            else:
                message += "; write NAME = VALUE, or indent it to continue the value above"
            self.fault(where, "", message)
            return None
        if not written:
            self.fault(where, "", "there is no name before the '='; write NAME = VALUE")
            return None
        name = option_name(written)
        lines = [value.strip()]
        if name in self.values:
            first = self.values[name][0]
            self.fault(where, name, f"already set at line {first.line}; keep one of the two")
        else:
            self.values[name] = (where, lines)
        return lines

    def section(self) -> Section:
        options = {
            name: Option(name, "\n".join(lines).rstrip(), where)
            for name, (where, lines) in self.values.items()
        }
        return Section(self.title, self.where, options, tuple(self.faults))


def _short(line: str) -> str:
    return line if len(line) <= 40 else line[:39] + "…"


def _quoted(line: str) -> str:
    return repr(_short(line))


def read(text: str, file: str, seen: Mapping[str, Where] = MappingProxyType({})) -> Text:
    """Read one file's *text*.

    *seen*: the titles of the files read before it; a title may appear once in all of them.
    """
    done: dict[str, Where] = dict(seen)
    gathered: list[_Gathering] = []
    outside: list[Fault] = []
    current: _Gathering | None = None
    value: list[str] | None = None
    indent = 0
    damaged = False
    untitled = False

    for number, line in enumerate(text.split("\n"), start=1):
        whole = line.strip()
        comment = None if whole.startswith("#") else _COMMENT.search(line)
        content = "" if whole.startswith(("#", ";")) else line[: comment and comment.start()]
        content = content.strip()
        if not content:
            # An empty line belongs to the value around it; a comment is simply not there.
            if value is not None and not whole:
                value.append("")
            continue
        first = _NOT_SPACE.search(line)
        column = first.start() if first else 0
        if value is not None and column > indent:
            value.append(content)
            continue
        indent = column
        where = Where(file, number)
        header = _HEADER.match(content)
        if header:
            title = header["title"]
            current = _Gathering(title, where, done.get(title))
            done.setdefault(title, where)
            gathered.append(current)
            value = None
            untitled = False
        elif untitled:
            # What follows a title that is not one belongs to nobody, and was told with it.
            value = None
        elif current is None:
            damaged = True
            if not outside:
                message = (
                    f"{_quoted(content)} stands before the first section; "
                    "begin with a section such as [snickers] or [alice.example]"
                )
                outside.append(Fault(where, "", "", message))
        else:
            value = current.line(where, content)
            untitled = content.startswith("[")
            damaged = damaged or value is None
    return Text(file, tuple(g.section() for g in gathered), tuple(outside), damaged)
