"""Opening files beneath a folder, by descriptor, so that nothing outside of it is ever opened.

Linux resolves such a path in one call, ``openat2`` with ``RESOLVE_BENEATH``; where that is
missing, or refuses a link which may be fine, the path is walked here, name by name and never
through a link. Nothing here may be called by the reactor: all of it can block.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import stat
import struct
from functools import cache

MAX_LINKS = 40
"""Links in one path; the kernel's own limit."""
_TRIES = 3
"""Of ``openat2`` while somebody renames folders: then the walk, which cannot be disturbed."""

_NR_OPENAT2 = 437
_MACHINES = frozenset(
    ("x86_64", "aarch64", "armv7l", "armv8l", "i686", "riscv64", "ppc64le", "s390x", "loongarch64")
)
"""Where the call has that number."""
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08


def open_beneath(root: int, path: bytes, flags: int, names: tuple[bytes, ...] = ()) -> int:
    """Open *path*, relative and beneath the folder of the descriptor *root*; return a descriptor.

    Links are followed as long as they stay beneath; an absolute one if it begins with one of
    *names*, the absolute paths of the root. Raises `OSError`: EXDEV for what leads outside.
    """
    flags |= os.O_CLOEXEC
    if openat2_works():
        for _ in range(_TRIES):
            try:
                return _openat2(root, path, flags)
            except OSError as error:
                if error.errno == errno.EXDEV:
                    break
                if error.errno not in (errno.EAGAIN, errno.EINTR):
                    raise
    return walk_beneath(root, path, flags, names)


def walk_beneath(root: int, path: bytes, flags: int, names: tuple[bytes, ...] = ()) -> int:
    """Do what `open_beneath` does without the kernel's help."""
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW
    folders: list[int] = []
    ahead = path.split(b"/")[::-1]
    links = 0
    try:
        while ahead:
            name = ahead.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                if not folders:
                    raise _error(errno.EXDEV)
                os.close(folders.pop())
                continue
            here = folders[-1] if folders else root
            found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            mode = os.fstat(found).st_mode
            if stat.S_ISDIR(mode):
                folders.append(found)
                continue
            try:
                if not stat.S_ISLNK(mode):
                    if ahead:
                        raise _error(errno.ENOTDIR)
                    return os.open(name, flags, dir_fd=here)
                target = os.readlink(b"", dir_fd=found)
            finally:
                os.close(found)
            links += 1
            if links > MAX_LINKS:
                raise _error(errno.ELOOP)
            if target.startswith(b"/"):
                target = _below(target, names)
                while folders:
                    os.close(folders.pop())
            ahead += target.split(b"/")[::-1]
        return os.open(b".", flags, dir_fd=folders[-1] if folders else root)
    finally:
        for folder in folders:
            os.close(folder)


def _below(target: bytes, names: tuple[bytes, ...]) -> bytes:
    for name in names:
        if target == name or target.startswith(name.rstrip(b"/") + b"/"):
            return target[len(name) :]
    raise _error(errno.EXDEV)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@cache
def openat2_works() -> bool:
    """Say whether this kernel, and what filters its calls, knows ``openat2`` (Linux 5.6)."""
    if platform.system() != "Linux" or platform.machine() not in _MACHINES:
        return False
    root = os.open(b"/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(_openat2(root, b".", os.O_PATH | os.O_CLOEXEC))
    except OSError:
        return False
    finally:
        os.close(root)
    return True


@cache
def _syscall() -> ctypes._NamedFuncPointer:
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    return call


@cache
def _how(flags: int) -> bytes:
    """Return a ``struct open_how``."""
    return struct.pack("=QQQ", flags, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)


def _openat2(root: int, path: bytes, flags: int) -> int:
    how = _how(flags)
    descriptor: int = _syscall()(
        ctypes.c_long(_NR_OPENAT2),
        ctypes.c_long(root),
        ctypes.c_char_p(path),
        ctypes.c_char_p(how),
        ctypes.c_size_t(len(how)),
    )
    if descriptor < 0:
        raise _error(ctypes.get_errno())
    return descriptor
