"""The pages Snickers itself shows to visitors: errors, a folder's list; what all of them share.

Pure: every page is bytes and header fields, made from numbers and words of our own. A page must
never tell anything of the inside (addresses, paths, programs, other sites), never load anything
from elsewhere, never be stored by a cache, and never contain a byte of somebody else that was not
escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from time import gmtime, strftime
from urllib.parse import quote_from_bytes

from attrs import frozen

from snickers.interfaces.exchange import Fields, IExchange

_STYLE = (
    ":root{color-scheme:light dark;--ink:#1c2024;--paper:#fff;--soft:#59636e;--link:#0550ae}"
    "@media(prefers-color-scheme:dark)"
    "{:root{--ink:#e8eaed;--paper:#15181c;--soft:#9da7b1;--link:#79b8ff}}"
    "body{margin:0;background:var(--paper);color:var(--ink);"
    "font:1.0625rem/1.6 system-ui,sans-serif}"
    "main{max-width:38rem;margin:0 auto;padding:12vh 1.5rem 3rem}"
    "main.wide{max-width:60rem;padding-top:2rem}"
    "h1{font-size:1.6rem;line-height:1.25;margin:0 0 .75rem;overflow-wrap:anywhere}"
    "p{margin:0 0 1rem}small,.soft{color:var(--soft)}a{color:var(--link)}"
    "table{border-collapse:collapse;width:100%}th{font-weight:600}"
    "th,td{padding:.3rem 1rem .3rem 0;text-align:start;overflow-wrap:anywhere}"
    ".number{text-align:end;white-space:nowrap;font-variant-numeric:tabular-nums}"
    "progress{width:min(75%,20rem);height:.75rem;accent-color:var(--link)}[hidden]{display:none}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
STYLE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"
)
"""What a page may load: the style that is in it."""
_POLICY = STYLE_POLICY.encode()
_COMMON: tuple[tuple[bytes, bytes], ...] = (
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
)
_MEDIA = {
    "html": b"text/html; charset=utf-8",
    "json": b"application/json",
    "text": b"text/plain; charset=utf-8",
}

MAX_ACCEPT = 1024
"""Bytes of an Accept field that are looked at: browsers' are a seventh of it."""

_AGAIN = "Please try again in a moment."
_OWNER = "If this goes on, tell the site's owner."

_WORDS: dict[tuple[int, str], tuple[str, str, int | None]] = {
    # (status, kind): title, text, seconds of Retry-After unless the caller knows better.
    (400, ""): ("Bad request", "The request could not be understood.", None),
    (400, "plain"): (
        "Bad request",
        "This is the door for https, but the request came as plain http. "
        "Begin the address with https://.",
        None,
    ),
    (401, ""): (
        "Password needed",
        "This site is for those who have a name and a password for it.",
        None,
    ),
    (403, ""): ("No entry", "You may not see this page.", None),
    (404, ""): (
        "Not found",
        "There is nothing at this address. It may have moved, or the link was mistyped.",
        None,
    ),
    (405, ""): ("Not possible here", "This address cannot be used in that way.", None),
    (408, ""): ("Too slow", "The request took too long to arrive. Please try again.", None),
    (412, ""): ("It has changed", "This was changed in the meantime.", None),
    (413, ""): ("Too large", "What was sent is larger than this site takes.", None),
    (414, ""): ("Address too long", "The address of this page is too long.", None),
    (416, ""): ("No such part", "The part that was asked for does not exist.", None),
    (421, ""): (
        "Wrong door",
        "The request reached this site by a connection to another one. Reloading the page helps.",
        None,
    ),
    (426, ""): ("Upgrade required", "This address speaks another version.", None),
    (429, ""): ("Too many requests", "Too much came from you at once. " + _AGAIN, 10),
    (431, ""): (
        "Request too large",
        "The browser sent more than is taken. Deleting this site's cookies may help.",
        None,
    ),
    (500, ""): ("Something went wrong", "The mistake is ours. " + _AGAIN, None),
    (501, ""): ("Not supported", "The request asks for something that is not supported.", None),
    (502, ""): ("Site cannot be reached", "The site's server cannot be reached. " + _AGAIN, 5),
    (502, "answer"): (
        "No proper answer",
        "The site's server gave an answer that could not be understood. " + _OWNER,
        None,
    ),
    (503, ""): ("Not available", "The site is not available at the moment. " + _AGAIN, 10),
    (503, "crashed"): (
        "The site has stopped",
        "The site's server ended unexpectedly, or could not be started, and is being looked after. "
        + _AGAIN,
        10,
    ),
    (503, "resting"): (
        "The site is resting",
        "The site is switched off for now. It comes back when its owner wakes it.",
        None,
    ),
    (503, "away"): (
        "Not available",
        "The site cannot be started at the moment. " + _AGAIN,
        30,
    ),
    (503, "asleep"): (
        "The site is asleep",
        "The site's server is asleep, and is not woken for this. Visitors wake it.",
        None,
    ),
    (503, "stopping"): ("Back in a moment", "This server is restarting. " + _AGAIN, 5),
    (503, "broken"): (
        "Not set up properly",
        "Something in the settings of this site has to be put right by its owner.",
        60,
    ),
    (503, "disabled"): ("Switched off", "The site was switched off by its owner.", None),
    (503, "busy"): ("Very busy", "Too many visitors are here at once. " + _AGAIN, 5),
    (504, ""): ("No answer", "The site took too long to answer. " + _AGAIN, None),
    (504, "slow"): (
        "Still waking up",
        "The site takes longer than usual to wake up. " + _AGAIN,
        5,
    ),
}
_WORDS[502, "unreachable"] = _WORDS[502, ""]


