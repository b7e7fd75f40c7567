"""Proves names by the DNS: the owner's program writes the record, and here it is waited for.

The program knows the owner's DNS, Snickers does not: it is run with ``add`` or ``remove``, the name
of a TXT record and its value (RFC 8555 section 8.4). Everything blocks, for a bounded time: call it
in a thread. Must never give the program a shell, leave anything of it running, or have an
authority ask before all who may be asked show the record.
"""

from __future__ import annotations

import math
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from snickers.acme.asked import Held, Server, Unanswered, server_at

WITHIN = 120.0
"""Seconds for one run of the program: some ask a provider that takes its time."""
SHOWN_WITHIN = 300.0
"""Seconds until all servers must show the record: some providers copy once in a minute or two."""
PAUSE = 1.0
LONGEST_PAUSE = 10.0
"""Seconds between two looks: the first, and what they grow to."""
SILENT_LOOKS = 3
"""How often a server that does not answer is asked, before the others are enough."""
LINGER = 1.0
"""Seconds the output of a program that has ended is waited for."""
SAID_LINES = 5
SAID = 500
"""The last lines of what a program says that a person is shown, and their characters."""
WITHHELD = ("LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_", "SNICKERS_")
"""What of the environment is between Snickers and who has started it."""


class HookFailed(Exception):
    """The record cannot be had in the DNS, or not be taken out; the text says why, for a person."""


class IsWanted(Protocol):
    """What is wanted of ``[snickers]``."""

    @property
    def acme_dns_hook(self) -> tuple[str, ...]: ...

    @property
    def acme_resolver(self) -> str: ...


