"""What may be typed behind ``snickers``: verbs, their arguments, and help with a typing error.

Only words become values here; nothing is read, asked or done. Wrong usage raises ``SystemExit``
with status 2 after one line on standard error, as argparse does.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence

from snickers import __version__

LOG_TAIL = 100
"""Lines of a log when nobody says how many."""

VERBS = {
    "check": "read the configuration alone and print its faults",
    "plan": "say what a reload would change, and how many connections it would close",
    "reload": "read the configuration anew, now, and say what that changed",
    "status": "show a line a site, or one HOST in detail",
    "wake": "wake HOST's server and wait until it answers",
    "sleep": "let HOST's server finish what is open, then put it to sleep",
    "restart": "put HOST's server to sleep, then wake it",
    "update": "put a newer image of HOST's server in its place; the old one comes back if it fails",
    "rollback": "have the server back that HOST had before the last update or change",
    "logs": "print what HOST's server wrote",
    "snapshot": "copy HOST's own folder, or prove that a server lives from a copy, or verify all",
    "snapshots": "list the copies of HOST's own folder",
    "restore": "have HOST's own folder be as in the copy ID, or the latest",
    "certs": "show the certificates of all sites, or of HOST; or import one that you have",
    "renew": "have a new certificate for HOST now",
    "teams": "show blue and red, or have them change over: switch, commit, rollback, restart",
    "deploy": "install a newer Snickers in the folder that is not live, check it, switch to it",
    "top": "show who is busy, anew every few seconds, until Ctrl-C",
}

TEAM_ACTS = {
    "switch": "the other team takes over, on trial",
    "commit": "the newcomer stays",
    "rollback": "the one before takes over again",
    "restart": "a new process of the live team takes over",
}
"""What ``teams`` can have them do."""
WATCH = 60.0
"""Seconds a newcomer is watched: most visitors have come by in that time."""
TOP_EVERY = 2.0
"""Seconds between two looks of ``top``: as long as it takes to read a screen."""
SHORTEST = 0.1
"""...and the shortest that may be asked for: looking must not be the work that is seen."""

_SHAPES = {
    "status": "status [HOST]",
    "wake": "wake HOST",
    "sleep": "sleep HOST",
    "restart": "restart HOST",
    "update": "update HOST [--image I]",
    "rollback": "rollback HOST",
    "logs": "logs HOST [-f] [--tail N]",
    "snapshot": "snapshot [prove|verify] HOST [ID]",
    "snapshots": "snapshots HOST",
    "restore": "restore HOST ID",
    "certs": "certs [import] [HOST] ...",
    "renew": "renew HOST",
    "teams": "teams [ACT]",
    "deploy": "deploy [--from REF|WHEEL]",
    "top": "top [--every TIME] [--times N]",
}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return ``verb``, ``json``, ``config``, ``socket``, and what the verb has of its own."""
    top = _top()
    options = top.parse_args(argv)
    if options.verb is None:
        # Who asks for nothing wants to know what there is.
        top.print_help(sys.stderr)
        top.exit(2)
    parser = _of_verb(options.verb)
    parser.parse_args(options.rest, options)
    if options.verb == "snapshot":
        options.act, options.host, options.id = _copying(parser, options.words)
    elif options.verb == "certs":
        options.host, options.files = _certifying(parser, options.words)
    return options


def _copying(parser: argparse.ArgumentParser, words: Sequence[str]) -> tuple[str, str, str]:
    """Return what ``snapshot`` is to do, of which site, with which copy."""
    match list(words):
        case [host]:
            return "snapshot", host, ""
        case ["prove", host, *ids] if len(ids) < 2:
            return "prove", host, "".join(ids)
        case ["verify", host]:
            return "verify", host, ""
    return parser.error(f"unrecognized arguments: {' '.join(words)}")


def _certifying(
    parser: argparse.ArgumentParser, words: Sequence[str]
) -> tuple[str | None, tuple[str, ...]]:
    """Return of which site ``certs`` is to show what there is, ``None`` of all, or for which host
    it is to import what files."""
    match list(words):
        case []:
            return None, ()
        case ["import", host, certificate, key, *chain] if len(chain) < 2:
            return host, (certificate, key, *chain)
        case ["import", *_]:
            return parser.error("import takes HOST CERT KEY, and perhaps CHAIN")
        case [host]:
            return host, ()
    return parser.error(f"unrecognized arguments: {' '.join(words[1:])}")


