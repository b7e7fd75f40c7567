"""The words that the front and the broker have for each other, as AMP commands.

What the front says names a site and what it expects of it, never what to run: no image, mount,
command or network is in these words. Whatever the broker reads of them is a number, a name or a
switch; it must never unpickle, parse or evaluate anything that came from the front. What the broker
says may be JSON: the front believes it.
"""

# Twisted's AMP has no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import asdict
from twisted.protocols import amp

from snickers.containers.engine import EngineAway, EngineFailed
from snickers.interfaces.engine import Instance, Load

CONTROL = 3
"""The broker's descriptor on which the front speaks."""

_FAILS = {EngineFailed: b"FAILED", EngineAway: b"AWAY"}


# The front to the broker. `call` is a number by which the front will speak of this call.


class Watch(amp.Command):
    """Begin to ask the engine, and tell what happens."""

    requiresAnswer = False


class Reload(amp.Command):
    """Read the configuration; answered when what the files say counts."""


class Start(amp.Command):
    """Have *site*'s server run, if it is declared so that its fingerprint is this one; beside the
    one whose id is said, if one is; of the image of a container that the site has already, if that
    is said.

    Answered with one instance as `read_instances` reads it."""

    arguments = [
        (b"call", amp.Integer()),
        (b"site", amp.Unicode()),
        (b"wanted", amp.Unicode()),
        (b"fresh", amp.Boolean()),
        (b"beside", amp.Unicode()),
        (b"exact", amp.Unicode()),
    ]
    response = [(b"instance", amp.String())]
    errors = _FAILS


class Prepare(amp.Command):
    """Have at hand what such a `Start` needs; say whether it would make another server."""

    arguments = [
        (b"call", amp.Integer()),
        (b"site", amp.Unicode()),
        (b"wanted", amp.Unicode()),
        (b"fresh", amp.Boolean()),
    ]
    response = [(b"another", amp.Boolean())]
    errors = _FAILS


class Settle(amp.Command):
    """Have *site*'s server be the one with this id, which runs: end others, but for *spare*, and
    forget what it has replaced, but for the last."""

    arguments = [
        (b"call", amp.Integer()),
        (b"site", amp.Unicode()),
        (b"id", amp.Unicode()),
        (b"spare", amp.Unicode()),
    ]
    errors = _FAILS


class Revert(amp.Command):
    """Have *site*'s server *id* run again, which was kept when it was replaced."""

    arguments = [(b"call", amp.Integer()), (b"site", amp.Unicode()), (b"id", amp.Unicode())]
    response = [(b"instance", amp.String())]
    errors = _FAILS


class Stop(amp.Command):
    """End *site*'s server, kill it after so many seconds."""

    arguments = [(b"call", amp.Integer()), (b"site", amp.Unicode()), (b"within", amp.Float())]
    errors = _FAILS


class Remove(amp.Command):
    """Remove what was made for *site*'s server."""

    arguments = [(b"call", amp.Integer()), (b"site", amp.Unicode())]
    errors = _FAILS


class Pause(amp.Command):
    """Freeze *site*'s server."""

    arguments = [(b"call", amp.Integer()), (b"site", amp.Unicode())]
    errors = _FAILS


class Resume(amp.Command):
    """Undo `Pause`."""

    arguments = [(b"call", amp.Integer()), (b"site", amp.Unicode())]
    errors = _FAILS


class Run(amp.Command):
    """Run that command inside of *site*'s server whose `mark` is this one, and which is declared as
    its ``snapshot`` or its ``veto``."""

    arguments = [
        (b"call", amp.Integer()),
        (b"site", amp.Unicode()),
        (b"mark", amp.Unicode()),
        (b"within", amp.Float()),
    ]
    response = [(b"code", amp.Integer()), (b"output", amp.Unicode())]
    errors = _FAILS


class List(amp.Command):
    """Tell all servers: `Part` by `Part`, for `read_instances`; answered after the last."""

    arguments = [(b"call", amp.Integer())]
    errors = _FAILS


class Loads(amp.Command):
    """Tell what all servers have used: `Part` by `Part`, for `read_loads`."""

    arguments = [(b"call", amp.Integer())]
    errors = _FAILS


class Healthy(amp.Command):
    """Say what the engine's own check says of the server *id*."""

    arguments = [(b"call", amp.Integer()), (b"id", amp.Unicode())]
    response = [(b"well", amp.Boolean())]
    errors = _FAILS


class Logs(amp.Command):
    """Tell the log of *site*'s server: `Part` by `Part`, each of which has to be `Took`."""

    arguments = [
        (b"call", amp.Integer()),
        (b"site", amp.Unicode()),
        (b"tail", amp.Integer()),
        (b"follow", amp.Boolean()),
    ]
    errors = _FAILS


class Took(amp.Command):
    """So many bytes of a log have come."""

    arguments = [(b"call", amp.Integer()), (b"size", amp.Integer())]
    requiresAnswer = False


class Cancel(amp.Command):
    """Nobody waits for *call* any more."""

    arguments = [(b"call", amp.Integer())]
    requiresAnswer = False


class Close(amp.Command):
    """Let go of the engine, and end; servers run on."""


# The broker to the front


class Found(amp.Command):
    """The engine is there."""

    requiresAnswer = False


class Lost(amp.Command):
    """The engine cannot be reached."""

    arguments = [(b"reason", amp.Unicode())]
    requiresAnswer = False


class Exited(amp.Command):
    """A server ended."""

    arguments = [
        (b"site", amp.Unicode()),
        (b"id", amp.Unicode()),
        (b"code", amp.Integer(optional=True)),
        (b"starved", amp.Boolean()),
        (b"part", amp.Unicode()),
    ]
    requiresAnswer = False


class Noticed(amp.Command):
    """The owner of *site* should know this."""

    arguments = [(b"site", amp.Unicode()), (b"words", amp.Unicode())]
    requiresAnswer = False


class Progress(amp.Command):
    """How far a start is."""

    arguments = [(b"call", amp.Integer()), (b"words", amp.Unicode())]
    requiresAnswer = False


class Part(amp.Command):
    """A piece of what *call* tells."""

    arguments = [(b"call", amp.Integer()), (b"part", amp.String())]
    requiresAnswer = False


TO_BROKER = frozenset(
    command.commandName
    for command in (
        *(Watch, Reload, Start, Prepare, Settle, Revert, Stop, Remove, Pause, Resume),
        *(Run, List, Loads, Healthy, Logs, Took, Cancel, Close),
    )
)
"""The names of all that the front can say."""


# Forms


def mark(command: Sequence[str]) -> str:
    """Return what tells *command* from another one: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(list(command)).encode()).hexdigest()


def instances(found: Iterable[Instance]) -> bytes:
    """Return *found* as bytes for `read_instances`."""
    return json.dumps([asdict(instance) for instance in found]).encode()


def read_instances(data: bytes) -> list[Instance]:
    """Return what `instances` made *data* of."""

    def read(said: Mapping[str, Any]) -> Instance:
        address = said["address"]
        return Instance(**{**said, "address": tuple(address) if type(address) is list else address})

    return [read(said) for said in json.loads(data)]


def loads(found: Mapping[str, Load]) -> bytes:
    """Return *found* as bytes for `read_loads`."""
    return json.dumps(
        {site: [load.processor, load.traffic] for site, load in found.items()}
    ).encode()


def read_loads(data: bytes) -> dict[str, Load]:
    """Return what `loads` made *data* of."""
    return {
        str(site): Load(float(processor), None if traffic is None else int(traffic))
        for site, (processor, traffic) in json.loads(data).items()
    }
