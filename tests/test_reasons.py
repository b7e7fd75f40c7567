"""Why a server came from one phase into another, in words."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Lifecycle
from snickers.containers import events as e
from snickers.containers.life import After, Phase, State
from snickers.containers.lifecycle import step
from snickers.containers.reasons import reason
from snickers.interfaces.engine import Instance

SERVER = Instance("a.example", "1", "print", True, ("127.0.0.1", 80), 1.0)
AWAKE = State(
    life=Lifecycle(idle_after=60, stop_within=10),
    phase=Phase.AWAKE,
    fingerprint="print",
    instance=SERVER,
    engine=True,
    used=100.0,
)


class ReasonTests(SynchronousTestCase):
    def why(self, had: State, event: e.Event, now: float) -> tuple[Phase, str]:
        state, _ = step(had, event, now)
        return state.phase, reason(had, event, state, now)

    def test_stopped(self) -> None:
        """A server that is stopped says for whom: idleness, the limits, a person, the
        configuration, an update."""
        for event, now, words in (
            (e.TimePassed(), 170.0, "idle: nobody has used it for 70 s"),
            (e.Crowded(), 110.0, "its room is needed"),
            (e.SleepAsked(), 110.0, "put to sleep by hand"),
            (e.RestartAsked(), 110.0, "restarted by hand, to start again"),
            (e.Removed(), 110.0, "the configuration has it no more"),
        ):
            phase, why = self.why(AWAKE, event, now)
            self.assertEqual((phase, why), (Phase.STOPPING, words), event)

    def test_drained(self) -> None:
        """One in use is drained first: why it is, and why that ends."""
        used = evolve(AWAKE, uses=2)
        self.assertEqual(
            self.why(used, e.SleepAsked(), 110.0), (Phase.DRAINING, "put to sleep by hand")
        )
        draining, _ = step(used, e.SleepAsked(), 110.0)
        late = evolve(draining, until=120.0)
        self.assertEqual(
            self.why(late, e.TimePassed(), 130.0), (Phase.STOPPING, "drain within is over")
        )

    def test_asked_first(self) -> None:
        """A server that was asked whether it may sleep is stopped for the reason of the asking."""
        idle = evolve(AWAKE, inquiring=True)
        why = reason(idle, e.Consented(0), evolve(idle, phase=Phase.STOPPING), 200.0)
        self.assertEqual(why, "idle: nobody has used it for 100 s")
        crowded = evolve(idle, crowded=True)
        why = reason(crowded, e.Consented(0), evolve(crowded, phase=Phase.STOPPING), 200.0)
        self.assertEqual(why, "its room is needed")

    def test_silent(self) -> None:
        """What follows from the phase before needs no reason."""
        stopping = evolve(AWAKE, phase=Phase.STOPPING, after=After.SLEEP)
        asleep = evolve(stopping, phase=Phase.ASLEEP)
        self.assertEqual(reason(stopping, e.Stopped(0), asleep, 1.0), "")