def _top() -> argparse.ArgumentParser:
    width = max(len(_SHAPES.get(verb, verb)) for verb in VERBS)
    lines = [f"  {_SHAPES.get(verb, verb):{width}}  {does}" for verb, does in VERBS.items()]
    parser = argparse.ArgumentParser(
        prog="snickers",
        usage="snickers [--config FILE] [--socket PATH] [--json] VERB ...\n"
        "       snickers --version",
        description="Looks at a running Snickers and steers it.",
        epilog="verbs:\n"
        + "\n".join(lines)
        + "\n\nThe exit status is 0 for done, 1 for failed, 2 for wrong usage.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_common(parser, None)
    parser.add_argument("--version", action="version", version=f"snickers {__version__}")
    parser.add_argument("verb", metavar="VERB", nargs="?", type=_verb, help="what to do, see below")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help=argparse.SUPPRESS)
    return parser


def _of_verb(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"snickers {verb}", description=VERBS[verb], allow_abbrev=False
    )
    # What was given before the verb must not be undone by a default behind it.
    _add_common(parser, argparse.SUPPRESS)
    match verb:
        case "status":
            parser.add_argument("host", metavar="HOST", nargs="?", help="one site by its name")
        case "wake" | "sleep" | "restart" | "update" | "rollback" | "logs" | "snapshots" | "renew":
            parser.add_argument("host", metavar="HOST", help="the site's name")
        case "restore":
            parser.add_argument("host", metavar="HOST", help="the site's name")
            parser.add_argument(
                "id", metavar="ID", help="the copy's, as in snapshots, or its beginning, or latest"
            )
        case "snapshot":
            parser.usage = "snickers snapshot HOST | prove HOST [ID] | verify HOST"
            parser.add_argument("words", metavar="WORD", nargs="+", help="what to copy or to prove")
        case "certs":
            parser.usage = "snickers certs [HOST] | import HOST CERT KEY [CHAIN]"
            parser.add_argument(
                "words",
                metavar="WORD",
                nargs="*",
                help="a site's name; or import, a host's name, and the files (PEM) of its "
                "certificate, its key, and the certificates that lead to a root",
            )
        case "teams":
            parser.add_argument(
                "act",
                metavar="ACT",
                nargs="?",
                type=_team_act,
                help=", ".join(f"{act}: {does}" for act, does in TEAM_ACTS.items()),
            )
        case "deploy":
            parser.add_argument(
                "--from",
                dest="source",
                metavar="REF|WHEEL",
                default="",
                help="a branch, tag or commit to check out, or a wheel to install "
                "(default: the newest of the folder's branch)",
            )
            parser.add_argument(
                "--watch",
                metavar="TIME",
                type=_time,
                default=WATCH,
                help="how long the newcomer is watched before it stays (60s)",
            )
            parser.add_argument(
                "--no-commit",
                dest="commit",
                action="store_false",
                help="leave it on trial: 'snickers teams commit' has it stay",
            )
            parser.add_argument(
                "--force",
                action="store_true",
                help="also when the live team was made of the very same",
            )
        case "top":
            parser.add_argument(
                "--every",
                metavar="TIME",
                type=_moment,
                default=TOP_EVERY,
                help="how long from one look to the next (2s)",
            )
            parser.add_argument(
                "--times",
                metavar="N",
                type=_looks,
                default=0,
                help="end after N looks (0: go on until Ctrl-C)",
            )
    if verb == "update":
        parser.add_argument(
            "--image",
            metavar="I",
            default="",
            help="this image instead of the file's; if it proves itself it is used until the file "
            "names another one",
        )
    if verb == "logs":
        parser.add_argument(
            "-f", "--follow", action="store_true", help="go on until Ctrl-C as more is written"
        )
        parser.add_argument(
            "--tail",
            metavar="N",
            type=_lines,
            default=LOG_TAIL,
            help="begin with the last N lines (%(default)s)",
        )
    return parser


def _add_common(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=default,
        help="the configuration, a file or a folder of *.ini (default: $SNICKERS_CONFIG, "
        "etc/sites.ini, /etc/snickers/sites.ini)",
    )
    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=default,
        help="the control socket (default: control.sock in the configuration's state folder)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        default=False if default is None else default,
        help="print JSON, for programs",
    )


def _verb(text: str) -> str:
    if text in VERBS:
        return text
    near = difflib.get_close_matches(text, VERBS, n=1)
    meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(VERBS)}"
    raise argparse.ArgumentTypeError(f"{text!r} is not known; {meant}")


def _team_act(text: str) -> str:
    if text in TEAM_ACTS:
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not known; there are {', '.join(TEAM_ACTS)}")


def _time(text: str) -> float:
    from snickers.config.formats import Place, duration
    from snickers.config.wrong import Wrong

    try:
        return duration().read(text, Place("/"))
    except Wrong as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from None


def _moment(text: str) -> float:
    seconds = _time(text)
    if seconds < SHORTEST:
        raise argparse.ArgumentTypeError(
            f"{text!r} is too short; write {SHORTEST * 1000:.0f}ms or more"
        )
    return seconds


def _looks(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of looks, such as 10")


def _lines(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 6:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines from 0 to 999999")
