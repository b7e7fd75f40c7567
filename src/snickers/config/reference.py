"""The reference of all options as Markdown, for ``docs/configuration.md``.

It is made from the table of options alone, so that the page and the program cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator

from snickers.config.formats import either
from snickers.config.option import ANSWERING_TYPES, LATER_TYPES, SETTINGS, TYPES, Option
from snickers.config.options import OPTIONS

_LATER = "Not available yet."


def reference() -> str:
    """Return the text; it ends with a newline."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    served = tuple(kind for kind in TYPES if kind in ("container", "process", "proxy"))
    personal = ("container", "process")
    yield from _group("`[snickers]`", (SETTINGS,))
    yield from _group("Every site", TYPES)
    yield from _group(f"Sites of the types {_types(ANSWERING_TYPES)}", ANSWERING_TYPES)
    yield from _group(f"Sites of the types {_types(served)}", served)
    yield from _group(f"Sites of the types {_types(personal)}", personal)
    for kind in TYPES:
        yield from _group(f"Sites of the type `{kind}`", (kind,), kind in LATER_TYPES)


def _types(kinds: tuple[str, ...]) -> str:
    return either([f"`{kind}`" for kind in kinds]).replace(" or ", " and ")


def _group(title: str, scopes: tuple[str, ...], later: bool = False) -> Iterator[str]:
    yield f"### {title}"
    yield ""
    if later:
        yield f"{_LATER} These will be its options."
        yield ""
    for option in OPTIONS:
        if option.scopes == scopes:
            yield from _entry(option)
            yield ""


def _entry(option: Option) -> Iterator[str]:
    example = option.example if option.prefix else f"{option.name} = {option.example}"
    if option.default is None:
        default = "must be given"
    else:
        default = f"default: `{option.default}`" if option.default else "default: empty"
    yield f"**`{option.name}`** ({option.format.words}; {default})  "
    yield option.doc + (f" {_LATER}" if option.later else "") + "  "
    yield f"Example: `{example}`"
