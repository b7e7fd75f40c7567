"""The rooms: which module may import which, what pure ones stay away from, and who is tested.

The arrows are those of docs/architecture.md. Each check is also shown to find what it looks for.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

SOURCE = Path(__file__).parent.parent / "src"
TESTS = Path(__file__).parent

MEETING = (
    "snickers.config.values",
    "snickers.interfaces",
    "snickers.stream",
    "snickers.sweep",
)
"""Where rooms meet: every room may import these."""

ROOMS: Mapping[str, tuple[str, ...]] = {
    "snickers": (),
    # What is wrong with a file of users is found when the configuration is read.
    "snickers.config": ("snickers.bounds", "snickers.composefile", "snickers.htpasswd"),
    "snickers.htpasswd": (),
    # As it is found wrong when the configuration is read, and when containers are made of it.
    "snickers.composefile": ("snickers.bounds",),
    "snickers.bounds": (),
    "snickers.interfaces": ("snickers.config.values",),
    "snickers.stream": ("snickers.sweep",),
    "snickers.sweep": (),
    "snickers.disk": (),
    "snickers.logfile": ("snickers.interfaces",),
    "snickers.notify": (),
    "snickers.heartbeat": ("snickers.interfaces",),
    "snickers.relay": ("snickers.config.values", "snickers.stream"),
    "snickers.proxyprotocol": (),
    "snickers.proxyheader": ("snickers.proxyprotocol",),
    # A proxy that speaks for its clients.
    "snickers.announced": ("snickers.proxyheader",),
    "snickers.passthrough": (
        *MEETING,
        "snickers.announced",
        "snickers.relay",
        "snickers.proxyprotocol",
        "snickers.splice",
    ),
    "snickers.splice": ("snickers.stream", "snickers.sweep"),
    "snickers.listening": ("snickers.announced", "snickers.config.values", "snickers.stream"),
    "snickers.welcome": ("snickers.config.values",),
    "snickers.tls": (*MEETING, "snickers.disk", "snickers.listening"),
    # A WebSocket after its 101 is a relay.
    "snickers.http": (*MEETING, "snickers.relay", "snickers.htpasswd"),
    "snickers.containers": (
        *MEETING,
        "snickers.bounds",
        "snickers.composefile",
        "snickers.disk",
        "snickers.pidfd",
    ),
    "snickers.pidfd": (),
    # What a certificate is, and how threads are asked.
    "snickers.acme": (
        *MEETING,
        "snickers.disk",
        "snickers.tls.credentials",
        "snickers.tls.threads",
    ),
    # `snickers check` reads a configuration where no Snickers runs.
    # What the server may not write the command may, in the same way.
    "snickers.control": (
        "snickers",
        *MEETING,
        "snickers.config",
        "snickers.notify",
        "snickers.disk",
        "snickers.roots",
    ),
    "snickers.certifying": ("snickers.config.values", "snickers.interfaces"),
    # A reload: the configuration as a whole against the rooms' interfaces.
    "snickers.readable": (),
    "snickers.roots": ("snickers.config.values",),
    "snickers.running": ("snickers", "snickers.config", "snickers.interfaces", "snickers.roots"),
    "snickers.livesites": ("snickers.config.values", "snickers.interfaces"),
    # The data plane of one process, connected.
    "snickers.plane": (
        *MEETING,
        "snickers.announced",
        "snickers.http",
        "snickers.listening",
        "snickers.livesites",
        "snickers.logfile",
        "snickers.passthrough",
        "snickers.poller",
        "snickers.splice",
        "snickers.tls",
    ),
    # Who is on duty: what teams say to each other is what a worker says to its first process.
    "snickers.duty": (
        *MEETING,
        "snickers.control.client",
        "snickers.control.socketfile",
        "snickers.disk",
        "snickers.workers",
    ),
    # One of two teams, connected.
    "snickers.team": (
        *MEETING,
        "snickers",
        "snickers.alarm",
        "snickers.containers",
        "snickers.control",
        "snickers.duty",
        "snickers.livesites",
        "snickers.notify",
        "snickers.plane",
        "snickers.readable",
        "snickers.workers",
    ),
    # What processes say to each other.
    "snickers.workers": MEETING,
    "snickers.worker": (
        *MEETING,
        "snickers.front_door",
        "snickers.plane",
        "snickers.printed",
        "snickers.workers",
    ),
    # The front and the broker: the same words for failures as the engine behind it.
    "snickers.brokerage": (
        *MEETING,
        "snickers.composefile",
        "snickers.config",
        "snickers.containers.engine",
        "snickers.workers.wire",
    ),
    "snickers.broker": (
        *MEETING,
        "snickers.brokerage",
        "snickers.config",
        "snickers.containers",
        "snickers.printed",
        "snickers.workers.wire",
    ),
    "snickers.printed": (),
    # A worker, or the broker, at the other end of a wire.
    "snickers.children": ("snickers.workers.wire",),
    "snickers.ending": (),
    # What is wired is imported when the configuration is without a fault.
    "snickers.starting": (
        "snickers",
        "snickers.config",
        "snickers.ending",
        "snickers.front_door",
        "snickers.tap",
    ),
    "snickers.alarm": ("snickers.interfaces", "snickers.alarm_command"),
    "snickers.alarm_command": (),
    "snickers.front_door": ("snickers.notify",),
    # Small: the keeper stays while what it runs comes and goes.
    "snickers.teams": (
        *MEETING,
        "snickers",
        "snickers.alarm",
        "snickers.alarm_command",
        "snickers.config",
        "snickers.ending",
        "snickers.control.socketfile",
        "snickers.heartbeat",
        "snickers.listening",
        "snickers.notify",
        "snickers.pidfd",
        "snickers.tls.threads",
    ),
    "snickers.poller": (),
    # The fakes fail as the real engines do.
    "snickers.testing": (*MEETING, "snickers.containers.engine"),
}
"""What each room may import besides itself; `snickers.tap` may import everything."""

WIRINGS = ("snickers.tap", "snickers.worker", "snickers.broker", "snickers.teams.tap")
"""The first process', a worker's, the broker's and the keeper's: they name the real reactor."""

PURE = (
    "snickers.config.ini",
    "snickers.config.values",
    "snickers.containers.life",
    "snickers.containers.lifecycle",
    "snickers.interfaces",
    "snickers.workers.alarms",
    "snickers.workers.leases",
)
"""Pure modules, besides those that say so: whose docstring has the word ``Pure``."""
IMPURE = ("asyncio", "io", "os", "pathlib", "random", "select", "socket", "subprocess", "threading")
IMPURE += ("time", "twisted.internet", "twisted.python", "twisted.application")
SPARED = {
    # In signatures alone.
    "snickers.interfaces": ("twisted.internet.defer",),
    # Of a time that comes in.
    "snickers.http.logforms": ("time",),
    "snickers.http.pages": ("time",),
}
"""What a pure module may import all the same."""

TOGETHER = ("snickers.interfaces",)
"""Rooms that are looked at whole, by one test module."""


def modules(folder: Path) -> dict[str, str]:
    """The text of every module below *folder*, by its dotted name."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path.read_text("utf-8")
    return found


