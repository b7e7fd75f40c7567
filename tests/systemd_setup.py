"""A host of its own for tests of units: a real systemd that has just booted, in namespaces.

It is process 1 of its own, with its own network, cgroup and root folder; of the real host it sees
/usr, read-only, and the Python of the tests. It needs root, and ends with the test, also if that is
killed.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import ssl
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection
from typing import Any

from twisted.trial.unittest import SkipTest

import snickers
from tests.live_setup import WITHIN
from tests.teams_setup import until

SYSTEMD = Path("/lib/systemd/systemd")
VISITORS = 4
_NEW_NETWORK = 0x40000000
"""CLONE_NEWNET of setns(2)."""

BOOT = r"""
set -eu
root=$1 python=$2 packages=$3 source=$4
mount --make-rprivate /
mount -t tmpfs -o mode=755,size=256m root "$root"
cd "$root"
mkdir -p usr etc/systemd/system etc/snickers var/lib var/log var/tmp run tmp proc sys dev root \
    home opt/python opt/packages opt/source srv/www data/domains old
chmod 1777 tmp var/tmp
for folder in bin sbin lib lib64; do [ ! -L /$folder ] || cp -P /$folder $folder; done
bind() { mount --bind "$1" "$2"; mount -o remount,bind,ro "$2"; }
bind /usr usr
bind "$python" opt/python
bind "$packages" opt/packages
bind "$source" opt/source
for file in nsswitch.conf localtime; do
    [ ! -e /etc/$file ] || cp -L /etc/$file etc/
