"""The ``snickers`` command: looks at a running Snickers and steers it, from a shell.

Results go to standard output, what went wrong to standard error in one line that says what would
be right; the exit status is 0 for done, 1 for failed, 2 for wrong usage. It must never show a
traceback for what a person or a server can do, and never obey what a container wrote.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, TextIO

from attrs import asdict

from snickers.config.files import NEAR, NEITHER, USUAL, usual
from snickers.config.values import Configuration, Fault, Settings, Site
from snickers.control import last_deploy, show, show_teams, show_top
from snickers.control.client import Client, ControlFailed, NotRunning
from snickers.control.deploy import LOOK_EVERY, Deploy, DeployFailed, Wanted
from snickers.control.keeper_client import SOCKET as KEEPER
from snickers.control.keeper_client import KeeperClient, NoKeeper
from snickers.control.last_deploy import LastDeploy
from snickers.control.logcleaner import LogCleaner
from snickers.control.placing import NotPlaced, place
from snickers.control.progress import IProgress, Line, Lines
from snickers.control.team_folders import look
from snickers.control.usage import parse
from snickers.roots import Roots, warnings

SOCKET = "control.sock"
"""The control socket's name in the state folder."""

_DONE = {
    "wake": "is awake",
    "sleep": "is asleep",
    "restart": "has restarted",
    "update": "is up to date",
    "rollback": "has its server of before back",
    "snapshot": "is kept as copy {id}",
    "restore": "is as in copy {id}",
    "prove": "copy {id} has proved itself: a server lives from it",
    "verify": "all copies are as they were made",
    "renew": "shows its newest certificate",
}
# What a terminal is told (ECMA-48, xterm): a screen of its own, no cursor, no folded lines.
_OPEN_SCREEN = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_CLOSE_SCREEN = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _REST, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
"""To its beginning; remove the rest of a line, and what is below: nothing flickers."""
TELL_EVERY = 10.0
"""Seconds between two words on a newcomer that is watched, where each is a line."""
LARGEST_PEM = 60_000
"""Bytes of a file that is imported; a certificate with its chain has some 6,000."""