def imported(name: str, text: str, known: Iterable[str]) -> Iterator[str]:
    """Every module that the module *name* imports anywhere in its *text*."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A relative import would escape this check; absolute ones are the project's style.
            assert node.level == 0, f"{name} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (
                    whole
                    if whole in known or whole == "twisted.internet.reactor"
                    else str(node.module)
                )


def within(name: str, room: str) -> bool:
    """Whether the module *name* is *room* or in it."""
    return name == room or name.startswith(room + ".")


def room_of(name: str) -> str:
    """The room of the module *name*: the longest entry of `ROOMS`."""
    return max((room for room in ROOMS if within(name, room)), key=len)


def wrong_arrows(texts: Mapping[str, str]) -> list[str]:
    """Every import from one room into another that `ROOMS` does not allow."""
    wrong = []
    for name, text in texts.items():
        if not within(name, "snickers") or name == "snickers.tap":
            continue
        room = room_of(name)
        for other in imported(name, text, texts):
            if not within(other, "snickers") or (room != "snickers" and within(other, room)):
                continue
            # "snickers" alone is the version, not all that is in the package.
            fine = any(
                other == entry or (entry != "snickers" and within(other, entry))
                for entry in ROOMS[room]
            )
            if not fine:
                wrong.append(f"{name} imports {other}")
    return sorted(set(wrong))


def says_pure(text: str) -> bool:
    """Whether the docstring of the module *text* says that it is pure."""
    return re.search(r"\bPure\b", ast.get_docstring(ast.parse(text)) or "") is not None


def impure(texts: Mapping[str, str]) -> list[str]:
    """Every import of a pure module that has an effect, a clock or a Deferred behind it."""
    wrong = []
    for name, text in texts.items():
        if not (any(within(name, one) for one in PURE) or says_pure(text)):
            continue
        spared = [other for one in SPARED if within(name, one) for other in SPARED[one]]
        wrong += [
            f"{name} imports {other}"
            for other in imported(name, text, texts)
            if other not in spared and any(within(other, effect) for effect in IMPURE)
        ]
    return wrong


def global_reactors(texts: Mapping[str, str]) -> list[str]:
    """Every module but the wiring that imports the one reactor."""
    return [
        name
        for name, text in texts.items()
        if name not in WIRINGS and "twisted.internet.reactor" in imported(name, text, texts)
    ]


def untested(texts: Mapping[str, str], tests: Iterable[str]) -> list[str]:
    """Every module with code that has no test module of its name."""
    missing = []
    for name, text in texts.items():
        parts = name.split(".")
        names = {f"test_{parts[-1]}", f"test_{'_'.join(parts[1:])}"}
        if any(within(name, room) for room in TOGETHER):
            names = {f"test_{parts[1]}"}
        code = any(
            not isinstance(node, ast.Expr | ast.Import | ast.ImportFrom | ast.Assign)
            for node in ast.parse(text).body
        )
        if code and not names & set(tests):
            missing.append(name)
    return missing


class RoomsTests(SynchronousTestCase):
    """The source as it is."""

    def setUp(self) -> None:
        self.texts = modules(SOURCE)

    def test_arrows(self) -> None:
        """No room imports what it may not."""
        self.assertEqual(wrong_arrows(self.texts), [])

    def test_pure(self) -> None:
        """Pure modules, and all that call themselves so, import nothing that has an effect."""
        self.assertEqual(impure(self.texts), [])
        self.assertTrue(says_pure(self.texts["snickers.http.request"]))
        for name in PURE:
            self.assertIn(name, self.texts)
        self.assertIn("snickers.interfaces.engine", self.texts)

    def test_reactor(self) -> None:
        """Only the wiring names the real reactor."""
        self.assertEqual(global_reactors(self.texts), [])

    def test_every_module_is_tested(self) -> None:
        """Every source module has a test module of its name."""
        self.assertEqual(untested(self.texts, [path.stem for path in TESTS.glob("test_*.py")]), [])

    def test_something_is_looked_at(self) -> None:
        """The source is where these tests look for it."""
        self.assertIn("snickers.http.request", self.texts)
        self.assertIn("twisted.plugins.snickers_plugin", self.texts)


class ChecksTests(SynchronousTestCase):
    """The checks find what they look for."""

    def test_wrong_arrows(self) -> None:
        """An arrow between two rooms, however it is written, is found; allowed ones are not."""
        texts = {
            "snickers.tls.port": "from snickers.http.http1 import Http1",
            "snickers.http.http1": "def f():\n    import snickers.tls.port",
            "snickers.config.parse": "from snickers import stream",
            "snickers.containers.docker": "from snickers.config import parse",
            "snickers.relay": "import snickers.stream, snickers.interfaces.alarm",
            "snickers.control.api": "from snickers import __version__\nimport snickers.tls.port",
            "snickers.http.proxy": "from snickers.http.upstream import Upstream\nimport os",
            "snickers.stream": "",
            "snickers.tap": "import snickers.http.http1",
        }
        self.assertEqual(
            wrong_arrows(texts),
            [
                "snickers.config.parse imports snickers.stream",
                "snickers.containers.docker imports snickers.config.parse",
                "snickers.control.api imports snickers.tls.port",
                "snickers.http.http1 imports snickers.tls.port",
                "snickers.relay imports snickers.interfaces.alarm",
                "snickers.tls.port imports snickers.http.http1",
            ],
        )

    def test_impure(self) -> None:
        """A clock, a file or a Deferred in a pure module is found."""
        texts = {
            "snickers.http.request": '"""Heads.\n\nPure: bytes in."""\nimport time, re',
            "snickers.http.upstream": '"""Not pure."""\nimport time',
            "snickers.config.ini": "from os import path",
            "snickers.containers.lifecycle": "from twisted.internet.defer import Deferred",
            "snickers.interfaces.copies": "from twisted.internet.defer import Deferred",
            "snickers.interfaces.lives": "from twisted.internet.task import Clock",
        }
        self.assertEqual(
            sorted(impure(texts)),
            [
                "snickers.config.ini imports os",
                "snickers.containers.lifecycle imports twisted.internet.defer",
                "snickers.http.request imports time",
                "snickers.interfaces.lives imports twisted.internet.task",
            ],
        )

    def test_global_reactors(self) -> None:
        """Both ways of importing the one reactor are found."""
        texts = {
            "snickers.tap": "from twisted.internet import reactor",
            "snickers.worker": "from twisted.internet import reactor",
            "snickers.a": "from twisted.internet import reactor",
            "snickers.b": "def f():\n    import twisted.internet.reactor",
            "snickers.c": "from twisted.internet import task",
        }
        self.assertEqual(global_reactors(texts), ["snickers.a", "snickers.b"])

    def test_untested(self) -> None:
        """A module without a test module is found; by its own or by its room's name it has one."""
        texts = {
            "snickers": "__version__ = '1'",
            "snickers.http.proxy": "def f(): ...",
            "snickers.http.static": "def f(): ...",
            "snickers.tls.port": "class P: ...",
            "snickers.interfaces.proxy": "class I: ...",
        }
        self.assertEqual(
            untested(texts, ["test_proxy", "test_http_static"]),
            ["snickers.tls.port", "snickers.interfaces.proxy"],
        )
        self.assertEqual(
            untested(texts, ["test_proxy", "test_static", "test_port", "test_interfaces"]), []
        )
