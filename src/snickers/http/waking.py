"""The page that a visitor sees while a server wakes, and what its script is told.

The page says how far the server is, and opens what was asked for by itself: with its script, which
asks `LOOK` until the server answers and then loads the same address again; without scripts by
loading it again every few seconds. To look is no use of the server: it wakes nothing and keeps
nothing awake, so a page that was left open cannot undo that somebody put the server to sleep.

Pure. A page is shown for what can be asked again (GET) and for nothing else. What an engine says
of a start (names of images, of registries) never reaches a visitor: only the per cent of it do.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import lru_cache
from html import escape

from attrs import frozen

from snickers.http.pages import STYLE_POLICY, html_page, no_store, words_for
from snickers.interfaces.exchange import Fields, IRequest
from snickers.interfaces.leases import Stage

LOOK = b"/.well-known/snickers/stage"
"""Where the page's script asks: below the one prefix that is no site's own to give out (RFC 8615).
With `LOOK_FIELD` alone it is a look; without it the request is the site's as any other."""
LOOK_FIELD = b"snickers-stage"
"""A field that only a page of the same site can send (it is not safelisted: Fetch §2.2.2); it is
in the answer too, to tell it from one of the site's own."""

REFRESH = 2
"""Seconds between two looks without a script: a small server wakes in about one of them, and nobody
minds waiting for one more."""
LOOKS = 1000
"""Milliseconds between two looks of the script; three times as many after a minute of them."""

WAIT, OPEN, ASLEEP, REST = "wait", "open", "asleep", "rest"
"""What the page is to do: go on looking, as the server is on its way; load the address; load it
unless it has seen the server on its way already, since then somebody has put it to sleep; go on
looking, more slowly, and say what is wrong."""

_AWAKE = ("Ready", "It is ready. If the page does not open, load it again.")
_SLEEPS = (
    "This site is asleep",
    "It was put to sleep while it woke up. Load the page again to wake it.",
)
_STAGES = {
    "asleep": "Waking up…",
    "away": "Waiting until it can be started…",
    "starting": "Starting…",
    "pulling": "Fetching what is needed…",
    "checking": "Checking that it answers…",
    "resuming": "Going on…",
    "pausing": "Going on…",
    "paused": "Going on…",
    "draining": "Finishing what went before…",
    "stopping": "Finishing what went before…",
    "removing": "Finishing what went before…",
    "snapshotting": "Saving what went before…",
    "copying": "Saving what went before…",
    "reverting": "Going back to what was before…",
}
_OPEN = ("awake", "paused", "pausing", "over", "")
"""Phases in which the address is to be loaded: it answers, goes on in no time, or is another kind
of site now."""
_ROSE = {"starting": True, "checking": True, "resuming": True, "crashed": True, "away": False}
"""Whether the server was on its way; in other phases it is as it was before."""
_HERE = b"\0"
"""Where a page has the reference to itself: no byte of any page otherwise."""
_PERCENT = re.compile(r"(\d{1,3}) ?%")

_SCRIPT = (
    """
(function () {
  var title = document.querySelector("h1"), stage = document.getElementById("stage");
  var bar = document.querySelector("progress"), number = document.getElementById("percent");
  var rose = false, fell = false, looks = 0;
  function put(element, text) {
    // Only what is another than before is read out.
    if (element.textContent !== text) element.textContent = text;
  }
  function later(milliseconds) { setTimeout(look, milliseconds); }
  function open() { location.reload(); }
  function show(told) {
    if (told.next === "open" || (told.next === "asleep" && !rose)) {
      // What was asked for may be a file to keep: then this page stays.
      put(stage, told.ready);
      bar.hidden = number.hidden = true;
      open();
      return;
    }
    if (told.rose !== null) { rose = told.rose; fell = told.fell; }
    if (told.next !== "asleep" || !fell) {
      // Who has seen it fall is not told that somebody put it to sleep.
      document.title = told.title;
      put(title, told.title);
      put(stage, told.text);
    }
    bar.hidden = number.hidden = told.percent === null;
    if (told.percent !== null) {
      bar.value = told.percent;
      put(number, told.percent + "\u202f%");
    }
    looks += 1;
    later((told.next === "wait" ? 1 : 3) * (looks > 60 ? 3 : 1) * EACH);
  }
  function look() {
    fetch("PATH", {
      headers: { "FIELD": "look" }, cache: "no-store", credentials: "same-origin"
    }).then(function (answer) {
      if (answer.headers.get("FIELD") === null) setTimeout(open, 2 * EACH);
      else return answer.json().then(show);
    }).catch(function () { later(2 * EACH); });
  }
  if (window.fetch) later(EACH); else setTimeout(open, 2 * EACH);
})();
""".replace("PATH", LOOK.decode())
    .replace("FIELD", LOOK_FIELD.decode())
    .replace("EACH", str(LOOKS))
)
_SCRIPT_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_POLICY = f"{STYLE_POLICY}; script-src 'sha256-{_SCRIPT_HASH}'; connect-src 'self'".encode()


