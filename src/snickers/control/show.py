"""Turns the control socket's answers into lines for people.

Pure: what comes in is an answer as it was decoded and the time; what goes out is text. It must
never fail on an answer of another version of Snickers, which may lack a key or have a new one,
and never let a control character through: names and details come from containers too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

Answer = Mapping[str, Any]

SOON = 14
"""Days: a certificate that lasts no longer is shown in yellow; whatever renews it is late."""

IDLE = "waiting"
"""What is going on with a certificate of which nothing is to be done yet."""

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}

_STATES = {
    "green": {"ready", "awake", "running", "serving", "open"},
    "yellow": {
        "checking",
        "copying",
        "draining",
        "pausing",
        "paused",
        "replacing",
        "restarting",
        "resuming",
        "reverting",
        "snapshotting",
        "starting",
        "stopping",
        "waking",
    },
    "red": {"away", "broken", "crashed", "failed", "lost", "unreachable"},
    "dim": {"asleep", "sleeping", "resting", "stopped", "disabled"},
}
_COLOUR_OF = {state: colour for colour, states in _STATES.items() for state in states}

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@frozen
class Style:
    """How text may look."""

    colour: bool = False

    def paint(self, text: str, colour: str) -> str:
        """Return *text* in *colour*; an unknown or empty one leaves it as it is."""
        code = _COLOURS.get(colour)
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code and text else text


PLAIN = Style()


# Small things


def _bytes(value: object) -> str:
    size = _real(value)
    if size is None:
        return "-"
    units = iter("BKMG")
    unit = next(units)
    while size >= 1000 and unit != "T":
        size /= 1000
        unit = next(units, "T")
    return f"{size:.1f}{unit}" if size < 9.95 and unit != "B" else f"{size:.0f}{unit}"


def clean(value: object) -> str:
    """Return *value* as text whose control characters are visible, not obeyed."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], str(value))


def span(seconds: object) -> str:
    """Return a length of time as a person says it: ``45s``, ``12m``, ``3h``, ``5d``."""
    length = _real(seconds)
    if length is None:
        return "-"
    left = max(0.0, length)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        # Two of a unit before it is used: 90 minutes say more than 1 hour.
        if left >= 2 * size:
            return f"{left / size:.0f}{unit}" if left < 1e9 else "never"
    return f"{left:.0f}s"


def _real(value: object) -> float | None:
    """Return *value* as a number that can be counted with, infinity included, or ``None``."""
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def option(value: object) -> str:
    """Return an option's value as it could stand in the configuration."""
    match value:
        case None | "":
            return "(none)"
        case bool():
            return "on" if value else "off"
        case float() if value.is_integer():
            return str(int(value))
        case list() | tuple():
            return " ".join(option(item) for item in value) or "(none)"
        case Mapping():
            return " ".join(f"{clean(key)}={option(item)}" for key, item in value.items())
    return clean(value)


