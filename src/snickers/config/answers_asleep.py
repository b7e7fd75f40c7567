"""``answers asleep``: what is said for a site while its own server sleeps.

The lines are read here, and the files they name, which are kept in memory from then on: an answer
must cost nothing that could wait, so there is a limit to what one may be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from attrs import evolve

from snickers.config.formats import Format, Place, absolute, either, one_line
from snickers.config.values import Asleep
from snickers.config.wrong import Wrong

MOST_LINES = 64
"""Paths of one site: what asks again and again is a monitor or a robot, and there are few kinds."""
MOST_CONTENT = 256 * 1024
"""Bytes of one file: for a ``robots.txt``, an icon, a small page."""
STATUSES = (200, 204, 403, 404, 410, 429, 503)
"""Those that are whole without fields that only the owner could know."""

ReadContent = Callable[[str, int], bytes]
"""Returns what is in a file, so many bytes at the most; raises `Wrong` in words."""

# RFC 3986 §3.3; what a browser sends, so that it can be compared as it is.
_PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*", re.ASCII)


def _read_answers(text: str, place: Place) -> tuple[Asleep, ...]:
    found: dict[str, Asleep] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        path, *rest = line.split(maxsplit=1)
        path, what = one_line(path, place), rest[0].strip() if rest else ""
        if "?" in path:
            raise Wrong(f"{path!r}: queries do not matter; write {path.partition('?')[0]}")
        if _PATH.fullmatch(path) is None:
            raise Wrong(
                f"{path!r} is not a path of the site; write one such as /robots.txt, as browsers "
                "send it (percent-encoded)"
            )
        if not what:
            raise Wrong(
                f"{path} has no answer; write a file or a status behind it, such as {path} 503"
            )
        if path in found:
            raise Wrong(f"{path} is listed twice; keep one of the two lines")
        found[path] = _answer(path, what, place)
    if len(found) > MOST_LINES:
        raise Wrong(f"lists {len(found)} paths; {MOST_LINES} are the most")
    return tuple(found.values())


def _answer(path: str, what: str, place: Place) -> Asleep:
    if re.fullmatch(r"[+-]?\d+", what) is None:
        return Asleep(path, 200, absolute(one_line(what, place), place.base))
    if what not in map(str, STATUSES):
        raise Wrong(f"{path}: {what!r} cannot be the status; write {either(map(str, STATUSES))}")
    return Asleep(path, int(what))


def _show_answers(answers: Sequence[Asleep]) -> str:
    return "\n".join(f"{one.path} {one.file or one.status}" for one in answers)


ANSWERS: Format[tuple[Asleep, ...]] = Format(
    "lines of `PATH FILE` or `PATH STATUS`", _read_answers, _show_answers
)


class Contents:
    """What is in the files, each read once however many sites name it."""

    def __init__(self, read: ReadContent) -> None:
        self._read = read
        self._known: dict[str, bytes | str] = {}

    def fill(self, answer: Asleep) -> Asleep:
        """Return *answer* with what is in its file; raises `Wrong` in words."""
        if not answer.file:
            return answer
        known = self._known.get(answer.file)
        if known is None:
            try:
                known = self._read(answer.file, MOST_CONTENT)
            except Wrong as wrong:
                known = str(wrong)
            self._known[answer.file] = known
        if isinstance(known, str):
            raise Wrong(known)
        return evolve(answer, content=known)
