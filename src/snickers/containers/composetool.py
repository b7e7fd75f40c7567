"""Runs Docker's compose tool, from a thread that waits for it.

Whichever there is: the plugin of ``docker compose``, or the older ``docker-compose``; both are
asked alike. What it is given is in a file for this one run, which nobody else can read or write;
what is kept of its words is bounded. Cancelled, or when Snickers ends, it ends. It must never be
given a shell.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import frozen

from snickers import bounds
from snickers.containers.engine import EngineFailed
from snickers.containers.errand import Abandoned, Errand

PLUGINS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
"""Where Docker's command looks for its plugins, after the user's own folder."""
PLUGIN = "docker-compose"

MOST_TEXT = 16 * 2**20
"""Bytes of an answer: a compose file that a person has written is far smaller."""
MOST_LINES = 50
"""Of its complaints."""
MOST_LINK = 4096
"""Bytes of a script's first line, which names its interpreter."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MOST_LINE = 64 * 2**10
"""Bytes of one of them; a longer one counts as several."""
LEFT_OPEN = 5.0
"""Seconds for which its answer may be open when it has ended: what it has started may hold it."""

LACKING = (
    "services needs Docker's compose tool, which is not installed: apt install docker-compose "
    "(Debian), or docker-compose-plugin (Docker's own packages)."
)


@frozen
class Ended:
    """How the tool ended."""

    code: int
    text: str
    """What it answered."""
    said: tuple[str, ...]
    """The last lines of what it wrote besides."""


def find(environment: Mapping[str, str]) -> str | None:
    """Return the path of the tool, ``None`` where there is none; the newer one first."""
    home = environment.get("DOCKER_CONFIG") or os.path.join(
        environment.get("HOME") or "/root", ".docker"
    )
    for folder in (os.path.join(home, "cli-plugins"), *PLUGINS):
        path = os.path.join(folder, PLUGIN)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return shutil.which(PLUGIN, path=environment.get("PATH", PATH))


def own_distutils(program: str) -> bool:
    """Say whether *program* is the older tool, with a Python that has a distutils of its own.

    It needs that for one function; setuptools puts its own into the place of it, with half of what
    it has, which takes as long to load as all the rest of the tool.
    """
    try:
        with open(program, "rb") as file:
            words = file.readline(MOST_LINK).split()
    except OSError:
        return False
    if not words or not words[0].startswith(b"#!"):
        return False
    # Not the name that a virtual environment has for it.
    python = os.path.realpath(words[0].removeprefix(b"#!"))
    prefix, name = os.path.dirname(os.path.dirname(python)), os.path.basename(python)
    # The last one that has it is 3.11.
    return os.path.isfile(os.path.join(prefix, b"lib", name, b"distutils", b"spawn.py"))


def at_work(project: str, proc: str = "/proc") -> bool:
    """Say whether a tool works for *project* on this host, for this Snickers or another one with
    the same containers, as there is while the two take turns. Only what belongs to our own user,
    and is in no container, counts: sites can have themselves called anything."""
    here = os.stat(f"{proc}/self/ns/pid").st_ino
    for name in os.listdir(proc):
        if name.isdecimal():
            try:
                if os.stat(f"{proc}/{name}").st_uid != os.geteuid():
                    continue
                if os.stat(f"{proc}/{name}/ns/pid").st_ino != here:
                    continue
                with open(f"{proc}/{name}/cmdline", "rb") as file:
                    words = file.read(4096).split(b"\0")
            except OSError:
                continue  # It has ended, or is not for us to see.
            if b"--project-directory" in words and project.encode() in words:
                return True
    return False


