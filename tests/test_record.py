"""What a keeper leaves behind, and how another one goes on with it."""

from __future__ import annotations

import json
import math

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.teams import pair as p
from snickers.teams.ends import LOOK_AGAIN, WATCHDOG
from snickers.teams.moves import DRAIN_MARGIN, ENDED, STEADY
from snickers.teams.pair import Member, Pair, Purpose, Stage, Trial
from snickers.teams.record import (
    Process,
    Record,
    read,
    taken_up,
    with_survivors,
    without_members,
    write,
)
from snickers.teams.survivors import Survivor

BLUE = Member(1, "blue", 10.0, accepts=True, ready=True, duty=True, serves=12.0, version="1")
RED = Member(2, "red", 500.0, accepts=False, ready=True)
SERVING = Pair(Stage.SERVING, live=BLUE, next_id=2, failures=2, unproven=1)
TRIAL = Pair(
    Stage.TRIAL,
    live=evolve(RED, accepts=True, serves=510.0),
    other=evolve(BLUE, accepts=False),
    until=4110.0,
    trial=Trial(1000, 3, 1),
    next_id=3,
)
NOW = 600.0


def record(pair: Pair) -> Record:
    processes = {m.id: Process(100 + m.id, 11 * m.id) for m in pair.members()}
    return Record(pair, processes, ("https", "http"), "boot")


class TextTests(SynchronousTestCase):
    def test_back(self) -> None:
        """What was written is read, but for what a team tells again by itself."""
        for pair in (SERVING, TRIAL, evolve(TRIAL, ending=(evolve(RED, id=9),))):
            self.assertEqual(read(write(record(pair))), record(pair))
        busy = evolve(SERVING, live=evolve(BLUE, answers=7, errors=1, open=3))
        self.assertEqual(read(write(record(busy))), record(SERVING))

    def test_finishing(self) -> None:
        """Who finishes what is open goes on with it under a later keeper, by the same time, and is
        watched anew; for an older keeper it is one that ends, without a time for it."""
        one = evolve(BLUE, accepts=False, finishes=True, finishing=590.0, finish_by=9000.0)
        left = record(evolve(SERVING, live=evolve(RED, serves=1.0), ending=(one,)))
        self.assertEqual(read(write(left)), left)
        beats = evolve(left.pair, ending=(evolve(one, beats=True),))
        pair, commands = taken_up(beats, [1, 2], NOW)
        self.assertEqual(commands, (p.Accept(2),))
        look_at = NOW + WATCHDOG - LOOK_AGAIN
        self.assertEqual(pair.ending, (evolve(one, beats=True, look_at=look_at),))
        (told,) = json.loads(write(left))["ending"]
        self.assertIsNone(told["kill_at"])

    def test_alarms(self) -> None:
        """What a person was told and still holds is kept; damage to that loses nothing else."""
        alarms = (("team taken back", "red erred; blue takes over again", 1e9),)
        held = evolve(SERVING, raised=frozenset({"team taken back"}), calm_at=77.0)
        left = evolve(record(held), alarms=alarms)
        self.assertEqual(read(write(left)), left)
        for damage in (None, 7, [["kind"]], [["kind", "words", "soon"]]):
            told = json.loads(write(left))
            told["alarms"] = damage
            found = read(json.dumps(told).encode())
            assert found is not None
            self.assertEqual((found.alarms, found.processes), ((), left.processes))

    def test_of_an_older_version(self) -> None:
        """What an older keeper left says nothing of alarms, of signs of life, or of when who ends
        has to have."""
        ending = evolve(RED, id=9, accepts=False, serves=1.0)
        told = json.loads(write(record(evolve(TRIAL, ending=(ending,)))))
        del told["alarms"], told["calm_at"]
        for member in (told["live"], told["other"], *told["ending"]):
            for name in ("look_at", "doubted", "beats", "urged", "stopping"):
                del member[name]
        found = read(json.dumps(told).encode())
        assert found is not None
        self.assertEqual(found.pair.live, TRIAL.live)
        pair, _ = taken_up(found.pair, [1, 2, 9], NOW)
        self.assertEqual(pair.ending[0].kill_at, NOW + pair.drain_within + DRAIN_MARGIN)

    def test_of_a_later_version(self) -> None:
        """What a later keeper writes besides is left out; another format is not guessed at."""
        told = json.loads(write(record(SERVING)))
        told["mood"] = told["live"]["mood"] = told["trial"]["mood"] = "good"
        self.assertEqual(read(json.dumps(told).encode()), record(SERVING))
        told["format"] = 2
        self.assertIsNone(read(json.dumps(told).encode()))

    @given(st.binary(max_size=100), st.integers(0, 400))
    def test_damaged(self, data: bytes, at: int) -> None:
        """A record that is damaged anywhere is none, or one of known teams; it never fails."""
        whole = write(record(TRIAL))
        for text in (data, whole[:at] + data + whole[at + len(data) :], whole[:at]):
            found = read(text)
            if found is not None:
                self.assertIn(found.pair.good, p.TEAMS)

    def test_too_deep(self) -> None:
        """What nests too deep says nothing, and does not end who reads it."""
        self.assertIsNone(read(b"[" * 100_000))

    def test_after_a_boot(self) -> None:
        """Which team is good outlives a boot; no process does."""
        left = without_members(record(evolve(TRIAL, good="red")))
        self.assertEqual(left.pair, Pair(good="red", next_id=3))

    def test_alarms_after_a_boot(self) -> None:
        """An alarm about an end is over when a team has served for its first minutes after it."""
        held = evolve(SERVING, raised=frozenset({ENDED}), calm_at=9e9)
        alarms = ((ENDED, "blue was ended by SIGKILL", 1e9),)
        left = without_members(evolve(record(held), alarms=alarms))
        self.assertEqual((left.alarms, left.pair.raised), (alarms, {ENDED}))
        self.assertLess(left.pair.calm_at, NOW)


