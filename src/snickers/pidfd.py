"""Says of a descriptor of pidfd_open(2) whether its process has ended.

A reactor may say so of one that runs: what it has heard in one turn may be of a descriptor that was
closed within that turn, and whose number was given to this one. It must never be believed, since a
server that is taken for dead is started a second time.
"""

from __future__ import annotations

import select


def has_ended(descriptor: int) -> bool:
    """Return whether the process has ended; it may not have been waited for."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(0))
