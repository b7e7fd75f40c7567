"""systemd's units of two teams under a real systemd, as docs/deploying.md has one use them."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live_setup import WITHIN
from tests.systemd_setup import HalfWay, Host
from tests.teams_setup import until
from tests.test_units import EXPOSED, UNITS


class UnitsLiveTests(SynchronousTestCase):
    def host(self, way: str) -> Host:
        """Return a host that has the units of one way."""
        host = Host(self)
        names = []
        for unit in sorted((UNITS / way).iterdir()):
            shutil.copy(unit, host.path("/etc/systemd/system") / unit.name)
            names.append(unit.name)
        verified = host.try_("systemd-analyze", "verify", "--man=no", *names)
        self.assertEqual((verified.returncode, verified.stderr), (0, ""))
        host.run("systemctl", "daemon-reload")
        host.run("systemctl", "enable", "--now", *names)
        # Type=notify: by now a team serves, and has said so.
        self.assertEqual(host.shown("ActiveState"), "active")
        self.assertEqual(host.shown("StatusText"), "blue serves")
        return host

    def hardened(self, host: Host, capabilities: int) -> None:
        """See that the processes have what the unit gives them, and no more."""
        security = host.run("systemd-analyze", "security", "--no-pager", "snickers-teams")
        found = re.search(r"Overall exposure level for .*: ([0-9.]+)", security)
        assert found is not None, security
        self.assertLess(float(found[1]), EXPOSED)
        processes = host.processes()
        self.assertGreaterEqual(len(processes), 2)
        for status in processes:
            self.assertEqual(status["Uid"].split(), ["990"] * 4)
            self.assertEqual(int(status["CapEff"], 16), capabilities)
            self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
        state = host.path("/var/lib/snickers").stat()
        self.assertEqual((state.st_uid, state.st_mode & 0o777), (990, 0o700))

    def change(self, host: Host, verb: str, status: str) -> None:
        host.run("snickers", "teams", verb)
        host.until_shown("StatusText", status)

    def kept(self, host: Host) -> None:
        """A reload, a switch, a keeper that is killed on trial, its update, and the commit."""
        trial = "red serves, on trial; blue stands by"
        host.run("systemctl", "reload", "snickers-teams")
        until(lambda: "SIGHUP: reloading" in host.journal(), "the team has not reloaded")
        self.change(host, "switch", trial)
        killed = host.shown("MainPID")
        host.run("kill", "-KILL", killed)
        host.until_shown("NRestarts", "1")
        host.until_shown("StatusText", trial)
        keeper = host.shown("MainPID")
        self.assertNotEqual(keeper, killed)
        host.run("systemctl", "kill", "--kill-whom=main", "--signal=USR2", "snickers-teams")
        until(lambda: host.journal().count("taking up 2 running") == 2, "no newer keeper")
        self.assertEqual(host.shown("MainPID"), keeper)
        self.assertEqual(host.shown("StatusText"), trial)
        # What the teams may write to temporarily is there still.
        live = json.loads(host.run("snickers", "--json", "teams"))["live"]["pid"]
        host.run("nsenter", "--target", str(live), "--mount", "touch", "/tmp/file", "/var/tmp/file")
        self.change(host, "commit", "red serves")
        self.assertEqual(host.shown("NRestarts"), "1")

    def quiet(self, host: Host) -> None:
        """What is logged is no trouble."""
        trouble = [
            line
            for line in host.journal().splitlines()
            if re.search(r"#(warn|error|critical)|Traceback|not permitted|Permission denied", line)
        ]
        self.assertEqual(trouble, [])

    def seen(self, host: Host, counts: Counter[str]) -> None:
        self.assertGreater(counts["hello"], 20)
        self.assertEqual(set(counts), {"hello"}, host.journal())

    def hung(self, host: Host) -> None:
        """A keeper that does nothing any more is ended, says what it was doing, and the next one
        goes on with the teams."""
        folder = host.path("/etc/systemd/system/snickers-teams.service.d")
        folder.mkdir()
        (folder / "soon.conf").write_text("[Service]\nWatchdogSec=4\n")
        host.run("systemctl", "daemon-reload")
        host.run("systemctl", "restart", "snickers-teams")
        live = json.loads(host.run("snickers", "--json", "teams"))["live"]["pid"]
        hung = host.shown("MainPID")
        host.run("kill", "-STOP", hung)
        host.until_shown("NRestarts", "1")
        host.until_shown("StatusText", "red serves")
        self.assertNotEqual(host.shown("MainPID"), hung)
        self.assertIn("Fatal Python error: Aborted", host.journal())
        self.assertEqual(json.loads(host.run("snickers", "--json", "teams"))["live"]["pid"], live)

    def test_sockets(self) -> None:
        """Where systemd holds the ports nothing that is done with the service costs a visitor."""
        host = self.host("sockets")
        self.hardened(host, 0)
        told = json.loads(host.run("snickers", "--json", "teams"))
        self.assertEqual(told["sockets"], ["https", "http"])
        with host.crowd() as counts:
            self.kept(host)
        self.seen(host, counts)

        # It is stopped while somebody is half-way through a request, which is finished.
        said: list[str] = []
        half_way = HalfWay()
        with host.visitor(said, half_way):
            self.assertTrue(half_way.there.wait(WITHIN))
            host.run("systemctl", "stop", "--no-block", "snickers-teams")
            until(lambda: host.shown("StatusText").startswith("the keeper ends"), "it does not end")
            self.assertEqual(host.shown("ActiveState"), "deactivating")
            half_way.go_on.set()
            host.until_shown("ActiveState", "inactive")
        self.assertEqual(said, ["hello"])
        self.assertEqual(
            host.run("systemctl", "is-active", "snickers-https.socket").strip(), "active"
        )

        # Whoever comes then has it started, and waits for that.
        with host.visitor(said), host.visitor(said):
            host.until_shown("ActiveState", "active")
        self.assertEqual(said, ["hello"] * 3)
        self.assertEqual(host.shown("StatusText"), "red serves")
        self.quiet(host)
        self.hung(host)

    def test_binding(self) -> None:
        """The keeper that binds the ports itself does with the one capability, and one that is
        killed costs nobody his connection: the next one takes the sockets from the teams."""
        scope = Path("/proc/sys/kernel/yama/ptrace_scope")
        if scope.exists() and scope.read_text().strip() != "0":
            raise SkipTest("a keeper that is not root may not look into its teams: ptrace_scope")
        host = self.host("binding")
        self.hardened(host, 1 << 10)
        with host.crowd() as counts:
            self.kept(host)
        self.seen(host, counts)
        host.run("systemctl", "stop", "snickers-teams")
        self.assertEqual(host.shown("Result"), "success")
        self.quiet(host)