class IDns(Protocol):
    """What is asked of the DNS; as `snickers.acme.lookup.Lookup` does it."""

    @property
    def server(self) -> Server | None: ...

    def texts(self, name: str) -> tuple[str, ...]: ...

    def texts_at(self, server: Server, name: str) -> tuple[str, ...]: ...

    def holders(self, name: str) -> Held: ...


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return of *own* what the program gets: all, since its keys to the DNS may be there, but what
    `WITHHELD` names."""
    return {name: value for name, value in own.items() if not name.startswith(WITHHELD)}


def run(
    command: Sequence[str], within: float = WITHIN, now: Callable[[], float] = time.monotonic
) -> None:
    """Run *command* for *within* seconds at most; all of it is gone when this returns.

    Fails with `HookFailed` unless it ends with status 0.
    """
    try:
        program = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment(os.environ),
            start_new_session=True,
        )
    except OSError as error:
        raise HookFailed(f"{command[0]} cannot be run: {error.strerror}") from None
    assert program.stdout is not None
    with program.stdout:
        try:
            said, ended = _listen(program, program.stdout.fileno(), now() + within, now)
        finally:
            # Before it is reaped: until then its number cannot be another's.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(program.pid, signal.SIGKILL)
            status = program.wait()
    if not ended:
        raise HookFailed(f"{command[0]} was not done within {within:g} s and was killed{said}")
    if status:
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        raise HookFailed(f"{command[0]} ended {how}{said}")


def _listen(
    program: subprocess.Popen[bytes], output: int, deadline: float, now: Callable[[], float]
) -> tuple[str, bool]:
    """Return what the program says, as the end of a sentence, and whether it ends in time."""
    said = b""
    ended = False
    end = os.pidfd_open(program.pid)
    waited = {output, end}
    # A front door may have more descriptors open than select(2) can count.
    poll = select.poll()
    for descriptor in waited:
        poll.register(descriptor, select.POLLIN)
    try:
        while waited:
            left = max(0.0, deadline - now())
            ready = {descriptor for descriptor, _ in poll.poll(math.ceil(1000 * left))}
            if not ready:
                break
            if output in ready:
                data = os.read(output, 65536)
                said = (said + data)[-4 * SAID :]
                if not data:
                    waited.remove(output)
                    poll.unregister(output)
            if end in ready:
                ended = True
                waited.remove(end)
                poll.unregister(end)
                # What it has left behind may hold the output open.
                deadline = min(deadline, now() + LINGER)
    finally:
        os.close(end)
    lines = said.decode(errors="replace").strip().split("\n")[-SAID_LINES:]
    text = "; ".join(line.strip() for line in lines if line.strip())[-SAID:]
    return (f": {text}" if text else ": it said nothing"), ended


class DnsHook:
    """Writes TXT records. *command* and *dns* return those that hold now.

    *dns* asks the servers of the zone, or, where it has a server of its own, that one. *running* is
    `run`; *now* and *sleep* are of a clock that nobody sets; the rest are seconds.
    """

    def __init__(
        self,
        command: Callable[[], Sequence[str]],
        dns: Callable[[], IDns],
        running: Callable[[Sequence[str]], None] = run,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        within: float = SHOWN_WITHIN,
    ) -> None:
        self._command = command
        self._dns = dns
        self._run = running
        self._now = now
        self._sleep = sleep
        self._within = within

    def __call__(self, what: str, name: str, value: str) -> None:
        """Have the program *what*, ``"add"`` or ``"remove"``, a TXT record; return after an ``add``
        when it is to be seen. Fails with `HookFailed`."""
        command = (*self._command(), what, name, value)
        try:
            self._run(command)
        except HookFailed as failed:
            # The value is another one each time: a person would be told the same anew.
            raise HookFailed(str(failed).replace(value, "VALUE")) from None
        if what == "add":
            self._wait(name, value)

    def _wait(self, name: str, value: str) -> None:
        deadline = self._now() + self._within
        look = _Look(self._dns(), name, value)
        pause = PAUSE
        while True:
            lacking = look.lacking()
            if not lacking:
                return
            left = deadline - self._now()
            if left <= 0:
                raise HookFailed(
                    f"the program has added the TXT record {name}, but {self._within:g} s later "
                    f"{'; '.join(lacking)}: does it write into the zone that the world sees?"
                )
            self._sleep(min(pause, left))
            pause = min(1.5 * pause, LONGEST_PAUSE)


class _Look:
    """Looks for one record, again and again."""

    def __init__(self, dns: IDns, name: str, value: str) -> None:
        self._dns = dns
        self._name = name
        self._value = value
        self._held: Held | None = None
        self._silent: dict[Server, int] = {}

    def lacking(self) -> list[str]:
        """Return who does not show it, in words; nobody: it may be asked for."""
        try:
            if self._dns.server is not None:
                if self._value in self._dns.texts(self._name):
                    return []
                return [f"{self._dns.server} does not show it"]
            if self._held is None:
                self._held = self._dns.holders(self._name)
        except Unanswered as error:
            return [str(error)]
        return self._lacking_of(self._held)

    def _lacking_of(self, held: Held) -> list[str]:
        lacking: list[str] = []
        silent: list[tuple[Server, str]] = []
        shown = False
        for server in held.servers:
            try:
                if self._value in self._dns.texts_at(server, held.name):
                    shown = True
                else:
                    lacking.append(f"{server} does not show it")
            except Unanswered as error:
                self._silent[server] = self._silent.get(server, 0) + 1
                silent.append((server, str(error)))
        # This host may have no way to some of them, such as none by IPv6.
        given_up = SILENT_LOOKS if shown else math.inf
        return lacking + [words for server, words in silent if self._silent[server] < given_up]


def dns_hook(settings: Callable[[], IsWanted]) -> DnsHook:
    """Return what proves names by the DNS as *settings* say when it is called."""

    def look_up() -> IDns:
        # In a thread, when it is asked first: it takes 3 MB that others shall not pay.
        from snickers.acme.lookup import Lookup

        return Lookup(server_at(settings().acme_resolver))

    return DnsHook(lambda: settings().acme_dns_hook, look_up)