class _Program:
    """One that runs; to be closed from any thread."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def __iter__(self) -> Iterator[bytes]:
        assert self._process.stderr is not None
        written = self._process.stderr
        return iter(lambda: written.readline(MOST_LINE), b"")

    def close(self) -> None:
        """Kill it, with all that it has started."""
        # Not asked whether it has ended: what it has started may live, and as long as nobody has
        # waited for it the number is its own.
        if self._process.returncode is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass


class Tool:
    """Docker's compose tool, for one Docker.

    :param docker: its URL.
    :param environment: Snickers' own.
    """

    def __init__(self, docker: str, environment: Mapping[str, str]) -> None:
        self._docker = docker
        self._environment = environment

    def run(
        self,
        project: str,
        folder: str,
        arguments: Sequence[str],
        file: bytes,
        errand: Errand,
        variables: Mapping[str, str] | None = None,
        line: Callable[[str], object] = lambda line: None,
        within: float = math.inf,
    ) -> Ended:
        """Run the tool, with *file* as the compose file of *project*; return how it ended.

        Fails with `EngineFailed` where there is none and when it is not done in time, with
        `Abandoned` when *errand* is cancelled.

        :param folder: what relative paths are relative to.
        :param line: is called with each line of what it writes besides its answer.
        :param within: seconds after which it is killed.
        """
        program = find(self._environment)
        if program is None:
            raise EngineFailed(LACKING)
        try:
            with (
                # Not by its standard input: the older tool would forget the folder.
                tempfile.NamedTemporaryFile(prefix="snickers-", suffix=".yaml") as given,
                tempfile.NamedTemporaryFile(prefix="snickers-") as nothing,
            ):
                given.write(file)
                given.flush()
                command = [program, "-p", project, "-f", given.name, "--project-directory", folder]
                # A file of variables in that folder may be written to by whom it is given to.
                command += ["--env-file", nothing.name, *arguments]
                process = self._begin(program, command, variables or {})
                return self._hear(process, errand, line, within)
        except OSError as error:
            raise EngineFailed(
                f"What the compose tool is given cannot be written to {tempfile.gettempdir()}: "
                f"{error.strerror}."
            ) from None

    def _begin(
        self, program: str, command: Sequence[str], variables: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        ends_with_us = shutil.which("setpriv", path=PATH)
        if ends_with_us:
            command = [ends_with_us, "--pdeathsig", "TERM", "--", *command]
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                env=self._variables(program, variables),
                start_new_session=True,
            )
        except OSError as error:
            raise EngineFailed(
                f"Docker's compose tool {program} cannot be run: {error.strerror}."
            ) from None

    def _hear(
        self,
        process: subprocess.Popen[bytes],
        errand: Errand,
        line: Callable[[str], object],
        within: float,
    ) -> Ended:
        assert process.stdout is not None
        assert process.stderr is not None
        answer: list[bytes] = []
        output, program = process.stdout, _Program(process)

        def read() -> None:
            answer.append(output.read(MOST_TEXT + 1))
            if len(answer[0]) > MOST_TEXT:
                program.close()  # It would wait for ever for somebody to read the rest.

        late = threading.Event()

        def end() -> None:
            late.set()
            program.close()

        reading = threading.Thread(target=read)
        reading.daemon = True
        reading.start()
        timer = threading.Timer(min(within, threading.TIMEOUT_MAX), end)
        timer.daemon = True
        if within < math.inf:
            timer.start()
        said: list[str] = []
        try:
            with errand.hold(program) as written:
                for data in written:
                    words = data.decode("utf-8", "replace").rstrip()
                    said = [*said[1 - MOST_LINES :], words]
                    line(words)
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
                reading.join(LEFT_OPEN)
        finally:
            # It may have ended and left somebody who holds its answer open.
            if reading.is_alive():
                program.close()
            timer.cancel()
            process.wait()
            reading.join(LEFT_OPEN)
            if not reading.is_alive():
                output.close()
            process.stderr.close()
        if errand.cancelled:
            raise Abandoned
        if late.is_set():
            raise EngineFailed(
                f"Docker's compose tool was not done within {within:g} s, and was killed."
            )
        text = b"".join(answer)
        if len(text) > MOST_TEXT:
            raise EngineFailed("The compose tool answers more than a compose file can be.")
        return Ended(process.returncode, text.decode("utf-8", "replace"), tuple(said))

    def _variables(self, program: str, variables: Mapping[str, str]) -> dict[str, str]:
        kept = {name: self._environment[name] for name in bounds.KEPT if name in self._environment}
        kept.setdefault("PATH", PATH)
        own = {
            name: said
            for name, said in variables.items()
            if not bounds.steers(name) and not bounds.connects(name)
        }
        if own_distutils(program):
            kept["SETUPTOOLS_USE_DISTUTILS"] = "stdlib"
        return {
            **own,
            **kept,
            "DOCKER_HOST": self._docker,
            "LC_ALL": "C.UTF-8",
            "COMPOSE_ANSI": "never",
        }
