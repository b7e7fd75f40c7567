"""What descriptors this process has open, for tests that nothing is left open.

Each is known by what it is, not by its number alone: what an earlier test dropped may be collected
at any moment, and its number be given to another.
"""

from __future__ import annotations

import gc
import os
from contextlib import suppress


def open_descriptors() -> set[tuple[str, str]]:
    """Return the descriptors that are open now, each with what it is open on.

    What nobody refers to any more is collected first: what is open then stays open until somebody
    closes it.
    """
    gc.collect()
    found = set()
    for number in os.listdir("/proc/self/fd"):
        # The one that the folder is read by is gone again.
        with suppress(FileNotFoundError):
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return found
