"""The plugin twistd finds: it names the module as a string, so that scanning imports nothing."""

from twisted.application.service import ServiceMaker

snickers_teams = ServiceMaker(  # type: ignore[no-untyped-call]
    "Snickers' keeper",
    "snickers.teams.tap",
    "Blue and red: hold the listening sockets, and have two teams take turns at them.",
    "snickers-teams",
)