def counted(number: int, noun: str) -> str:
    """Return ``1 site`` or ``2 sites``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def table(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """Return *rows* as lines of aligned columns; those whose index is in *right* end aligned.

    What a cell looks like may be longer than it is wide: escape sequences take no room.
    """
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - _width(cell))
            cells.append(space + cell if index in right else cell + space)
        lines.append("  ".join(cells).rstrip())
    return lines


def _width(cell: str) -> int:
    return len(re.sub("\x1b\\[[0-9;]*m", "", cell))


def _list(answer: Answer, key: str) -> list[Any]:
    found = answer.get(key)
    return list(found) if isinstance(found, list | tuple) else []


def _entries(answer: Answer, key: str) -> list[Answer]:
    return [entry for entry in _list(answer, key) if isinstance(entry, Mapping)]


def _number(entry: Answer, key: str) -> str:
    found = entry.get(key)
    return "-" if found is None else clean(found)


def painted_state(state: object, style: Style) -> str:
    """Return a site's or server's state, in its colour."""
    text = clean(state) if state else "-"
    return style.paint(text, _COLOUR_OF.get(text, ""))


def _certificate(days: object, style: Style) -> str:
    left = _real(days)
    if left is None:
        return "-"
    if left <= 0:
        return style.paint("expired", "red")
    # Rounded down: "0d" on the last day is true, "1d" would be hope.
    return style.paint(f"{left // 1:.0f}d", "yellow" if left < SOON else "")


def since(entry: Answer, now: float) -> str:
    """Return how long it has been so, as a person says it."""
    moment = _real(entry.get("since"))
    return span(now - moment) if moment else "-"


# status


def status(answer: Answer, now: float, style: Style = PLAIN) -> list[str]:
    """Return the whole status: a line about Snickers, a line a site, then what is wrong.

    *now*: seconds since the epoch.
    """
    lines = [about(answer, now), ""]
    sites = _entries(answer, "sites")
    if sites:
        heads = ("SITE", "STATE", "RUNS AS", "SINCE", "REQUESTS", "CONNECTIONS", "CERTIFICATE")
        rows = [[style.paint(head, "dim") for head in (*heads, "DETAIL")]]
        rows += [_site_row(site, now, style) for site in sites]
        lines += table(rows, right=frozenset({3, 4, 5, 6}))
    else:
        lines.append("no sites")
    return lines + _wrongs(answer, now, style)


def about(answer: Answer, now: float) -> str:
    """Return the line about Snickers itself."""
    parts = [f"Snickers {clean(answer['version'])}" if answer.get("version") else "Snickers"]
    if answer.get("pid"):
        parts.append(f"pid {clean(answer['pid'])}")
    workers = _list(answer, "workers")
    if workers:
        parts.append(f"{len(workers) + 1} processes")
    if answer.get("since"):
        parts.append(f"up {since(answer, now)}")
    if answer.get("config"):
        parts.append(clean(answer["config"]))
    if answer.get("standing_by"):
        parts.append("stands by: nobody is let in until SIGUSR2")
    return ", ".join(parts)


def _site_row(site: Answer, now: float, style: Style) -> list[str]:
    return [
        clean(site.get("site", "-")),
        painted_state(site.get("state"), style),
        _container(site),
        since(site, now),
        _number(site, "requests"),
        _number(site, "connections"),
        _certificate(site.get("certificate_days"), style),
        clean(site.get("detail") or site.get("notice") or _certificate_words(site)),
    ]


def _certificate_words(site: Answer) -> str:
    """Return what is going on with a site's certificate, if anything is."""
    step = site.get("certificate_step")
    if step and step != IDLE:
        return f"certificate: {step}"
    held = site.get("certificate")
    source = str(held.get("source", "")) if isinstance(held, Mapping) else ""
    # What stands in for another one says so in brackets.
    return f"certificate: {source}" if "(" in source else ""


def _container(site: Answer) -> str:
    """Return what runs: as much of a container's id as Docker's own lists show, or a pid."""
    found = clean(site.get("id") or "")
    return "-" if not found else f"pid {found}" if site.get("kind") == "process" else found[:12]


def _wrongs(answer: Answer, now: float, style: Style) -> list[str]:
    lines: list[str] = []
    # A fault that leaves a site as it was is an alarm, too: once is enough.
    told = {line for entry in _entries(answer, "alarms") for line in _message(entry)}
    for title, key, say in (("alarms", "alarms", alarm), ("faults", "faults", fault)):
        found = [line for entry in _list(answer, key) for line in say(entry)]
        if key == "faults":
            found = [line for line in found if line not in told]
        if found:
            lines += ["", style.paint(f"{title}:", "red")]
            lines += [f"  {line}" for line in found]
    return lines


def _message(entry: Answer) -> list[str]:
    return clean_lines(entry.get("message") or "")


def alarm(entry: object) -> list[str]:
    """Return an alarm's lines: its site or kind, and what it says."""
    if not isinstance(entry, Mapping):
        return clean_lines(entry)
    about = [clean(entry[key]) for key in ("site", "kind") if entry.get(key)]
    first, *more = _message(entry)
    return [": ".join([*about, first]), *(f"  {line}" for line in more)]


def fault(entry: object) -> list[str]:
    """Return a fault's line, ``FILE:LINE: [section] option: message``."""
    if not isinstance(entry, Mapping):
        return clean_lines(entry)
    section = f"[{entry['section']}] " if entry.get("section") else ""
    name = f"{entry['option']}: " if entry.get("option") else ""
    place = f"{entry.get('file', '?')}:{entry.get('line', '?')}"
    return [clean(f"{place}: {section}{name}{entry.get('message', '')}")]


