"""The log of a process that the first process has started: lines, which that one writes down."""

from __future__ import annotations

from typing import Any, TextIO

from twisted.logger import LogEvent, formatEvent


def observer(output: TextIO) -> Any:
    """Return what writes each event of the log as a line: when is said by the first process."""

    def observe(event: LogEvent) -> None:
        text = formatEvent(event)
        if "log_failure" in event:
            text += "\n" + event["log_failure"].getTraceback()
        if text:
            print(text, file=output, flush=True)

    return observe
