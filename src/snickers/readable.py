"""Whether the user that this process has become may read its Python.

`twistd` begins as root, imports, and sheds its privileges: what is imported later, for the first
container or the first copy, would fail where the environment was made by a Python that only root
may read. It looks, and imports nothing: what a host does not need costs it no memory.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Sequence
from importlib.util import find_spec

LATER = (
    "tarfile",
    "encodings.idna",
    "acme",
    "dns",
    "docker",
    "requests",
    "yaml",
    "snickers.containers.compose",
)
"""What is imported when it is needed first, or by that: of Python's library, of the environment's,
and of Snickers' own."""


def unreadable(names: Sequence[str] = LATER) -> str:
    """Return why one of *names* could not be imported, in words; ``""``: all could. Blocks for
    some looks at the disk."""
    for name in names:
        try:
            spec = find_spec(name)
            if spec is None:
                return _words(name, "it is not found")
            if spec.has_location and spec.origin:
                os.close(os.open(spec.origin, os.O_RDONLY | os.O_CLOEXEC))
        except (ImportError, OSError, ValueError) as problem:
            return _words(name, getattr(problem, "strerror", None) or str(problem))
    return ""


def _words(name: str, why: str) -> str:
    try:
        who = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        who = str(os.geteuid())
    return (
        f"the user {who} cannot import {name}: {why}; make the virtual environment anew with a "
        "Python whose library this user may read, such as /usr/bin/python3 (this one's is in "
        f"{sys.base_prefix}), in a folder that it may read"
    )
