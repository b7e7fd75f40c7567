"""What ``twistd snickers`` begins with: which configuration, and whether it is without a fault.

It imports little, so that a fault is told at once, and what serves is loaded when there is none.
It must start nothing, and import nothing of the sites' rooms before it has read the configuration.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from twisted.python import usage

from snickers import ending
from snickers.config.files import NEITHER, WHERE, named, usual
from snickers.config.parse import load

if TYPE_CHECKING:
    from snickers.front_door import FrontDoorService


class Options(usage.Options):
    """The command line behind ``twistd snickers``."""

    synopsis = "[--config FILE]"
    longdesc = "Serve the sites of an INI file, or of a folder of *.ini files."
    optParameters = [
        [
            "config",
            "c",
            "",
            f"The file, or the folder whose *.ini files are read; default: {WHERE}.",
        ],
    ]


def makeService(options: Options) -> FrontDoorService:
    """Read the configuration and connect everything; start nothing.

    Faults end the start: a line each on stderr, exit status 1.
    """
    given = named(options["config"])
    path = os.path.abspath(usual(given))
    if not given and not os.path.exists(path):
        ending.fail(f"snickers: {NEITHER}")
    loaded = load(path)
    if loaded.configuration.faults:
        ending.fail(*[str(fault) for fault in loaded.configuration.faults])
    # Half of what a start costs: not for who has made a mistake.
    from snickers import tap

    twistd = options.parent
    daemon = twistd is not None and not twistd.get("nodaemon")
    return tap.wire(path, loaded, daemon, ending.log_shown(twistd))
