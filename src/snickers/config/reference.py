"""The reference of all options as Markdown, for ``docs/configuration.md``.

It is made from the table of options alone, so that the page and the program cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from snickers.config.formats import either
from snickers.config.option import LATER_TYPES, SETTINGS, TYPES, Option
from snickers.config.options import OPTIONS

_LATER = "Not available yet."


def reference() -> str:
    """Return the text; it ends with a newline."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield from _group("`[snickers]`", lambda option: option.scopes == (SETTINGS,))
    yield from _group("Every site", lambda option: option.scopes == TYPES)
    yield from _group(
        f"Types {_types(('container', 'process', 'proxy'))}",
        lambda option: option.scopes == ("container", "process", "proxy"),
    )
    yield from _group(
        f"Types {_types(('container', 'process'))}",
        lambda option: option.scopes == ("container", "process"),
    )
    for kind in TYPES:
        yield from _group(f"Type `{kind}`", lambda option, kind=kind: option.scopes == (kind,))


def _types(kinds: tuple[str, ...]) -> str:
    return either([f"`{kind}`" for kind in kinds]).replace(" or ", " and ")


def _group(title: str, belongs: Callable[[Option], bool]) -> Iterator[str]:
    yield f"### {title}"
    yield ""
    if title in [f"Type `{kind}`" for kind in LATER_TYPES]:
        yield f"{_LATER} It will have these options."
        yield ""
    for option in OPTIONS:
        if belongs(option):
            yield from _entry(option)
            yield ""


def _entry(option: Option) -> Iterator[str]:
    example = option.example
    if not option.prefix:
        example = f"{option.name} = {example}"
    yield f"**`{option.name}`**: {_capital(option.doc)}"
    if option.later:
        yield _LATER
    yield ""
    yield f"- value: {option.format.words}"
    if option.default is None:
        yield "- default: none, it must be given"
    else:
        yield f"- default: {f'`{option.default}`' if option.default else 'empty'}"
    yield f"- example: `{example}`"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
