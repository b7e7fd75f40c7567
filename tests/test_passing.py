"""How duty passes: the machine, as a dialogue and as a table."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.duty.passing import TABLE, Command, Event, Phase, State, step

HOLDS = {Phase.BEGINNING, Phase.ON_DUTY, Phase.GIVING}
"""The phases in which the lock is held."""


class Dialogue:
    """One team; *said* are the commands of the last event."""

    def __init__(self, phase: Phase) -> None:
        self.state = State(phase)
        self.said: tuple[Command, ...] = ()

    def hear(self, *events: Event) -> Dialogue:
        for event in events:
            self.state, self.said = step(self.state, event)
        return self

    @property
    def found(self) -> tuple[Phase, list[str]]:
        return self.state.phase, [command.name for command in self.said]


class TableTests(SynchronousTestCase):
    """The table as a whole."""

    def test_complete(self) -> None:
        """Every phase has an answer to every event."""
        self.assertEqual(set(TABLE), {(phase, event) for phase in Phase for event in Event})

    @given(st.sampled_from(list(Phase)), st.lists(st.sampled_from(list(Event)), max_size=30))
    def test_invariants(self, first: Phase, events: list[Event]) -> None:
        """The lock is let go of whenever a phase is left in which it is held for one in which it is
        not; duty is begun and let go of in turn; who ends does nothing more."""
        state = State(first)
        for event in events:
            before = state
            state, commands = step(state, event)
            left = before.phase in HOLDS and state.phase not in HOLDS
            if left:
                self.assertIn(Command.UNLOCK, commands)
            self.assertEqual(
                Command.BEGIN in commands,
                state.phase is Phase.BEGINNING and before.phase is not Phase.BEGINNING,
            )
            self.assertEqual(
                Command.LET_GO in commands,
                state.phase is Phase.GIVING and before.phase is not Phase.GIVING,
            )
            if before.phase is Phase.ENDING:
                self.assertIs(state.phase, Phase.ENDING)
                self.assertLessEqual(set(commands), {Command.UNLOCK})
            if before.phase is not Phase.ENDING and state.phase is Phase.ENDING:
                self.assertIn(event, (Event.END_ASKED, Event.LET_GO, Event.UNPROVEN, *_BEGINNINGS))

    @given(st.lists(st.sampled_from(list(Event)), max_size=30))
    def test_taken_at_last(self, events: list[Event]) -> None:
        """Whatever has happened, who is asked to take duty has it when all steps are done, unless
        he was asked to end."""
        state = State(Phase.STANDING_BY)
        for event in events:
            state, _ = step(state, event)
        state, _ = step(state, Event.TAKE_ASKED)
        for event in (
            *(Event.LET_GO, Event.BEGUN, Event.LET_GO, Event.TIME_PASSED, Event.LOCKED),
            Event.BEGUN,
        ):
            state, _ = step(state, event)
        ended = state.ending or state.phase is Phase.ENDING
        self.assertIs(state.phase, Phase.ENDING if ended else Phase.ON_DUTY)
        self.assertEqual(ended, Event.END_ASKED in events)


_BEGINNINGS = (Event.BEGUN, Event.NOT_BEGUN)


class PassingTests(SynchronousTestCase):
    """What is done, step by step."""

    def test_switch(self) -> None:
        """Duty is given up, and taken by the one that has proven itself."""
        old, new = Dialogue(Phase.ON_DUTY), Dialogue(Phase.PROVING)
        new.hear(Event.PROVEN)
        self.assertEqual(new.found, (Phase.STANDING_BY, ["SAY_READY", "SAY_OFF"]))
        old.hear(Event.GIVE_ASKED)
        self.assertEqual(old.found, (Phase.GIVING, ["STOP_ACCEPTING", "LET_GO"]))
        new.hear(Event.TAKE_ASKED)
        self.assertEqual(new.found, (Phase.TAKING, ["ACCEPT", "TRY_LATER"]))
        new.hear(Event.TIME_PASSED)
        self.assertEqual(new.found, (Phase.TAKING, ["TRY"]))
        new.hear(Event.TAKEN)
        self.assertEqual(new.found, (Phase.TAKING, ["TRY_LATER"]))
        old.hear(Event.LET_GO)
        self.assertEqual(old.found, (Phase.STANDING_BY, ["UNLOCK", "SAY_OFF"]))
        new.hear(Event.TIME_PASSED)
        self.assertEqual(new.found, (Phase.TAKING, ["TRY"]))
        new.hear(Event.LOCKED)
        self.assertEqual(new.found, (Phase.BEGINNING, ["BEGIN"]))
        new.hear(Event.BEGUN)
        self.assertEqual(new.found, (Phase.ON_DUTY, ["SAY_ON"]))

    def test_unproven(self) -> None:
        """Who is not proven ends; but not one who was needed meanwhile."""
        self.assertEqual(
            Dialogue(Phase.PROVING).hear(Event.UNPROVEN).found, (Phase.ENDING, ["FAIL"])
        )
        needed = Dialogue(Phase.PROVING).hear(Event.TAKE_ASKED)
        self.assertEqual(needed.found, (Phase.TAKING, ["ACCEPT", "SAY_READY", "TRY_LATER"]))
        self.assertEqual(needed.hear(Event.UNPROVEN).found, (Phase.TAKING, []))

    def test_changed_mind(self) -> None:
        """What is asked for while a step is under way is done when that is over."""
        back = Dialogue(Phase.ON_DUTY).hear(Event.GIVE_ASKED, Event.TAKE_ASKED)
        self.assertEqual(back.found, (Phase.GIVING, ["ACCEPT"]))
        self.assertEqual(
            back.hear(Event.LET_GO).found, (Phase.TAKING, ["UNLOCK", "SAY_OFF", "TRY_LATER"])
        )
        again = Dialogue(Phase.BEGINNING).hear(Event.GIVE_ASKED)
        self.assertEqual(again.found, (Phase.BEGINNING, ["STOP_ACCEPTING"]))
        self.assertEqual(again.hear(Event.BEGUN).found, (Phase.GIVING, ["LET_GO"]))

    def test_not_begun(self) -> None:
        """Duty that could not be begun is tried again, the lock being free meanwhile."""
        began = Dialogue(Phase.TAKING).hear(Event.LOCKED, Event.NOT_BEGUN)
        self.assertEqual(began.found, (Phase.TAKING, ["UNLOCK", "TRY_LATER"]))
        given_up = Dialogue(Phase.TAKING).hear(Event.LOCKED, Event.GIVE_ASKED, Event.NOT_BEGUN)
        self.assertEqual(given_up.found, (Phase.STANDING_BY, ["UNLOCK", "SAY_OFF"]))

    def test_asked_again(self) -> None:
        """Who is asked for what he does says so again: the keeper may have missed it."""
        self.assertEqual(
            Dialogue(Phase.ON_DUTY).hear(Event.TAKE_ASKED).found,
            (Phase.ON_DUTY, ["ACCEPT", "SAY_ON"]),
        )
        self.assertEqual(
            Dialogue(Phase.STANDING_BY).hear(Event.GIVE_ASKED).found,
            (Phase.STANDING_BY, ["SAY_OFF"]),
        )

    def test_end(self) -> None:
        """Who ends lets go of duty first, wherever it was."""
        self.assertEqual(
            Dialogue(Phase.ON_DUTY).hear(Event.END_ASKED).found, (Phase.GIVING, ["LET_GO"])
        )
        ended = Dialogue(Phase.ON_DUTY).hear(Event.END_ASKED, Event.TAKE_ASKED, Event.LET_GO)
        self.assertEqual(ended.found, (Phase.ENDING, ["UNLOCK", "SAY_OFF"]))
        late = Dialogue(Phase.BEGINNING).hear(Event.END_ASKED, Event.BEGUN, Event.LET_GO)
        self.assertEqual(late.found, (Phase.ENDING, ["UNLOCK", "SAY_OFF"]))
        for phase in (Phase.PROVING, Phase.STANDING_BY, Phase.TAKING):
            self.assertEqual(Dialogue(phase).hear(Event.END_ASKED).found, (Phase.ENDING, []))
