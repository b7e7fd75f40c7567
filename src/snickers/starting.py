"""What ``twistd snickers`` begins with: which configuration, and whether it is without a fault.

It imports little, so that a fault is told at once, and what serves is loaded when there is none.
It must start nothing, and import nothing of the sites' rooms before it has read the configuration.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted.python import usage

from snickers import ending
from snickers.config.files import NEAR, NEITHER, USUAL, usual
from snickers.config.parse import load

if TYPE_CHECKING:
    from snickers.front_door import FrontDoorService

FROM_ENVIRONMENT = "SNICKERS_CONFIG"
"""The variable that names the configuration where ``--config`` does not."""


class Options(usage.Options):
    """The command line behind ``twistd snickers``."""

    synopsis = "[--config FILE]"
    longdesc = "Serve the sites of an INI file, or of a folder of *.ini files."
    optParameters = [
        [
            "config",
            "c",
            "",
            "The file, or the folder whose *.ini files are read; default: "
            f"${FROM_ENVIRONMENT}, {NEAR}, {USUAL}.",
        ],
    ]


def makeService(options: Options) -> FrontDoorService:
    """Read the configuration and connect everything; start nothing.

    Faults end the start: a line each on stderr, exit status 1.
    """
    given = options["config"] or os.environ.get(FROM_ENVIRONMENT, "")
    path = os.path.abspath(usual(given))
    if not given and not os.path.exists(path):
        ending.fail(f"snickers: {NEITHER}")
    loaded = load(path)
    if loaded.configuration.faults:
        ending.fail(*[str(fault) for fault in loaded.configuration.faults])
    # Half of what a start costs: not for who has made a mistake.
    from snickers import tap

    twistd: Mapping[str, Any] = options.parent or {}
    nodaemon = bool(twistd.get("nodaemon"))
    shown = nodaemon and not twistd.get("syslog") and twistd.get("logfile") in (None, "-")
    return tap.wire(path, loaded, bool(twistd) and not nodaemon, shown)