done
# A Python that was built by hand may have its library beside it.
{ echo /opt/python/lib; cat /etc/ld.so.conf.d/*.conf; } >etc/ld.so.conf
ldconfig -r .
cat >etc/passwd <<END
root:x:0:0::/root:/bin/sh
nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin
snickers:x:990:990::/var/lib/snickers:/usr/sbin/nologin
END
printf 'root:x:0:\nnogroup:x:65534:\nsnickers:x:990:\n' >etc/group
printf '127.0.0.1 localhost\n' >etc/hosts
: >etc/machine-id
: >etc/fstab
# What would change the real host, or waits for what is not here.
for unit in systemd-sysctl.service systemd-modules-load.service systemd-journald-audit.socket \
    systemd-udevd.service systemd-logind.service getty.target timers.target dbus.socket \
    dbus.service remote-fs.target network-online.target; do
    ln -s /dev/null etc/systemd/system/$unit
done
# As others would have them: what is on for a fresh Debian is not looked at here.
mkdir etc/systemd/system-preset
echo 'disable *' >etc/systemd/system-preset/00-none.preset
mount -t proc proc proc
bind proc/sys proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 dev dev
for node in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 dev/${node%:*} c 1 ${node#*:}
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
mount -t tmpfs shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 run run
ip link set lo up
pivot_root . old
umount -l /old
exec env -i container=snickers PATH=/usr/sbin:/usr/bin \
    /lib/systemd/systemd --system --unit=multi-user.target
"""


def _cgroups() -> Path:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(where)
    raise SkipTest("no cgroup2 is mounted here to give a systemd a part of")


class HalfWay:
    """Where a visitor rests in the middle of a request."""

    def __init__(self) -> None:
        self.there = threading.Event()
        self.go_on = threading.Event()


class Host:
    """A booted host, with what docs/deploying.md has one install, and a site ``mine.example``."""

    def __init__(self, test: Any) -> None:
        if os.geteuid() != 0:
            raise SkipTest("a systemd of its own needs root")
        if not SYSTEMD.exists():
            raise SkipTest("systemd is not installed: apt install systemd")
        self.folder = Path(tempfile.mkdtemp(prefix="snickers-units-"))
        test.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self._cgroup = _cgroups() / self.folder.name
        may = subprocess.run(
            ["unshare", "--mount", "--pid", "--net", "--fork", "true"],
            capture_output=True,
            text=True,
        )
        try:
            self._cgroup.mkdir()
        except OSError as problem:
            raise SkipTest(f"a systemd needs a cgroup of its own: {problem}") from None
        test.addCleanup(self._remove_cgroup)
        if may.returncode != 0:
            raise SkipTest(f"a systemd needs namespaces of its own: {may.stderr.strip()}")
        (self.folder / "boot").write_text(BOOT)
        (self.folder / "root").mkdir()
        procs = self._cgroup / "cgroup.procs"
        packages, source = sysconfig.get_path("purelib"), Path(snickers.__file__).parent.parent
        # Ended with the thread that starts it, and with it the whole host.
        command = [
            *("setpriv", "--pdeathsig", "KILL", "unshare", "--fork", "--kill-child"),
            *("--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net"),
            *("sh", str(self.folder / "boot"), str(self.folder / "root")),
            *(sys.base_prefix, packages, str(source)),
        ]
        self._log = self.folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", f'echo $$ >{procs} && exec "$@"', "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        test.addCleanup(self._end)
        self.pid = until(self._first, "no process 1")
        until(self._booted, "systemd has not booted")
        self._install()

    def _first(self) -> int:
        """Return the real number of the host's process 1, once it is systemd."""
        assert self._process.poll() is None, self._log.read_text()
        pid = self._process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                return int(child)
        return 0

    def _booted(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        return self.try_("systemctl", "is-system-running").stdout.strip() in (
            "running",
            "degraded",
        )

    def _end(self) -> None:
        self._process.kill()
        self._process.wait(WITHIN)

    def _remove_cgroup(self) -> None:
        def removed() -> bool:
            folders = [path for path in self._cgroup.rglob("*") if path.is_dir()]
            try:
                for path in [*sorted(folders, reverse=True), self._cgroup]:
                    path.rmdir()
            except OSError:
                return False
            return True

        until(removed, f"{self._cgroup} cannot be removed")

    # What it has

    def path(self, path: str) -> Path:
        """Return where *path* of this host is for us."""
        return Path(f"/proc/{self.pid}/root{path}")

    def _install(self) -> None:
        """What docs/deploying.md says, without the network: three environments that share what the
        tests' own one has."""
        python = f"python{sys.version_info.major}.{sys.version_info.minor}"
        for folder in ("keeper", "blue/.venv", "red/.venv"):
            venv = self.path(f"/srv/snickers/{folder}")
            packages = venv / "lib" / python / "site-packages"
            packages.mkdir(parents=True)
            (packages / "all.pth").write_text("/opt/source\n/opt/packages\n")
            (venv / "pyvenv.cfg").write_text("home = /opt/python/bin\n")
            (venv / "bin").mkdir()
            (venv / "bin" / "python").symlink_to(f"/opt/python/bin/{python}")
            for name, call in (
                ("twistd", "from twisted.scripts.twistd import run; run()"),
                ("snickers", "from snickers.control.command import main; raise SystemExit(main())"),
            ):
                program = venv / "bin" / name
                program.write_text(f"#!/srv/snickers/{folder}/bin/python\n{call}\n")
                program.chmod(0o755)
        self.path("/etc/snickers/sites.ini").write_text(
            "[snickers]\nhttps = tcp:443\nhttp = tcp:80\nstate = /var/lib/snickers\n"
            "data = /data/domains\ncertificates = internal\n"
            "[mine.example]\ntype = static\nroot = /srv/www\n"
        )
        self.path("/srv/www/index.html").write_text("hello")
        user = 990
        os.chown(self.path("/data/domains"), user, user)

    # What is done there

    def try_(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run *command* there, as root; return how it went."""
        return subprocess.run(
            [
                *("nsenter", "--target", str(self.pid)),
                *("--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net"),
                *("env", "-i", "PATH=/srv/snickers/keeper/bin:/usr/sbin:/usr/bin", *command),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=WITHIN,
        )

    def run(self, *command: str) -> str:
        """Run *command* there, as root; return what it printed."""
        done = self.try_(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{self.journal()}"
        return done.stdout

    def shown(self, name: str) -> str:
        """Return what systemd knows of the service by *name*."""
        return self.run(
            "systemctl", "show", "--property", name, "--value", "snickers-teams"
        ).strip()

    def until_shown(self, name: str, value: str) -> None:
        """Wait until systemd knows that of the service."""
        until(lambda: self.shown(name) == value, f"{name} is never {value!r}")

    def journal(self) -> str:
        """Return what the service has logged."""
        return self.try_("journalctl", "--unit", "snickers-teams", "--output", "cat").stdout

    def processes(self) -> list[Mapping[str, str]]:
        """Return what proc(5) says of the status of each process of the service."""
        group = self.path("/sys/fs/cgroup/system.slice/snickers-teams.service/cgroup.procs")
        found = []
        for pid in self.run("cat", str(group).removeprefix(f"/proc/{self.pid}/root")).split():
            lines = self.path(f"/proc/{pid}/status").read_text().splitlines()
            found.append({k: v.strip() for k, _, v in (line.partition(":") for line in lines)})
        return found

    # Who visits it

    def enter(self) -> None:
        """Have this thread's sockets be of this host's network from now on."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/proc/{self.pid}/ns/net") as network:
            if libc.setns(network.fileno(), _NEW_NETWORK) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    def visit(self, half_way: HalfWay | None = None) -> str:
        """Ask for the page, in a thread that has entered; *half_way*: rest when half of the request
        is sent."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with (
            create_connection(("127.0.0.1", 443), WITHIN) as sock,
            context.wrap_socket(sock, server_hostname="mine.example") as stream,
        ):
            stream.sendall(b"GET / HTTP/1.1\r\nHost: mine.example\r\n")
            if half_way is not None:
                half_way.there.set()
                half_way.go_on.wait(WITHIN)
            stream.sendall(b"Connection: close\r\n\r\n")
            answer = b"".join(iter(lambda: stream.recv(65536), b""))
        return answer.rpartition(b"\r\n\r\n")[2].decode()

    @contextmanager
    def visitor(self, said: list[str], half_way: HalfWay | None = None) -> Iterator[None]:
        """Have somebody ask for the page, whose answer is in *said* at the end."""

        def ask() -> None:
            self.enter()
            try:
                said.append(self.visit(half_way))
            except OSError as problem:
                said.append(repr(problem))

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            thread.join()

    @contextmanager
    def crowd(self) -> Iterator[Counter[str]]:
        """Have visitors come and go all the time, and count what they get."""
        counts: Counter[str] = Counter()
        over = threading.Event()

        def come() -> None:
            self.enter()
            while not over.is_set():
                began = time.strftime("%T")
                try:
                    said = self.visit()
                except OSError as problem:
                    said = f"{problem!r}, {began} to {time.strftime('%T')}"
                counts[said] += 1
                time.sleep(0.02)

        threads = [threading.Thread(target=come) for _ in range(VISITORS)]
        for thread in threads:
            thread.start()
        try:
            yield counts
        finally:
            over.set()
            for thread in threads:
                thread.join()