def negotiate(accept: bytes | None) -> str:
    """Return the form, ``"html"``, ``"json"`` or ``"text"``, for an Accept field (RFC 9110
    §12.5.1).

    JSON only for who names it and likes it better than html, html for all others who take it;
    who takes neither gets plain text, since an error in a form not asked for beats a 406.
    """
    if accept is None or accept == b"*/*":
        return "html"
    if len(accept) > MAX_ACCEPT:
        accept = accept[:MAX_ACCEPT].rpartition(b",")[0]
    return _negotiated(accept)


@lru_cache(maxsize=256)
def _negotiated(accept: bytes) -> str:
    likes: dict[bytes, float] = {}
    for item in accept.lower().split(b","):
        media, *parameters = (part.strip() for part in item.split(b";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith(b"q="):
                try:
                    quality = min(max(float(parameter[2:]), 0.0), 1.0)
                except ValueError:
                    quality = 0.0
        likes[media] = max(quality, likes.get(media, 0.0))
    rest = likes.get(b"*/*", 0.0)
    json_named = max(likes.get(b"application/json", 0.0), likes.get(b"application/problem+json", 0))
    html_named = max(likes.get(b"text/html", 0.0), likes.get(b"application/xhtml+xml", 0.0))
    if json_named > html_named:
        return "json"
    html = html_named if b"text/html" in likes else max(html_named, likes.get(b"text/*", rest))
    return "html" if html > 0 else "text"


def error_page(
    status: int, kind: str, retry_after: int | None, form: str = "html"
) -> tuple[Fields, bytes]:
    """Return the header fields and the body that tell a visitor of *status*.

    *kind* says more, as `snickers.interfaces.leases.Refusal.kind` does, or ``"broken"``,
    ``"disabled"``, ``"busy"`` (503), ``"answer"`` (502), ``"plain"`` (400: http on the https port);
    one that is not known here counts as none. *retry_after*: seconds, ``None`` for what *kind*
    suggests. *form* is what `negotiate` returned. The list is the caller's own.
    """
    if (status, kind) not in _WORDS:
        kind = ""
    fields, body = _error(status, kind, retry_after, form)
    return list(fields), body


@lru_cache(maxsize=512)
def _error(
    status: int, kind: str, retry_after: int | None, form: str
) -> tuple[tuple[tuple[bytes, bytes], ...], bytes]:
    words = _WORDS.get((status, kind))
    if words is None:
        words = _WORDS[400 if status < 500 else 500, ""]
    title, text, suggested = words
    seconds = suggested if retry_after is None else max(0, retry_after)
    if form == "json":
        told: dict[str, object] = {"status": status, "title": title, "detail": text}
        if seconds is not None:
            told["retry_after"] = seconds
        body = json.dumps(told).encode() + b"\n"
    elif form == "text":
        body = f"{status} {title}\n\n{text}\n".encode()
    else:
        form = "html"
        body = html_page(
            title,
            f"<main><h1>{escape(title)}</h1><p>{escape(text)}</p>"
            f"<p><small>Error {status}</small></p></main>",
        )
    fields = no_store(form)
    if seconds is not None:
        fields.append((b"Retry-After", b"%d" % seconds))
    return tuple(fields), body


def answer_error(
    exchange: IExchange,
    status: int,
    kind: str = "",
    retry_after: int | None = None,
    extra: Fields | None = None,
) -> None:
    """End *exchange* with the error page that its client can read (see `error_page`).

    *extra*: fields that go with the status, such as ``Allow`` with 405.
    """
    form = negotiate(exchange.request.get(b"accept"))
    fields, body = error_page(status, kind, retry_after, form)
    if extra:
        fields += extra
    exchange.answer(status, fields, len(body), body, True)


@frozen
class Listed:
    """One line of a folder's list."""

    name: bytes
    """UTF-8."""
    folder: bool
    size: int = 0
    """Bytes."""
    modified: float = 0.0
    """Seconds since the epoch."""


def listing_page(
    segments: Sequence[bytes], entries: Sequence[Listed], complete: bool = True
) -> tuple[Fields, bytes]:
    """Return fields and body of the list of a folder: folders first, then by name.

    *segments*: the decoded names of the path below the site's root. *complete*: whether
    *entries* are all there are.
    """
    place = "/" + "".join(_shown(segment) + "/" for segment in segments)
    rows = []
    if segments:
        rows.append('<tr><td><a href="../">One up</a></td><td></td><td></td></tr>')
    for entry in sorted(entries, key=_listing_order):
        # "./" keeps a name with a colon from being read as a scheme.
        link = "./" + quote_from_bytes(entry.name, safe="")
        mark = ""
        size = ""
        if entry.folder:
            link += "/"
            mark = "/"
        else:
            size = _amount(entry.size)
        when = strftime("%Y-%m-%d %H:%M", gmtime(entry.modified))
        rows.append(
            f'<tr><td><a href="{link}"><bdi>{escape(_shown(entry.name))}</bdi>{mark}</a></td>'
            f'<td class="number">{size}</td>'
            f'<td class="number"><time datetime="{when.replace(" ", "T")}Z">{when}</time></td></tr>'
        )
    more = "" if complete else '<p class="soft">There is more than is shown here.</p>'
    title = f"Files in {place}"
    body = html_page(
        title,
        f'<main class="wide"><h1>Files in <bdi>{escape(place)}</bdi></h1><table>'
        '<thead><tr><th scope="col">Name</th><th scope="col" class="number">Size</th>'
        '<th scope="col" class="number">Changed (UTC)</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>{more}</main>",
    )
    return no_store("html"), body


def _listing_order(entry: Listed) -> tuple[bool, str, bytes]:
    return (not entry.folder, _shown(entry.name).casefold(), entry.name)


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _amount(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    amount = size / 1000
    units = iter(("kB", "MB", "GB"))
    while amount >= 999.95:
        unit = next(units, None)
        if unit is None:
            return f"{amount:.1f} TB"
        amount /= 1000
    return f"{amount:.1f} {next(units, 'TB')}"


def words_for(status: int, kind: str) -> tuple[str, str, int | None]:
    """Return the title and the text of the error page (see `error_page`), and the seconds after
    which to ask again."""
    return _WORDS[status, kind]


def no_store(form: str, policy: bytes | None = None) -> Fields:
    """Return the fields of a page in the form that `negotiate` names, which is never stored.

    *policy*: what html may load; ``None``: its style alone.
    """
    fields = [(b"Content-Type", _MEDIA[form]), *_COMMON]
    if form == "html":
        fields.append((b"Content-Security-Policy", policy or _POLICY))
    return fields


def html_page(title: str, content: str, head: str = "") -> bytes:
    """Return a whole page; *content* and *head* are html."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="robots" content="noindex">{head}'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>{content}</body></html>\n"
    ).encode()