def clean_lines(value: object) -> list[str]:
    """Return *value*'s lines, each `clean`; at least one."""
    return [clean(line) for line in str(value).split("\n")]


_NOTHING = "nothing has changed since the files were read last"
"""Often they have been read, and what was new applied, before anybody asked."""
_DETAILS = (
    ("kind", "type"),
    ("also", "also"),
    ("state", "state"),
    ("since", "since"),
    ("detail", "detail"),
    ("notice", "to know"),
    ("id", "server"),
    ("declared_image", "image"),
    ("image", "made from"),
    ("pinned", "pinned to"),
    ("requests", "requests"),
    ("connections", "connections"),
    ("uses", "in use by"),
    ("waiting", "waiting"),
)
_DETAILS_ELSEWHERE = {
    "site",
    "certificate",
    "certificate_days",
    "certificate_step",
    "life",
    "last_words",
}


def site(answer: Answer, now: float, style: Style = PLAIN) -> list[str]:
    """Return one site in detail, a line each; what this version does not know comes last."""
    rows: list[list[str]] = []
    for key, label in _DETAILS:
        found = answer.get(key)
        if found is None or found in ("", []):
            continue
        if key == "declared_image" and answer.get("pinned"):
            label = "in the file"
        match key:
            case "state":
                text = painted_state(found, style)
            case "since":
                text = f"{since(answer, now)} ago"
            case _:
                text = option(found)
        rows.append([label, text])
    rows += _certificate_rows(answer, now, style)
    known = {key for key, _ in _DETAILS} | _DETAILS_ELSEWHERE
    rows += [
        [clean(key), option(found)]
        for key, found in answer.items()
        if key not in known and found not in (None, "", [], {})
    ]
    head = style.paint(clean(answer.get("site", "-")), "bold")
    lines = [head, *(f"  {line}" for line in table(rows))] if rows else [head]
    if answer.get("last_words"):
        lines.append("  what the server that failed wrote last:")
        lines += [f"    {line}" for line in clean_lines(answer["last_words"])]
    return lines


def copies(answer: Answer, now: float, style: Style = PLAIN) -> list[str]:
    """Return a line for each copy of a site's own folder, the oldest first."""
    entries = _entries(answer, "copies")
    if not entries:
        site = clean(answer.get("site", ""))
        return [f"there is no copy yet; make one with: snickers snapshot {site}"]
    rows = [[style.paint(head, "dim") for head in ("COPY", "AGE", "SIZE", "WHY")]]
    for entry in entries:
        begun = _real(entry.get("time"))
        rows.append(
            [
                clean(entry.get("id", "?")),
                span(None if begun is None else now - begun),
                _bytes(entry.get("size")),
                clean(entry.get("why", "")),
            ]
        )
    return table(rows, right=frozenset({1, 2}))


def _certificate_rows(answer: Answer, now: float, style: Style) -> list[list[str]]:
    days = answer.get("certificate_days")
    held = answer.get("certificate")
    certificate = held if isinstance(held, Mapping) else {}
    said = []
    if days is not None:
        said.append(f"{_certificate(days, style)} left".replace("expired left", "expired"))
    if certificate.get("source"):
        said.append(f"from {clean(certificate['source'])}")
    if certificate.get("issuer"):
        said.append(f"signed by {clean(certificate['issuer'])}")
    if certificate.get("names"):
        said.append(f"for {option(certificate['names'])}")
    if certificate.get("fault"):
        said.append(style.paint(clean(certificate["fault"]), "red"))
    step = answer.get("certificate_step")
    if step and step != IDLE:
        said.append(style.paint(clean(step), "yellow"))
    return [["certificate", ", ".join(said)]] if said else []


# certs


def certificates(answer: Answer, now: float, style: Style = PLAIN) -> list[str]:
    """Return a line for each site's certificate, and what is wrong with it below."""
    entries = _entries(answer, "certificates")
    if not entries:
        return ["no sites"]
    heads = ("SITE", "ALSO", "FROM", "SIGNED BY", "LEFT", "NEXT", "NOW")
    rows = [[style.paint(head, "dim") for head in heads]]
    rows += [_certificate_row(entry, now, style) for entry in entries]
    lines = table(rows, right=frozenset({4, 5}))
    wrongs = [
        f"  {clean(entry.get('site', '?'))}: {clean(entry['fault'])}"
        for entry in entries
        if entry.get("fault")
    ]
    return [*lines, "", style.paint("what is wrong:", "red"), *wrongs] if wrongs else lines