@frozen
class _Told:
    """What a visitor is told of a stage."""

    status: int
    title: str
    text: str
    retry_after: int
    next: str
    percent: int | None = None


def is_look(request: IRequest) -> bool:
    """Say whether the page's script asks; `LOOK` alone is not enough."""
    return (
        request.target == LOOK and request.method == b"GET" and request.get(LOOK_FIELD) is not None
    )


def _told(stage: Stage) -> _Told:
    phase = stage.phase
    trouble = (
        (504, "slow") if stage.late else (503, phase) if phase in ("away", "crashed") else None
    )
    if trouble is not None:
        title, text, retry_after = words_for(*trouble)
        return _Told(trouble[0], title, text, retry_after or REFRESH, REST)
    pulls = phase == "starting" and stage.words.startswith("pulling")
    percent = None
    if pulls and (found := _PERCENT.search(stage.words)):
        percent = min(100, int(found[1]))
    text = _STAGES["pulling"] if pulls else _STAGES.get(phase, _STAGES["starting"])
    following = OPEN if phase in _OPEN else ASLEEP if phase == "asleep" else WAIT
    return _Told(503, "This site is waking up", text, REFRESH, following, percent)


def waking_page(stage: Stage, target: bytes, scripted: bool = True) -> tuple[int, Fields, bytes]:
    """Return status, fields and body of what a browser is shown while a server wakes.

    503, or 504 when it takes longer than it may. *target* is what the browser has asked for.
    *scripted*: whether the page's own policy reaches the browser; otherwise its script might not
    run, so that it is loaded again by the browser in any case.
    """
    status, fields, body = _waking(stage, scripted)
    return status, list(fields), body.replace(_HERE, escape(_here(target)).encode())


def _here(target: bytes) -> str:
    """Return *target* as a reference that is relative to itself.

    A refresh without one is taken for a jump within the page, and nothing is loaded, where the
    address has a fragment. Relative, as what begins with two slashes names another host.
    """
    path, mark, query = target.decode("ascii", "replace").partition("?")
    return mark + query if mark else "./" + path.rpartition("/")[2]


@lru_cache(maxsize=128)
def _waking(stage: Stage, scripted: bool) -> tuple[int, tuple[tuple[bytes, bytes], ...], bytes]:
    told = _told(stage)
    refresh = f'<meta http-equiv="refresh" content="{told.retry_after}; url={_HERE.decode()}">'
    head = f"<noscript>{refresh}</noscript>" if scripted else refresh
    percent = told.percent
    hidden = " hidden" if percent is None else ""
    value = f' value="{percent}"' if percent is not None else ""
    code = f"<p><small>Error {told.status}</small></p>" if told.next == REST else ""
    body = html_page(
        told.title,
        f"<main><h1>{escape(told.title)}</h1>"
        f'<p id="stage" role="status" aria-live="polite">{escape(told.text)}</p>'
        f'<p><progress max="100"{value} aria-label="How much has been fetched"{hidden}></progress> '
        f'<span id="percent" aria-hidden="true"{hidden}>{percent or 0}\u202f%</span></p>'
        '<p class="soft">The page opens by itself as soon as the site is ready.</p>'
        f"{code}</main>" + (f"<script>{_SCRIPT}</script>" if scripted else ""),
        head,
    )
    fields = (
        *no_store("html", _POLICY if scripted else None),
        (b"Retry-After", b"%d" % told.retry_after),
    )
    return told.status, fields, body


def stage_answer(stage: Stage) -> tuple[Fields, bytes]:
    """Return fields and body of the 200 that the page's script gets."""
    told = _told(stage)
    title, text = _SLEEPS if told.next == ASLEEP else (told.title, told.text)
    body = json.dumps(
        {
            "next": told.next,
            "rose": _ROSE.get(stage.phase),
            "fell": stage.phase == "crashed",
            "title": title,
            "text": text,
            "percent": told.percent,
            "ready": _AWAKE[1],
        }
    ).encode()
    return [*no_store("json"), (b"Snickers-Stage", b"told")], body + b"\n"
