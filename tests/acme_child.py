"""Orders certificates in processes that can be killed: a program that forks one for each line.

A line of JSON says what one is to do: ``folder`` (the state's ``acme``), ``directory``, ``trust``,
``site``, ``challenge``, ``force`` (renew although nothing is due) and ``kill`` (at which point it
kills itself; 0: at none). The answer, a line too, says how it ended: ``killed``, and the ``points``
it has come by.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

# What takes long is done once, before anything forks; but the reactor must not be shared.
import twisted.internet.epollreactor  # noqa: F401

from snickers.acme.accounts import Accounts
from snickers.acme.challenges import Challenges
from snickers.acme.client import trusting
from snickers.acme.errands import Errands
from snickers.acme.service import Acme
from snickers.acme.store import Store
from snickers.config.values import Settings, Site, Static
from snickers.disk import stamp

WITHIN = 90.0
CONTEXTS: dict[str, Any] = {}
"""What trusts the authority: as `Accounts` keeps it."""


class Silent:
    """Alarms that nobody hears."""

    def raised(self, *said: str) -> None: ...

    def cleared(self, *said: str) -> None: ...


def work(wanted: dict[str, Any], told: int) -> None:
    """Do what is wanted, and write each point to *told*; ends when there is nothing to do."""
    from twisted.internet import reactor as running

    reactor: Any = running
    points = 0

    def at(point: str) -> None:
        nonlocal points
        points += 1
        os.write(told, point.encode() + b"\n")
        if points == wanted["kill"]:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = Settings(acme_directory=wanted["directory"], acme_trust=wanted["trust"])
    site = Site(
        wanted["site"],
        Static("/"),
        also=(f"www.{wanted['site']}",),
        certificates="acme",
        acme_challenge=wanted["challenge"],
    )
    store = Store(wanted["folder"])
    accounts = Accounts(store, time.time)
    accounts._contexts.update(CONTEXTS)
    acme = Acme(
        reactor,
        Errands(reactor, 2, "acme"),
        Errands(reactor, 1, "slow"),
        store,
        Challenges(os.path.join(wanted["folder"], "challenges")),
        lambda: settings,
        Silent(),
        time.time,
        lambda name: None,
        accounts=accounts,
        at=at,
    )

    def look() -> None:
        """End when nothing is under way and nothing is due."""
        state = acme.states()[site.name]
        due = state["next"] is None or state["next"] <= time.time()
        if due or state["step"] != "waiting":
            reactor.callLater(0.02, look)
        else:
            acme.stop().addBoth(lambda _: reactor.stop())

    acme.start()
    acme.apply([site], [], [])
    if wanted["force"]:
        acme.renew(site.name, lambda words: None).addErrback(lambda failure: None)
    reactor.callLater(0.02, look)
    reactor.callLater(WITHIN, reactor.stop)
    reactor.run()


def main() -> None:
    """Serve the lines of the standard input."""
    # A process that is killed loses nothing that it has written; a power cut is not looked at here.
    os.fsync = lambda descriptor: None
    for line in sys.stdin:
        trust = json.loads(line)["trust"]
        if trust not in CONTEXTS:
            CONTEXTS[trust] = (stamp(trust), trusting(trust))
        ours, theirs = os.pipe()
        child = os.fork()
        if not child:
            os.close(ours)
            status = 1
            try:
                work(json.loads(line), theirs)
                status = 0
            finally:
                os._exit(status)
        os.close(theirs)
        with open(ours, "rb") as said:
            points = said.read().decode().splitlines()
        _, status = os.waitpid(child, 0)
        answer = {
            "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
            "ended": os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0,
            "points": points,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