class Failed(Exception):
    """The verb could not be done; the text says why and what would be right."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with *argv* (the process' own by default) and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        # A site's text must not fail in a terminal that cannot show it.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return Command(sys.stdout, sys.stderr, os.environ).run(sys.argv[1:] if argv is None else argv)


def _load(path: str) -> Configuration:
    # Here, because a verb that is given --socket starts faster without it.
    from snickers.config.parse import load

    return load(path).configuration


class Command:
    """One run of the command.

    *load* reads a configuration; *connect* makes a client of a socket's path, and *reach* one of
    the keeper's; *now* is seconds since the epoch and *elapsed* seconds since anything, *sleep*
    lets some pass. *roots* returns what is wrong with the folders of sites, by their names.
    """

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        environ: Mapping[str, str],
        load: Callable[[str], Configuration] = _load,
        connect: Callable[[str], Client] = Client,
        now: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = time.monotonic,
        reach: Callable[[str], KeeperClient] = KeeperClient,
        sleep: Callable[[float], None] = time.sleep,
        roots: Callable[[Sequence[Site]], dict[str, str]] = lambda sites: Roots().look(sites),
    ) -> None:
        self._out = out
        self._err = err
        self._environ = environ
        self._load = load
        self._connect = connect
        self._now = now
        self._elapsed = elapsed
        self._reach = reach
        self._sleep = sleep
        self._roots = roots
        self._terminal = out.isatty() and environ.get("TERM") != "dumb"
        self._style = show.Style(colour=self._terminal and not environ.get("NO_COLOR"))
        self._options = argparse.Namespace()

    def run(self, argv: Sequence[str]) -> int:
        """Do what *argv* says and return the exit status."""
        try:
            with redirect_stdout(self._out), redirect_stderr(self._err):
                self._options = parse(argv)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 2
        try:
            status = self._verb()
            self._out.flush()
        except NotRunning as problem:
            self._complain(f"snickers: {problem} {self._to_start}{self._instead}")
            return 1
        except NoKeeper as problem:
            self._complain(f"snickers: {show.clean(problem)}{self._instead}")
            return 1
        except (Failed, ControlFailed) as problem:
            self._complain(f"snickers: {show.clean(problem)}")
            return 1
        except BrokenPipeError:
            self._stop_writing()
            return 0
        except KeyboardInterrupt:
            return 130
        return status

    def _verb(self) -> int:
        verb: str = self._options.verb
        match verb:
            case "check":
                return self._check()
            case "plan":
                return self._difference(self._client().plan(), done=False)
            case "reload":
                return self._difference(self._client().reload(), done=True)
            case "status":
                return self._status()
            case "logs":
                return self._logs()
            case "update":
                return self._act(verb, self._options.host, image=self._options.image)
            case "wake" | "sleep" | "restart" | "rollback" | "renew":
                return self._act(verb, self._options.host)
            case "snapshot":
                return self._act(self._options.act, self._options.host, self._options.id)
            case "restore":
                return self._act(verb, self._options.host, self._options.id)
            case "snapshots":
                return self._snapshots(self._options.host)
            case "certs":
                host, files = self._options.host, self._options.files
                return self._import(host, files) if files else self._certificates(host)
            case "teams":
                return self._change(self._options.act) if self._options.act else self._teams()
            case "deploy":
                return self._deploy()
            case "top":
                return self._top()
        raise AssertionError(verb)

    # The verbs

    def _check(self) -> int:
        configuration = self._configuration()
        faults = configuration.faults
        sites = list(configuration.sites.values())
        doubts = warnings(sites, self._roots(sites))
        if self._options.json:
            self._print_json(
                {
                    "config": self._config,
                    "sites": sorted(configuration.sites),
                    "broken": sorted(configuration.broken),
                    "faults": [_fault(fault) for fault in faults],
                    "warnings": [_fault(doubt) for doubt in doubts],
                }
            )
        for fault in (*faults, *doubts):
            self._complain(str(fault))
        if faults:
            return 1
        if not self._options.json:
            count = show.counted(len(sites), "site")
            more = f", {show.counted(len(doubts), 'warning')}" if doubts else ""
            self._print(f"{self._config}: {count}, no faults{more}")
        return 0

    def _difference(self, answer: dict[str, Any], done: bool) -> int:
        faults = answer.get("faults") or []
        if self._options.json:
            self._print_json(answer)
        else:
            self._print(*show.difference(answer, done, self._style))
        for fault in (*faults, *(answer.get("warnings") or ())):
            for line in show.fault(fault):
                self._complain(line)
        if not faults:
            return 0
        stays, answers = ("stays", "answers") if done else ("would stay", "answer")
        count = show.counted(len(faults), "fault")
        if answer.get("held"):
            raise Failed(
                f"{count}; with one in [snickers], or in what all sites depend on, everything "
                f"{stays} as it was"
            )
        what = ", ".join(answer.get("broken") or ())
        raise Failed(
            f"{count}; what is at fault{f' ({what})' if what else ''} "
            f"{stays} on its last good version, or without one {answers} 503"
        )

    def _status(self) -> int:
        host: str | None = self._options.host
        client = self._client()
        answer = client.status() if host is None else client.site(host)
        if self._options.json:
            self._print_json(answer)
        else:
            present = show.status if host is None else show.site
            self._print(*present(answer, self._now(), self._style))
        return 0

    def _top(self) -> int:
        client = self._client()
        screen = self._terminal and not self._options.json
        try:
            if screen:
                self._out.write(_OPEN_SCREEN)
            self._look_on(client, screen)
        except KeyboardInterrupt:
            pass  # which is how it is ended
        finally:
            if screen:
                self._out.write(_CLOSE_SCREEN)
                self._out.flush()
        return 0

    def _look_on(self, client: Client, screen: bool) -> None:
        """Show who is busy, again and again."""
        before: dict[str, Any] | None = None
        looked = self._elapsed()
        looks = 0
        while True:
            try:
                answer = client.status()
            except (NotRunning, ControlFailed):
                if before is None or not screen:
                    raise
                answer = {}
            last, looked = looked, self._elapsed()
            sites = show_top.busy(answer, before, looked - last)
            before = answer
            if self._options.json:
                self._print_event({"time": self._now(), "sites": [one.entry() for one in sites]})
            else:
                height = shutil.get_terminal_size().lines if screen else None
                lines = show_top.top(answer, sites, self._now(), height, self._style)
                if screen:
                    self._out.write(_HOME + "".join(f"{line}{_REST}\n" for line in lines) + _BELOW)
                    self._out.flush()
                else:
                    self._print(*lines, "")
                    self._out.flush()
            looks += 1
            if looks == self._options.times:
                return
            self._sleep(self._options.every)

    def _snapshots(self, host: str) -> int:
        answer = self._client().snapshots(host)
        if self._options.json:
            self._print_json(answer)
        else:
            self._print(*show.copies(answer, self._now(), self._style))
        return 0

    def _certificates(self, host: str | None) -> int:
        answer = self._client().certificates(host)
        if self._options.json:
            self._print_json(answer)
        else:
            self._print(*show.certificates(answer, self._now(), self._style))
        return 0

    def _import(self, host: str, paths: Sequence[str]) -> int:
        files = {"chain": ("CHAIN", b"")}
        for part, path in zip(("certificate", "key", "chain"), paths, strict=False):
            files[part] = (path, _read(path))
        client = self._client()
        answer = client.take_in(host, files)
        # There is the key in it: for nobody's eyes.
        undone = answer.pop("undone", [])
        if undone:
            self._place(client, host, answer, undone)
        if self._options.json:
            self._print_json(answer)
        else:
            self._print(*show.imported(host, answer, self._style))
        problems = answer.get("problems") or []
        for problem in problems:
            self._complain(show.clean(problem))
        if problems:
            raise Failed(f"certs import {host}: nothing was changed")
        return 0

    def _place(
        self, client: Client, host: str, answer: Mapping[str, Any], undone: Sequence[Any]
    ) -> None:
        """Do what the server may not do."""
        settings = self._configuration().settings
        try:
            if settings is None:
                raise NotPlaced(f"{self._config} is at fault")
            group = os.stat(client.path).st_gid
            place(settings.certificate_directory, answer["folder"], undone, group)
        except (OSError, NotPlaced) as problem:
            raise Failed(
                f"certs import {host}: {answer.get('obstacle')}; run this as root, or have "
                "`certificate directory` name a folder that the user may write to that runs "
                f"Snickers ({problem})"
            ) from problem
        if not answer.get("advice"):
            for event in client.act("renew", host):
                if "error" in event:
                    raise Failed(f"certs import {host}: {event['error']}")

    def _act(self, verb: str, host: str, id: str = "", image: str = "") -> int:
        events = self._client().act(verb, host, id, image)
        try:
            with self._progress(host) as progress:
                for event in events:
                    self._event(verb, host, event, progress)
        except ControlFailed as problem:
            if self._options.json:
                self._print_event({"error": str(problem)})
            raise
        except KeyboardInterrupt:
            self._complain(f"snickers: no longer waiting; {verb} {host} goes on without you")
            return 130
        return 0

    def _event(self, verb: str, host: str, event: Mapping[str, Any], progress: IProgress) -> None:
        """Show one line of what the server says while *verb* is being done."""
        if self._options.json:
            self._print_event(event)
        if "error" in event:
            raise Failed(f"{verb} {host}: {event['error']}")
        if self._options.json:
            return
        if event.get("done"):
            progress.done(_DONE[verb].format(id=show.clean(event.get("id", ""))))
        elif "progress" in event:
            progress.step(show.clean(event["progress"]))

    def _teams(self) -> int:
        keeper = self._keeper()
        answer = keeper.status()
        last = last_deploy.read(os.path.dirname(keeper.path))
        if last is not None:
            answer["deploy"] = last
        given = answer.get("folders")
        folders = given if isinstance(given, Mapping) else {}
        held = {team: look(str(folder)) for team, folder in folders.items()}
        if self._options.json:
            found = {team: asdict(holds) for team, holds in held.items()}
            self._print_json({**answer, "held": found})
        else:
            words = {team: f"{holds.words()} {folders[team]}" for team, holds in held.items()}
            self._print(*show_teams.teams(answer, words, self._now(), self._style))
        return 0

    def _change(self, act: str) -> int:
        try:
            with self._progress("teams") as progress:
                for answer in self._keeper().change(act):
                    self._told(answer, progress)
        except KeyboardInterrupt:
            self._complain(f"snickers: no longer waiting; teams {act} goes on without you")
            return 130
        except ControlFailed as problem:
            if self._options.json:
                self._print_event({"failed": str(problem)})
            raise Failed(f"teams {act}: {problem}") from problem
        return 0

    def _told(self, answer: Mapping[str, Any], progress: IProgress) -> None:
        if self._options.json:
            self._print_event(answer)
        elif "done" in answer:
            progress.done(show.clean(answer["done"]))
        elif "progress" in answer:
            progress.step(show.clean(answer["progress"]))

    def _deploy(self) -> int:
        options = self._options
        wanted = Wanted(options.source, options.watch, options.commit, options.force)
        began = self._now()
        keeper = self._keeper()

        def note(team: str, words: str, failed: bool | None) -> None:
            ended = None if failed is None else self._now()
            known = LastDeploy(team, wanted.source, began, ended, bool(failed), words)
            try:
                last_deploy.write(os.path.dirname(keeper.path), known)
            except FileNotFoundError:
                pass  # a keeper of another kind keeps nothing there
            except OSError as problem:
                self._complain(
                    f"snickers: deploy: it is not remembered: {keeper.path}: {problem.strerror}"
                )

        with self._progress("deploy") as progress:
            deploy = Deploy(
                keeper,
                os.path.abspath(self._config),
                wanted,
                lambda words: self._told({"progress": words}, progress),
                self._sleep,
                self._elapsed,
                # One line that changes, or one more each time.
                tell_every=LOOK_EVERY if self._terminal and not options.json else TELL_EVERY,
                note=note,
            )
            try:
                self._told({"done": deploy.do()}, progress)
                return 0
            except DeployFailed as problem:
                failed: DeployFailed = problem
        # Behind the line of progress, which ends with the context.
        if options.json:
            told = {"failed": str(failed), "step": failed.step, "lines": failed.lines}
            self._print_event(told)
        for line in failed.lines:
            self._complain(f"  {show.clean(line)}")
        raise Failed(f"deploy: {failed}")

    def _logs(self) -> int:
        options = self._options
        pieces = self._client().logs(options.host, options.tail, options.follow)
        try:
            for piece in self._shown(pieces):
                self._out.buffer.write(piece)
                self._out.buffer.flush()
        except KeyboardInterrupt:
            if not options.follow:
                raise
        return 0

    def _shown(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Give a log's *pieces* in the form that is asked for."""
        if self._options.json:
            rest = b""
            for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    yield _json_line(line)
            if rest:
                yield _json_line(rest)
        elif self._out.isatty():
            cleaner = LogCleaner()
            for piece in pieces:
                yield cleaner.feed(piece)
            yield cleaner.end()
        else:
            yield from pieces

    # Where the server is

    @property
    def _given(self) -> str:
        return self._options.config or self._environ.get("SNICKERS_CONFIG") or ""

    @property
    def _config(self) -> str:
        """The configuration's path: what was given, or the usual places."""
        return usual(self._given)

    @property
    def _to_start(self) -> str:
        """Words on how there comes to be one who answers."""
        if not self._options.socket and os.path.exists(os.path.join(self._state(), KEEPER)):
            return "There are two teams: 'snickers teams' shows how they are."
        return f"Start it with: twistd -n snickers --config {self._config}"

    @property
    def _instead(self) -> str:
        """Words on which configuration was read, where another one may have been meant."""
        if self._given or self._options.socket:
            return ""
        if not (os.path.exists(NEAR) and os.path.exists(USUAL)):
            return ""
        return f" ({NEAR} of this folder was read; for {USUAL}: --config {USUAL})"

    def _configuration(self) -> Configuration:
        try:
            configuration = self._load(self._config)
        except OSError as problem:
            raise Failed(
                f"cannot read {self._config}: {problem.strerror or problem}; "
                "give another one with --config FILE"
            ) from problem
        if configuration.settings is None and not self._given and not os.path.exists(self._config):
            raise Failed(NEITHER)
        return configuration

    def _client(self) -> Client:
        return self._connect(self._options.socket or os.path.join(self._state(), SOCKET))

    def _keeper(self) -> KeeperClient:
        return self._reach(self._options.socket or os.path.join(self._state(), KEEPER))

    def _state(self) -> str:
        configuration = self._configuration()
        if configuration.settings is not None:
            return configuration.settings.state
        state = state_anyway(self._config)
        if state is not None:
            return state
        why = f" ({configuration.faults[0]})" if configuration.faults else ""
        raise Failed(
            f"{self._config} does not say where Snickers' state is{why}: put it right, or give "
            f"--config FILE or --socket STATE/{SOCKET}"
        )

    # What a person sees

    def _progress(self, host: str) -> IProgress:
        if not self._terminal or self._options.json:
            return Lines(self._out, host)
        width = shutil.get_terminal_size().columns
        return Line(self._out, host, self._style, width, self._elapsed)

    def _print(self, *lines: str) -> None:
        for line in lines:
            self._out.write(f"{line}\n")

    def _print_json(self, answer: Mapping[str, Any]) -> None:
        self._print(json.dumps(answer, ensure_ascii=False, indent=2))

    def _print_event(self, answer: Mapping[str, Any]) -> None:
        self._print(json.dumps(answer, ensure_ascii=False))
        self._out.flush()

    def _complain(self, line: str) -> None:
        self._out.flush()
        self._err.write(f"{line}\n")
        self._err.flush()

    def _stop_writing(self) -> None:
        """Nobody reads any more: what is still buffered must not fail when Python ends."""
        try:
            descriptor = self._out.fileno()
        except OSError:
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def state_anyway(path: str) -> str | None:
    """Return the state folder that the configuration at *path* means, although it is at fault.

    ``None`` when it cannot be told: a line that was not understood may have been the one.
    """
    from snickers.config.ini import read

    if os.path.isdir(path):
        names = sorted(name for name in os.listdir(path) if name.endswith(".ini"))
        files = [os.path.join(path, name) for name in names]
    else:
        files = [path]
    for file in files:
        try:
            with open(file, encoding="utf-8") as opened:
                text = read(opened.read(), file)
        except (OSError, UnicodeDecodeError):
            continue
        for section in text.sections:
            if section.title != "snickers":
                continue
            if "state" in section.options:
                state = section.options["state"].value
                if not state:
                    return None
                return os.path.join(os.path.dirname(os.path.abspath(file)), state)
            return None if text.damaged else Settings().state
    return None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_PEM + 1)
    except OSError as problem:
        raise Failed(f"cannot read {path}: {problem.strerror or problem}") from problem
    if len(data) > LARGEST_PEM:
        raise Failed(f"{path} has more than {LARGEST_PEM} bytes: it is no certificate and no key")
    return data


def _fault(fault: Fault) -> dict[str, Any]:
    return {
        "file": fault.where.file,
        "line": fault.where.line,
        "section": fault.section,
        "option": fault.option,
        "message": fault.message,
    }


def _json_line(line: bytes) -> bytes:
    text = line.removesuffix(b"\r").decode("utf-8", "replace")
    return json.dumps({"line": text}, ensure_ascii=False).encode() + b"\n"