class SurvivorsTests(SynchronousTestCase):
    """The record is lost, or older than what runs."""

    def test_none(self) -> None:
        """Where the record knows all there are it is as it is."""
        left = record(TRIAL)
        self.assertEqual(with_survivors(left, [1, 2], [], 102, NOW), (left, ()))
        self.assertEqual(with_survivors(None, [], [], 0, NOW), (None, ()))

    def test_lost(self) -> None:
        """Without a record whoever is on duty serves, and nothing is started; what ran beside it
        ends, since nobody knows what it was to become."""
        found = [Survivor(7, 70, "red", ("https",)), Survivor(8, 80, "blue", ("https",))]
        left, first = with_survivors(None, [], found, 7, NOW)
        assert left is not None
        self.assertEqual(left.names, ("https",))
        self.assertEqual(left.processes, {1: Process(7, 70), 2: Process(8, 80)})
        self.assertEqual(first, (p.StandBy(2), p.End(2)))
        pair, commands = taken_up(left.pair, left.processes, NOW)
        assert pair.live is not None
        self.assertEqual((pair.stage, pair.live.team, pair.other), (Stage.SERVING, "red", None))
        self.assertEqual([one.team for one in pair.ending], ["blue"])
        self.assertEqual(commands, (p.Accept(1),))

    def test_nobody_on_duty(self) -> None:
        """If nobody says that he is on duty it is the youngest that serves."""
        found = [Survivor(7, 70, "red", ("https",)), Survivor(8, 80, "blue", ("https",))]
        left, first = with_survivors(None, [], found, 0, NOW)
        assert left is not None and left.pair.live is not None  # noqa: PT018
        self.assertEqual((left.pair.live.team, first), ("blue", (p.StandBy(1), p.End(1))))

    def test_older(self) -> None:
        """A record from before a switch: the newcomer that is on duty serves, the one that is
        written down stands by before that one is told to accept, and ends."""
        found = [Survivor(7, 70, "red", ("https", "http"))]
        left, first = with_survivors(record(SERVING), [1], found, 7, NOW)
        assert left is not None
        self.assertEqual(first, (p.StandBy(1), p.End(1)))
        pair, commands = taken_up(left.pair, [1, 2], NOW)
        assert pair.live is not None
        self.assertEqual((pair.live.id, pair.live.team), (2, "red"))
        self.assertEqual(([one.id for one in pair.ending], commands), ([1], (p.Accept(2),)))
        self.assertEqual(pair.good, "blue")

    def test_older_and_gone(self) -> None:
        """...and if that one has gone, nobody hears of it."""
        found = [Survivor(7, 70, "red", ("https", "http"))]
        left, _ = with_survivors(record(SERVING), [], found, 7, NOW)
        assert left is not None
        pair, commands = taken_up(left.pair, [2], NOW)
        assert pair.live is not None
        self.assertEqual((pair.live.id, pair.ending, commands), (2, (), (p.Accept(2),)))

    def test_newcomer_of_an_unwritten_switch(self) -> None:
        """The one on duty is written down: what was started beside it ends, and it goes on."""
        found = [Survivor(7, 70, "red", ("https", "http"))]
        for on_duty in (101, 0):
            left, first = with_survivors(record(SERVING), [1], found, on_duty, NOW)
            assert left is not None
            self.assertEqual(first, (p.StandBy(2), p.End(2)))
            pair, _ = taken_up(left.pair, [1, 2], NOW)
            self.assertEqual(pair.live, BLUE)
            self.assertEqual([one.id for one in pair.ending], [2])


