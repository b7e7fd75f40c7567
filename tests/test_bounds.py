"""What of this host no site has: paths however they are written, variables of the compose tool."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.bounds import (
    CAPABILITIES,
    GIVING,
    KEPT,
    ROOT,
    SET,
    SOCKETS,
    connects,
    objection,
    outer,
    own_folder,
    plain,
    reaches,
    refused_capability,
    steers,
    unknown_capability,
    within,
)
from snickers.config.values import CAPABILITIES as DEFAULT

OURS = ["/run/docker.sock", "/srv/docker.sock"]


class PathTests(SynchronousTestCase):
    def test_reaches(self) -> None:
        """The socket itself and every folder above it, however they are written; nothing beside
        it."""
        for source in (
            *("/", "//", "/run", "/run/", "/run/docker.sock", "/x/../run", "//run", "///run//"),
            *("//run/docker.sock", "/run/./docker.sock", "/srv//docker.sock"),
        ):
            self.assertTrue(reaches(source, OURS), source)
        for source in ("/srv/docker", "run", "", "/run/docker.sock.d", "/var"):
            self.assertFalse(reaches(source, OURS), source)
        self.assertTrue(reaches("/run", ["//run/docker.sock"]))

    @given(st.lists(st.sampled_from(["/", "//", "/./", "/x/../"]), min_size=2, max_size=2))
    def test_any_way(self, ways: list[str]) -> None:
        """There is no other way of writing it."""
        self.assertTrue(reaches(f"{ways[0]}run{ways[1]}docker.sock", OURS))
        self.assertEqual(plain(f"{ways[0]}run{ways[1]}x"), "/run/x")

    def test_containerd(self) -> None:
        """What Docker is made of counts as Docker."""
        self.assertTrue(objection("/run/containerd", False, SOCKETS))

    def test_objections(self) -> None:
        """What leads to the processes, the kernel, or the terminals of this host is refused, too;
        what is like them only by name is not, and is read only where that is harmless."""
        for source, read_only, words in (
            ("/run", True, "Docker's own socket"),
            ("/proc", True, "all processes"),
            ("/proc/self/cwd/etc", False, "all processes"),
            ("//proc/1/root", False, "all processes"),
            ("/sys/fs/cgroup", False, "steers the kernel"),
            ("/dev", False, "devices"),
            ("/dev/pts/", True, "devices"),
            ("/dev/pts/3", False, "devices"),
            ("/dev//console", False, "devices"),
        ):
            self.assertIn(words, objection(source, read_only, OURS), source)
        for source, read_only in (
            ("/sys/fs/cgroup", True),
            ("/process", False),
            ("/dev/shm", False),
            ("/dev/ptsx", False),
            ("/srv/x", True),
            ("proc", False),
        ):
            self.assertEqual(objection(source, read_only, OURS), "", source)

    def test_own_folder(self) -> None:
        """What is in the folder of a site, this one or another beside it, is told from what is
        elsewhere."""
        for path, folder in (
            ("/data/a", "/data/a"),
            ("/data/a/x/y", "/data/a"),
            ("/data/a/../b/x", "/data/b"),
            ("/data", ""),
            ("/srv/x", ""),
            ("/database/x", ""),
        ):
            self.assertEqual(own_folder(path, "/data/a"), folder, path)
        self.assertEqual(own_folder("/b/x", "/a"), "")
        self.assertEqual(own_folder("/a/x", "/a"), "/a")
        self.assertEqual(own_folder("/x", ""), "")

    def test_outer(self) -> None:
        """What is in a folder that is written to is found, however deep; that one itself is not
        in it."""
        self.assertEqual(outer("/a/b/../b/c", {"/a"}), "/a")
        self.assertEqual(outer("/a/", {"/a"}), "")
        self.assertEqual(outer("/ab", {"/a"}), "")
        self.assertEqual(outer("/ab", {"/"}), "/")

    def test_within(self) -> None:
        """A folder is within itself, and what is beneath it; not what only begins alike."""
        self.assertTrue(within("/a/b", "/a/b"))
        self.assertTrue(within("/a/b/c", "/a/b/"))
        self.assertFalse(within("/a/bc", "/a/b"))


class CapabilityTests(SynchronousTestCase):
    def test_known(self) -> None:
        """All that the kernel of this machine has are known, and those that ordinary images get."""
        self.assertLessEqual(set(DEFAULT), CAPABILITIES)
        self.assertEqual(len(CAPABILITIES), 41)
        for name in CAPABILITIES:
            self.assertEqual(unknown_capability(name), "")

    def test_refused(self) -> None:
        """What is as good as all of them nobody is given; the others, and what is ordinary, are."""
        for name in ("SYS_MODULE", "SYS_ADMIN", "SYS_RAWIO", "SYS_PTRACE", "DAC_READ_SEARCH"):
            self.assertEqual(refused_capability(name), f"{name}: {ROOT}; remove it")
        for name in ("BPF", "MAC_ADMIN", "ALL", "SYSADMIN"):
            self.assertTrue(refused_capability(name), name)
        self.assertLess(GIVING, CAPABILITIES)
        for name in (*DEFAULT, "NET_ADMIN", "NET_RAW", "SYS_NICE", "IPC_LOCK"):
            self.assertEqual(refused_capability(name), "", name)

    def test_misspelt(self) -> None:
        """One that there is not is told, with those that may have been meant; or all of them."""
        self.assertEqual(
            unknown_capability("NET_BIND_SERVISE"),
            "'NET_BIND_SERVISE' is no capability of Linux; write NET_BIND_SERVICE",
        )
        self.assertIn("SYS_TIME", unknown_capability("SYSTIME"))
        words = unknown_capability("QQQ")
        for name in CAPABILITIES:
            self.assertIn(name, words)
        self.assertIn("name those that it needs", unknown_capability("ALL"))


class VariableTests(SynchronousTestCase):
    def test_steers(self) -> None:
        """Those by which a tool finds its files, its libraries or Docker; no other ones."""
        for name in (*KEPT, *SET, "LD_PRELOAD", "DOCKER_HOST", "COMPOSE_FILE", "PYTHONPATH"):
            self.assertTrue(steers(name), name)
        for name in ("OPENSSL_CONF", "GCONV_PATH", "GLIBC_TUNABLES"):
            self.assertTrue(steers(name), name)
        for name in ("TITLE", "DB_HOME", "PATHS", "SNICKERS_DATA", "HOMEPAGE"):
            self.assertFalse(steers(name), name)

    def test_connects(self) -> None:
        """Those by which a program finds Docker, trusts it, or writes files, in whichever case;
        they are no fault, since containers need them."""
        for name in ("HTTP_PROXY", "https_proxy", "No_Proxy", "OTEL_TRACES_EXPORTER", "TMPDIR"):
            self.assertTrue(connects(name), name)
            self.assertFalse(steers(name), name)
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "HOSTALIASES", "all_proxy"):
            self.assertTrue(connects(name), name)
        for name in ("TITLE", "MY_HTTP_PROXY", "HTTP_PROXY_USER", "HOTEL_NAME"):
            self.assertFalse(connects(name), name)
