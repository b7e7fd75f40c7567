"""The plugin twistd finds: it names the module as a string, so that scanning imports nothing."""

from twisted.application.service import ServiceMaker

snickers = ServiceMaker(  # type: ignore[no-untyped-call]
    "Snickers",
    "snickers.starting",
    "Many https sites on one address, each person's server in a container of its own.",
    "snickers",
)
