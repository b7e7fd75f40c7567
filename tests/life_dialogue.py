"""A dialogue with the machine of a life: it is told what happened, and says what to do."""

from __future__ import annotations

from attrs import evolve

from snickers.config.values import Lifecycle
from snickers.containers import events as e
from snickers.containers.life import State
from snickers.containers.lifecycle import step
from snickers.interfaces.engine import Instance

LIFE = Lifecycle(wake_within=10, idle_after=100, drain_within=20, stop_within=5)
SERVER = Instance("a.example", "one", "fp", True, ("127.0.0.1", 1))
AGAIN = Instance("a.example", "two", "fp", True, ("127.0.0.1", 2))
OLD = Instance("a.example", "old", "old", True, ("127.0.0.1", 9))


class Dialogue:
    """One life, told of events; their epoch is the present one unless it is said.

    :ivar said: the commands that the last event led to.
    """

    def __init__(self, **life):
        self.now = 1000.0
        self.state = State(evolve(LIFE, **life), "fp", since=self.now, used=self.now)
        self.said = ()

    @property
    def phase(self):
        return self.state.phase.value

    @property
    def kinds(self):
        """The kinds of commands said last."""
        return [type(command).__name__ for command in self.said]

    @property
    def refused(self):
        """Who was refused by the last event: (ticket, kind, retry_after)."""
        return [
            (ticket, command.refusal.kind, command.refusal.retry_after)
            for command in self.said
            if isinstance(command, e.Refuse)
            for ticket in command.tickets
        ]

    def hear(self, event, *arguments, **named):
        """Tell it of *event*; a class is given the present epoch if it takes one."""
        if isinstance(event, type):
            if event is e.GivenBack and not arguments:
                arguments = (SERVER.address,)
            if "epoch" in event.__annotations__:
                arguments = (self.state.epoch, *arguments)
            event = event(*arguments, **named)
        self.state, self.said = step(self.state, event, self.now)
        return self

    def wait(self, seconds):
        """Let time pass, and tell it so."""
        self.now += seconds
        return self.hear(e.TimePassed)

    def asleep(self):
        """The engine is there and has nothing."""
        return self.hear(e.EngineFound).hear(e.Listed, None)

    def starting(self):
        """A request has found it asleep, and is forgotten."""
        return self.asleep().hear(e.Arrived, 0).hear(e.Forgotten, 0)

    def checking(self):
        """It was started."""
        return self.starting().hear(e.Started, SERVER)

    def awake(self, uses=0):
        """It is awake, and used so many times."""
        self.checking().hear(e.HealthPassed)
        for _ in range(uses):
            self.hear(e.Taken)
        return self

    def stopping(self):
        """It is stopped for idleness."""
        return self.awake().wait(100)

    def crashed(self, times=1):
        """It has crashed so often, each time when it was awake."""
        self.awake()
        for time in range(times):
            self.hear(e.Exited, self.state.instance.id, "It ended.")
            if time + 1 < times:
                self.wait(60).hear(e.Arrived, 0).hear(e.Forgotten, 0)
                self.hear(e.Started, SERVER).hear(e.HealthPassed)
        return self