class TakenUpTests(SynchronousTestCase):
    def test_serving(self) -> None:
        """One that serves goes on, and is told so once more."""
        pair, commands = taken_up(SERVING, [1], NOW)
        self.assertEqual((pair.stage, pair.live), (Stage.SERVING, BLUE))
        self.assertEqual(pair.until, max(NOW, 12.0 + STEADY))
        self.assertEqual(commands, (p.Accept(1),))

    def test_trial(self) -> None:
        """A trial goes on: both are as they were, and nobody is told anything."""
        pair, commands = taken_up(TRIAL, [1, 2], NOW)
        self.assertEqual((pair, commands), (evolve(TRIAL, purpose=Purpose.NONE), ()))

    def test_trial_whose_newcomer_died(self) -> None:
        """The one that stands by takes over."""
        pair, commands = taken_up(TRIAL, [1], NOW)
        self.assertEqual(pair.stage, Stage.TAKING)
        self.assertIn(p.Accept(1), commands)

    def test_proving(self) -> None:
        """A newcomer that was proving itself ends: what it said meanwhile nobody has heard."""
        pair, commands = taken_up(
            evolve(SERVING, stage=Stage.PROVING, other=RED, next_id=3), [1, 2], NOW
        )
        self.assertEqual((pair.stage, pair.other), (Stage.SERVING, None))
        self.assertEqual(commands, (p.StandBy(2), p.End(2), p.Accept(1)))

    def test_watched(self) -> None:
        """Nobody counts as silent for what was said while no keeper listened; who has said that it
        lives is held to it from now on."""
        beating = evolve(BLUE, beats=True, look_at=NOW - 100.0, doubted=True)
        pair, _ = taken_up(evolve(SERVING, live=beating), [1], NOW)
        assert pair.live is not None
        self.assertEqual(
            (pair.live.look_at, pair.live.doubted), (NOW + WATCHDOG - LOOK_AGAIN, False)
        )
        pair, _ = taken_up(SERVING, [1], NOW)
        self.assertEqual(pair.live and pair.live.look_at, math.inf)

    def test_one_that_ends(self) -> None:
        """The time by which it should have ended holds on."""
        ending = evolve(RED, id=3, kill_at=NOW + 5.0)
        pair, _ = taken_up(evolve(SERVING, ending=(ending,), next_id=4), [1, 3], NOW)
        self.assertEqual(pair.ending[0].kill_at, NOW + 5.0)

    def test_opening(self) -> None:
        """One that is being started serves by itself: a signal that it has no handler for yet would
        end it."""
        opening = evolve(SERVING, stage=Stage.OPENING, live=evolve(BLUE, serves=None, ready=False))
        pair, commands = taken_up(opening, [1], NOW)
        self.assertEqual((pair.stage, pair.until), (Stage.SERVING, NOW + STEADY))
        self.assertEqual(commands, ())

    def test_in_the_middle(self) -> None:
        """Whoever was to stand by accepts again, when the other had not been told to."""
        yielding = evolve(
            SERVING, stage=Stage.YIELDING, live=evolve(BLUE, accepts=False), other=RED, next_id=3
        )
        pair, commands = taken_up(yielding, [1, 2], NOW)
        self.assertEqual(pair.live, BLUE)
        self.assertEqual(commands, (p.StandBy(2), p.End(2), p.Accept(1)))

    def test_at_the_end(self) -> None:
        """A newcomer that had been told to accept does; who stood by goes on standing by."""
        taking = evolve(
            SERVING,
            stage=Stage.TAKING,
            live=evolve(BLUE, accepts=False),
            other=evolve(RED, accepts=True),
            next_id=3,
        )
        pair, commands = taken_up(taking, [1, 2], NOW)
        self.assertEqual(pair.stage, Stage.TRIAL)
        self.assertEqual(pair.live and (pair.live.id, pair.live.accepts), (2, True))
        self.assertEqual(commands, (p.StandBy(1), p.Accept(2)))
        pair, commands = taken_up(taking, [2], NOW)
        self.assertEqual(pair.stage, Stage.SERVING)
        self.assertEqual(commands[0], p.Accept(2))

    def test_nobody(self) -> None:
        """When nobody is left one is started at once."""
        for left, alive in ((SERVING, []), (TRIAL, []), (Pair(), [])):
            pair, commands = taken_up(left, alive, NOW)
            if pair.stage is Stage.DOWN:
                self.assertLessEqual(pair.until, NOW)
            else:
                self.assertEqual(pair.stage, Stage.OPENING)
                self.assertTrue(any(isinstance(c, p.Spawn) for c in commands))

    @given(
        st.sampled_from(list(Stage)),
        st.booleans(),
        st.booleans(),
        st.sets(st.sampled_from([1, 2, 3])),
    )
    def test_whatever_was_left(
        self, stage: Stage, live: bool, other: bool, alive: set[int]
    ) -> None:
        """Whatever was going on: one at the most accepts, those who are known are alive, and
        nobody that does not run is told anything."""
        left = Pair(
            stage,
            live=BLUE if live else None,
            other=RED if other else None,
            ending=(evolve(RED, id=3),),
            until=math.inf,
            next_id=4,
        )
        pair, commands = taken_up(left, alive, NOW)
        began = pair.next_id - 1
        accepting = {BLUE.id} & alive if live else set()
        there = {3, *([1] if live else []), *([2] if other else [])} & alive
        for command in commands:
            match command:
                case p.Spawn(id, _, stand_by):
                    alive = {*alive, id}
                    accepting = accepting if stand_by else accepting | {id}
                case p.Accept(id):
                    self.assertIn(id, alive)
                    accepting = accepting | {id}
                case p.StandBy(id) | p.End(id) | p.Kill(id):
                    self.assertIn(id, alive)
                    accepting = accepting - {id}
        self.assertLessEqual(sum(member.accepts for member in pair.members()), 1)
        spawned = set(range(4, began + 1))
        self.assertEqual({member.id for member in pair.members()}, there | spawned)
        self.assertLessEqual({m.id for m in pair.members() if m.accepts}, accepting | {1})
