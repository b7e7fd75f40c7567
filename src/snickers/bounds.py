"""What of this host a site may not have: paths that lead out of it, variables that steer a tool.

Pure: whether a path is a link is for who can look; both the path that is written and where it leads
to are asked about here. It must never take two ways of writing a path for two paths. What is not
listed is the owner's to give away.
"""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Collection, Iterable

SOCKETS = (
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/var/run/containerd/containerd.sock",
    "/run/containerd/containerd.sock",
)
"""Where Docker and what it is made of listen; whoever reaches one is root here."""

ROOT = "whoever has that is root on this host, and reaches every other site"

TERMINALS = ("/dev/pts", "/dev/console")
"""Devices that a container could use without being given them: other people's terminals, all of
them or one."""

# fmt: off
CAPABILITIES = frozenset((
    "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE",
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER",
    "KILL", "LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP",
    "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE", "SYS_NICE",
    "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG",
    "WAKE_ALARM",
))
# fmt: on
"""All that Linux has, see capabilities(7)."""

GIVING = frozenset(
    {
        "BPF",  # Programs in the kernel, which see and change what all others do.
        "DAC_READ_SEARCH",  # Opens every file of the host by its number (open_by_handle_at).
        "MAC_ADMIN",  # Rewrites the rules of AppArmor or SELinux that keep containers in.
        "SYS_ADMIN",  # Mounts: the host's disks, its control groups, its kernel's files.
        "SYS_MODULE",  # Loads whatever code into the kernel of the host.
        "SYS_PTRACE",  # Takes over other processes, all of the host's where they are in sight.
        "SYS_RAWIO",  # Reads and writes the memory and the disks of the machine past all files.
    }
)
"""Those that are as good as all, and as root on this host."""

KEPT = ("PATH", "HOME", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "SSH_AUTH_SOCK")
"""Variables of Snickers' own that the compose tool gets."""
SET = ("LC_ALL", "SETUPTOOLS_USE_DISTUTILS")
"""What it is told besides."""
STEERING = ("LD_", "DOCKER_", "COMPOSE_", "PYTHON", "OPENSSL_", "GCONV_", "GLIBC_", "GODEBUG")
"""What variables begin with that say how the tool itself runs."""

CONNECTING = frozenset((
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "HOSTALIASES", "LOCALDOMAIN",
    "RES_OPTIONS", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE", "TMPDIR", "TMP", "TEMP",
))  # fmt: skip
"""Variables, in whichever case, that containers need as well, and that say to the compose tool how
Docker is reached, whom it trusts there, and where it writes to."""


def unknown_capability(name: str) -> str:
    """Return what is wrong with *name*, in capitals and without ``CAP_``, as that of a capability;
    empty: nothing is."""
    if name == "ALL":
        return f"ALL: {ROOT}; name those that it needs"
    if name in CAPABILITIES:
        return ""
    like = difflib.get_close_matches(name, sorted(CAPABILITIES), 3, 0.6)
    right = " or ".join(like) if like else ", ".join(sorted(CAPABILITIES))
    return f"{name!r} is no capability of Linux; write {right}"


def refused_capability(name: str) -> str:
    """Return why nobody is given the capability *name*, in capitals and without ``CAP_``; empty:
    nothing is in the way."""
    if name in GIVING:
        return f"{name}: {ROOT}; remove it"
    return unknown_capability(name)


def steers(variable: str) -> bool:
    """Say whether the compose tool has *variable* for itself, whatever a site says of it."""
    return variable in KEPT or variable in SET or variable.startswith(STEERING)


def connects(variable: str) -> bool:
    """Say whether *variable* is for containers alone: the tool that makes them must not have it."""
    return variable.upper() in CONNECTING or variable.upper().startswith("OTEL_")


def plain(path: str) -> str:
    """Return the absolute *path* as it is written shortest; links are not looked at."""
    # To the standard, two slashes may mean something else than one; to Linux they do not.
    return "/" + posixpath.normpath(path).lstrip("/")


def within(path: str, folder: str) -> bool:
    """Say whether *path* is *folder* or in it, as they are written."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def own_folder(path: str, data: str) -> str:
    """Return the folder of a site's own that *path* is in, as they are written; empty: in none.

    :param data: the folder of one site, beside which those of the others are.
    """
    path, data = plain(path), plain(data)
    if data == "/":
        return ""
    if within(path, data):
        return data
    all_sites = posixpath.dirname(data)
    if all_sites == "/" or path == all_sites or not within(path, all_sites):
        return ""
    return posixpath.join(all_sites, path[len(all_sites) + 1 :].partition("/")[0])


def outer(path: str, written: Collection[str]) -> str:
    """Return which of the folders *written*, given away to be written to, *path* is in and is not
    itself; empty: in none."""
    folder = plain(path)
    while folder != "/":
        folder = posixpath.dirname(folder)
        if folder in written:
            return folder
    return ""


def nested(path: str, folder: str) -> str:
    """Return why nobody is given *path* who can write to *folder*, which it is in."""
    return (
        f"{path} is in {folder}, which is given away to be written to: a link in its place could "
        "lead anywhere; give folders beside each other, or the outer one to be read only (:ro)"
    )


def reaches(source: str, sockets: Iterable[str]) -> bool:
    """Say whether who is given the path *source* of this host has one of *sockets* with it."""
    if not source.startswith("/"):
        return False
    path = plain(source)
    beneath = path.rstrip("/") + "/"
    return any(
        socket == path or socket.startswith(beneath) for socket in (plain(each) for each in sockets)
    )


def objection(source: str, read_only: bool, sockets: Iterable[str]) -> str:
    """Return why nobody is given the path *source* of this host; empty: nothing is in the way.

    :param read_only: whether it could only be read.
    """
    if not source.startswith("/"):
        return ""
    path = plain(source)
    if reaches(path, sockets):
        return f"{source} holds Docker's own socket: {ROOT}"
    if path == "/proc" or path.startswith("/proc/"):
        return f"{source} is a door to all processes of this host and their files: {ROOT}"
    if (path == "/sys" or path.startswith("/sys/")) and not read_only:
        return f"{source} steers the kernel of this host: {ROOT}"
    if path == "/dev" or any(within(path, each) for each in TERMINALS):
        return f"{source} holds devices of this host: {ROOT}"
    return ""
