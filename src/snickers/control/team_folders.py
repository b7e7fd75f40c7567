"""What the folder of a team holds: which version is installed there, and of which commit.

Nothing of the folder's code is run for that. Blocks.
"""

from __future__ import annotations

import glob
import os
import subprocess
from contextlib import suppress

from attrs import frozen

GIT_WITHIN = 10.0
"""Seconds git is given for a look at a folder."""


@frozen
class Held:
    """What a folder holds."""

    version: str = ""
    """Of the installed Snickers; empty: none is."""
    commit: str = ""
    """Short, of a checkout; empty: it is none."""
    changed: bool = False
    """Whether the checkout has changes that are in no commit."""

    def words(self) -> str:
        """Return it as a person reads it."""
        version = self.version or "nothing installed"
        if not self.commit:
            return version
        return f"{version} ({self.commit}{', changed' if self.changed else ''})"


def look(folder: str) -> Held:
    """Return what *folder* holds."""
    return Held(installed(folder), *checked_out(folder))


def installed(folder: str) -> str:
    """Return the version of Snickers in the virtual environment of *folder*, or ``""``."""
    pattern = os.path.join(
        glob.escape(folder), ".venv", "lib", "python3*", "site-packages", "snickers-*.dist-info"
    )
    for path in sorted(glob.glob(pattern)):
        try:
            with open(os.path.join(path, "METADATA"), encoding="utf-8") as file:
                for line in file:
                    name, _, value = line.partition(":")
                    if name == "Version":
                        return value.strip()
        except (OSError, UnicodeDecodeError):
            continue
    return ""


def _stamp(folder: str) -> str:
    """Return what changes with each installation of Snickers in *folder*."""
    pattern = os.path.join(
        glob.escape(folder), ".venv", "lib", "python3*", "site-packages", "snickers-*.dist-info"
    )
    found = []
    for path in sorted(glob.glob(pattern)):
        with suppress(OSError):
            status = os.stat(os.path.join(path, "METADATA"))
            found.append(f"{status.st_ino}:{status.st_mtime_ns}")
    return " ".join(found)


def _note(folder: str) -> str:
    return os.path.join(folder, ".venv", "snickers-deployed")


def note_deployed(folder: str, identity: str) -> None:
    """Have it be known that what is installed in *folder* was made of *identity*; empty: of nothing
    that is known. Raises `OSError`."""
    if not identity:
        with suppress(FileNotFoundError):
            os.unlink(_note(folder))
        return
    with open(_note(folder), "w", encoding="utf-8") as file:
        file.write(f"{identity}\n{_stamp(folder)}\n")


def deployed(folder: str) -> str:
    """Return what is installed in *folder* was made of; empty where that is not known, as after an
    installation by hand."""
    try:
        with open(_note(folder), encoding="utf-8") as file:
            identity, _, stamp = file.read(4096).partition("\n")
    except (OSError, UnicodeDecodeError):
        return ""
    return identity if stamp.strip() == _stamp(folder) else ""


def is_checkout(folder: str) -> bool:
    """Say whether *folder* is a checkout of git's."""
    return os.path.exists(os.path.join(folder, ".git"))


def checked_out(folder: str) -> tuple[str, bool]:
    """Return the commit that *folder* is at, and whether there are changes beside it."""
    if not is_checkout(folder):
        return "", False
    try:
        # No lock is taken for a mere look.
        git = ["git", "--no-optional-locks", "-C", folder]
        commit = _said([*git, "rev-parse", "--short", "HEAD"])
        return commit, bool(commit and _said([*git, "status", "--porcelain", "-uno"]))
    except (OSError, subprocess.SubprocessError):
        return "", False


def _said(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_WITHIN, check=True)
    return done.stdout.strip()
