"""The compose tool: which one it is, what it is given, and that it ends."""

from __future__ import annotations

import os
import shutil
import stat
import threading
import time

from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import composetool
from snickers.containers.composetool import Tool, at_work, find, own_distutils
from snickers.containers.engine import EngineFailed
from snickers.containers.errand import Abandoned, Errand

SCRIPT = """#!/bin/sh
{what}
"""


class ToolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(os.path.join(self.folder, "cli-plugins"))
        self.patch(composetool, "PLUGINS", ())
        self.environment = {
            "DOCKER_CONFIG": self.folder,
            "PATH": "/usr/bin:/bin",
            "SECRET": "of Snickers",
        }

    def tool(self, what: str) -> Tool:
        """A tool that does *what*, a line of a shell."""
        self.path = os.path.join(self.folder, "cli-plugins", "docker-compose")
        with open(self.path, "w") as file:
            file.write(SCRIPT.format(what=what))
        os.chmod(self.path, 0o755)
        return Tool("unix:///docker.sock", self.environment)

    def run_tool(self, what: str, **more):
        tool = self.tool(what)
        return tool.run("p", "/data", ["up", "-d"], b"services", Errand(), **more)

    def test_found(self) -> None:
        """The plugin comes before the older program, the user's own before all."""
        self.environment["PATH"] = self.folder
        self.assertIsNone(find(self.environment))
        older = os.path.join(self.folder, "docker-compose")
        plugins = os.path.join(self.folder, "plugins")
        os.mkdir(plugins)
        self.patch(composetool, "PLUGINS", (plugins,))
        newer = os.path.join(plugins, "docker-compose")
        for path in (older, newer, os.path.join(self.folder, "cli-plugins", "docker-compose")):
            with open(path, "w"):
                pass
            os.chmod(path, 0o644)
            self.assertNotEqual(find(self.environment), path)
            os.chmod(path, stat.S_IRWXU)
            self.assertEqual(find(self.environment), path)

    def test_lacking(self) -> None:
        """Where there is none, it is said what to install."""
        self.environment["PATH"] = self.folder
        tool = Tool("", self.environment)
        problem = self.assertRaises(EngineFailed, tool.run, "p", "/", ["up"], b"", Errand())
        self.assertIn("docker-compose", str(problem))

    def test_cannot_be_run(self) -> None:
        """One that is no program fails."""
        tool = self.tool("")
        with open(self.path, "wb") as file:
            file.write(b"\x00\x01")
        self.patch(composetool, "PATH", "/nonexistent")
        problem = self.assertRaises(EngineFailed, tool.run, "p", "/", ["up"], b"", Errand())
        self.assertIn("cannot be run", str(problem))

    def test_given(self) -> None:
        """It is given the file, the project, the folder, and an empty file of variables."""
        ended = self.run_tool(
            'cat "$4"; stat -c " %a" "$4"; echo "$*"; test ! -s "$8" && echo empty'
        )
        self.assertRegex(
            ended.text,
            r"\Aservices 600\n-p p -f (/\S+) --project-directory /data --env-file (/\S+) up -d\n"
            r"empty\n\Z",
        )
        self.assertEqual(ended.code, 0)
        self.assertFalse([word for word in ended.text.split() if os.path.exists(word)])

    def test_environment(self) -> None:
        """It gets Docker's place and the site's variables, and no more of Snickers' own than it
        needs; no variable of a site can send it elsewhere."""
        variables = {"TITLE": "a\nb", "DOCKER_HOST": "tcp://elsewhere", "PATH": "/elsewhere"}
        variables |= {"LD_PRELOAD": "/none.so", "COMPOSE_PROFILES": "x", "DOCKER_API_VERSION": "1"}
        variables |= {"https_proxy": "http://elsewhere", "OTEL_X": "y", "SSL_CERT_FILE": "/none"}
        lines = self.run_tool("env", variables=variables).text.splitlines()
        self.assertIn("DOCKER_HOST=unix:///docker.sock", lines)
        self.assertIn("TITLE=a", lines)
        self.assertIn("PATH=/usr/bin:/bin", lines)
        for word in ("https_proxy", "OTEL_X", "SSL_CERT_FILE"):
            self.assertFalse([line for line in lines if word in line], word)
        for word in ("SECRET", "LD_PRELOAD", "COMPOSE_PROFILES", "DOCKER_API_VERSION"):
            self.assertFalse([line for line in lines if word in line], word)

    def test_own_distutils(self) -> None:
        """The older tool is kept from loading setuptools, where its Python needs none; no variable
        of a site's says otherwise, and other tools are told nothing."""
        python = os.path.join(self.folder, "bin", "python3.11")
        distutils = os.path.join(self.folder, "lib", "python3.11", "distutils")
        environments = os.path.join(self.folder, "environment")
        for folder in (os.path.dirname(python), distutils, environments):
            os.makedirs(folder)
        shutil.copy("/bin/sh", python)
        link = os.path.join(environments, "python")
        os.symlink(python, link)
        tool = self.tool("")
        with open(self.path, "w") as file:
            file.write(f"#!{link} -u\nenv\n")

        def told() -> list[str]:
            variables = {"SETUPTOOLS_USE_DISTUTILS": "local"}
            done = tool.run("p", "/data", ["up"], b"", Errand(), variables)
            return [line for line in done.text.splitlines() if line.startswith("SETUPTOOLS")]

        self.assertEqual(told(), [])
        with open(os.path.join(distutils, "spawn.py"), "w"):
            pass
        self.assertEqual(told(), ["SETUPTOOLS_USE_DISTUTILS=stdlib"])
        for nothing in (b"", b"\x7fELF\n", b"#!\n", b"#!" + link.encode()[1:]):
            with open(self.path, "wb") as file:
                file.write(nothing)
            self.assertFalse(own_distutils(self.path))
        self.assertFalse(own_distutils("/nonexistent"))

    def test_ended(self) -> None:
        """Its status and its last words are told; each line while it runs."""
        told: list[str] = []
        ended = self.run_tool("seq 100 >&2; exit 3", line=told.append)
        self.assertEqual((ended.code, len(told), ended.said[-1]), (3, 100, "100"))
        self.assertLessEqual(len(ended.said), composetool.MOST_LINES)

    def test_cancelled(self) -> None:
        """Cancelled, all of it is killed at once."""
        tool = self.tool("echo go >&2; sleep 1000 & wait")
        errand = Errand()
        began = time.monotonic()
        self.assertRaises(
            Abandoned,
            tool.run,
            *("p", "/", ["up"], b"", errand),
            line=lambda line: threading.Thread(target=errand.cancel).start(),
        )
        self.assertLess(time.monotonic() - began, 100)

    def test_cancelled_before(self) -> None:
        """An errand that was cancelled already runs nothing to its end."""
        errand = Errand()
        errand.cancel()
        tool = self.tool("sleep 1000")
        self.assertRaises(Abandoned, tool.run, "p", "/", ["up"], b"", errand)

    def test_at_work(self) -> None:
        """Whoever runs one for a project, it is seen, until it has ended."""
        tool = self.tool("echo go >&2; sleep 1000")
        project = f"project-{os.getpid()}"
        seen: list[bool] = []
        errand = Errand()

        def look(line: str) -> None:
            seen.extend([at_work(project), at_work(project + "x")])
            errand.cancel()

        arguments = (project, "/", ["up"], b"", errand)
        self.assertRaises(Abandoned, tool.run, *arguments, line=look)
        self.assertEqual(seen, [True, False])
        self.assertFalse(at_work(project))

    def fake_proc(self, project: str) -> str:
        """A /proc of one process that calls itself a tool at work for *project*."""
        proc = os.path.abspath(self.mktemp())
        for name in ("self", "7"):
            os.makedirs(os.path.join(proc, name, "ns"))
        with open(os.path.join(proc, "self", "ns", "pid"), "w"):
            pass
        os.link(os.path.join(proc, "self", "ns", "pid"), os.path.join(proc, "7", "ns", "pid"))
        with open(os.path.join(proc, "7", "cmdline"), "wb") as file:
            file.write(b"x\0-p\0%s\0--project-directory\0/\0up" % project.encode())
        return proc

    def test_at_work_ours(self) -> None:
        """Only what belongs to our own user counts, and nothing that is in a container."""
        proc = self.fake_proc("p")
        self.assertTrue(at_work("p", proc))
        ours = os.geteuid()
        with self.subTest("another user"):
            self.patch(os, "geteuid", lambda: ours + 1)
            self.assertFalse(at_work("p", proc))
        self.patch(os, "geteuid", lambda: ours)
        os.unlink(os.path.join(proc, "7", "ns", "pid"))
        self.assertFalse(at_work("p", proc))
        with open(os.path.join(proc, "7", "ns", "pid"), "w"):
            pass
        self.assertFalse(at_work("p", proc))

    def test_late(self) -> None:
        """One that is not done in time is killed, and so is what it has started."""
        began = time.monotonic()
        problem = self.assertRaises(
            EngineFailed, self.run_tool, "sleep 1000 & sleep 1000", within=0.2
        )
        self.assertIn("was not done within 0.2 s, and was killed", str(problem))
        self.assertLess(time.monotonic() - began, 100)

    def test_killed_in_the_middle(self) -> None:
        """One that somebody kills has failed; what it has started and holds its outputs open ends
        with who called."""
        errand = Errand()
        tool = self.tool("echo go >&2; sleep 1000 & kill -9 $$")
        calling_off = threading.Timer(0.5, errand.cancel)
        calling_off.start()
        self.assertRaises(Abandoned, tool.run, "p", "/", ["up"], b"", errand)
        ended = self.run_tool("kill -9 $$")
        self.assertEqual(ended.code, -9)

    def test_answer_left_open(self) -> None:
        """What it leaves behind, and has its answer open, is ended and not waited for."""
        self.patch(composetool, "LEFT_OPEN", 0.2)
        ended = self.run_tool("echo yes; sleep 1000 2>/dev/null & exit 0")
        self.assertEqual((ended.code, ended.text), (0, "yes\n"))

    def test_endless_line(self) -> None:
        """A line without end is not kept whole."""
        told: list[int] = []
        self.run_tool(
            "head -c 1000000 /dev/zero | tr '\\0' x >&2", line=lambda line: told.append(len(line))
        )
        self.assertEqual(sum(told), 1000000)
        self.assertLessEqual(max(told), composetool.MOST_LINE)

    def test_no_room(self) -> None:
        """Where what it is given cannot be written, that is said, and nothing is run."""
        tool = self.tool("exit 0")
        self.patch(composetool.tempfile, "tempdir", os.path.join(self.folder, "none"))
        problem = self.assertRaises(EngineFailed, tool.run, "p", "/", ["up"], b"", Errand())
        self.assertIn("cannot be written to", str(problem))

    def test_too_much(self) -> None:
        """An answer without end is refused."""
        self.patch(composetool, "MOST_TEXT", 100)
        problem = self.assertRaises(EngineFailed, self.run_tool, "seq 40; exec >&-; exit 0")
        self.assertIn("more than", str(problem))

    def test_without_end(self) -> None:
        """Who goes on answering is ended, and not waited for."""
        self.patch(composetool, "MOST_TEXT", 100)
        went_on = os.path.abspath(self.mktemp())
        script = f"timeout --foreground 3 yes; touch {went_on}"
        problem = self.assertRaises(EngineFailed, self.run_tool, script)
        self.assertIn("more than", str(problem))
        self.assertFalse(os.path.exists(went_on))
