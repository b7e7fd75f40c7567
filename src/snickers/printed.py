"""The log of a process that the first process has started: lines, which that one writes down.

They go through a pipe. Must never wait for who reads it: a first process that is stopped, or busy,
would stop its workers with it.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.logger import LogEvent, formatEvent

LOG = 2
"""The descriptor of the pipe: where a program complains anyway, also before it has a log."""


def observer(output: int) -> Any:
    """Return what writes each event of the log as a line to the descriptor *output*, which does not
    block from now on; when it was is said by the first process.

    A line that is not taken at once is dropped: nobody waits for a reader that is stopped, or gone.
    """
    os.set_blocking(output, False)

    def observe(event: LogEvent) -> None:
        text = formatEvent(event)
        if "log_failure" in event:
            text += "\n" + event["log_failure"].getTraceback()
        if text:
            try:
                os.write(output, text.encode("utf-8", "backslashreplace") + b"\n")
            except OSError:
                pass  # the pipe is full, or nobody reads it any more

    return observe