def _certificate_row(entry: Answer, now: float, style: Style) -> list[str]:
    also = [clean(name) for name in _list(entry, "names") if name != entry.get("site")]
    more = [f"+{len(also) - 2}"] if len(also) > 2 else []
    following = _real(entry.get("next"))
    due = "-" if following is None else "now" if following <= now else span(following - now)
    doing = clean(entry.get("step") or "")
    if not entry.get("source") and not doing:
        doing = "not asked for yet"
    return [
        clean(entry.get("site", "?")),
        " ".join(also[:2] + more) or "-",
        clean(entry.get("source") or entry.get("wanted") or "-"),
        clean(entry.get("issuer") or "-"),
        _certificate(entry.get("days"), style),
        due,
        doing,
    ]


def imported(host: str, answer: Answer, style: Style = PLAIN) -> list[str]:
    """Return what became of a certificate that was to be imported."""
    lines = [style.paint(clean(note), "yellow") for note in _list(answer, "notes")]
    if not answer.get("folder"):
        return lines
    names = ", ".join(clean(name) for name in _list(answer, "names"))
    lines.append(
        f"{clean(host)}: the certificate for {names}, signed by "
        f"{clean(answer.get('issuer') or '?')}, is in {clean(answer['folder'])}"
    )
    if answer.get("advice"):
        lines.append(clean(answer["advice"]))
    return lines


# plan and reload


def difference(answer: Answer, done: bool, style: Style = PLAIN) -> list[str]:
    """Return what a reload would change, or with *done* has changed, site by site."""
    lines: list[str] = []
    closes = 0
    entries = 0
    for key, sign, colour in (("added", "+", "green"), ("changed", "~", "yellow")):
        for entry in _entries(answer, key):
            entries += 1
            closes += _closing(entry)
            lines.append(style.paint(_changed_head(sign, entry, done), colour))
            lines += _changed_options(entry)
    for entry in _entries(answer, "removed"):
        entries += 1
        closes += _closing(entry)
        lines.append(style.paint(_changed_head("-", entry, done), "red"))
    settings = _list(answer, "settings")
    if settings:
        lines.append(style.paint("~ [snickers]", "yellow"))
        lines += [f"    {_setting(entry)}" for entry in settings]
    if not lines and answer.get("faults"):
        # What is wrong is what there is to say.
        return []
    if not lines:
        before = answer.get("before") if done else None
        if isinstance(before, Mapping):
            head = f"what differs was applied {span(before.get('seconds'))} ago:"
            return [head, *difference({**before, "faults": (), "before": None}, done, style)]
        return [_NOTHING if done else "nothing would change"]
    return [*lines, "", _summary(entries, closes, done)]


def _changed_head(sign: str, entry: Answer, done: bool) -> str:
    kind = f" ({clean(entry['kind'])})" if entry.get("kind") else ""
    number = _closing(entry)
    will = "closed" if done else "closes"
    closing = f": {will} {counted(number, 'connection')}" if number else ""
    return f"{sign} {clean(entry.get('site', '?'))}{kind}{closing}"


def _changed_options(entry: Answer) -> Iterable[str]:
    options = entry.get("options")
    if not isinstance(options, Mapping):
        return
    for name, change in options.items():
        yield f"    {_change(name, change)}"


def _change(name: object, change: object) -> str:
    match change:
        case [old, new]:
            return f"{clean(name)}: {option(old)} → {option(new)}"
    return f"{clean(name)}: {option(change)}"


def _setting(entry: object) -> str:
    if not isinstance(entry, Mapping):
        return clean(entry)
    line = _change(entry.get("option", "?"), [entry.get("old"), entry.get("new")])
    return f"{line} (only after a restart of Snickers)" if entry.get("needs_restart") else line


def _closing(entry: Answer) -> int:
    found = entry.get("closes")
    return found if isinstance(found, int) else 0


def _summary(entries: int, closes: int, done: bool) -> str:
    sites = counted(entries, "site")
    connections = counted(closes, "connection") if closes else "no connection"
    if done:
        return f"{sites} changed, {connections} closed"
    return f"{sites} would change, {connections} would be closed"
