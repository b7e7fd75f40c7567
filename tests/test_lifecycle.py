"""Every pair of phase and event is decided, and whatever happens the promises of a life hold."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product
from typing import get_args

from attrs import evolve
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import TestCase

from snickers.config.values import Lifecycle
from snickers.containers import events as e
from snickers.containers.life import (
    QUEUE,
    SERVING,
    SNAPSHOT_AGAIN,
    After,
    Parting,
    Phase,
    State,
    due,
    patience,
)
from snickers.containers.lifecycle import TABLE, step
from snickers.interfaces.engine import Instance

LIFE = Lifecycle(wake_within=10, idle_after=100, drain_within=20)
SERVER = Instance("a.example", "one", "fp", True, ("127.0.0.1", 1))
CAREFUL = evolve(LIFE, copy_before_update=True)
BESIDE = evolve(LIFE, update="parallel")
RESTING = evolve(BESIDE, pause_after=40)
QUIET = evolve(LIFE, pause_after=40, veto=("in-use",), snapshot=("dump",))
RUNS = (
    Phase.CHECKING,
    Phase.AWAKE,
    Phase.DRAINING,
    Phase.STOPPING,
    Phase.PAUSING,
    Phase.PAUSED,
    Phase.RESUMING,
    Phase.SNAPSHOTTING,
    Phase.REPLACING,
)
WAITED_IN = (
    Phase.AWAY,
    Phase.STARTING,
    Phase.CHECKING,
    Phase.DRAINING,
    Phase.STOPPING,
    Phase.REMOVING,
    Phase.PAUSING,
    Phase.RESUMING,
    Phase.SNAPSHOTTING,
    Phase.REVERTING,
    Phase.COPYING,
)
MAY_BE_GONE = (
    Phase.AWAY,
    Phase.DRAINING,
    Phase.STOPPING,
    Phase.REMOVING,
    Phase.OVER,
    Phase.PAUSING,
    Phase.RESUMING,
    Phase.SNAPSHOTTING,
    Phase.REVERTING,
    Phase.COPYING,
)
PARTING_IN = (Phase.AWAKE, Phase.CHECKING, Phase.DRAINING, Phase.SNAPSHOTTING)
FAILURES = {
    e.Start: e.StartFailed,
    e.Stop: e.StopFailed,
    e.Clear: e.ClearFailed,
    e.Pause: e.PauseFailed,
    e.Resume: e.ResumeFailed,
    e.Snapshot: e.SnapshotFailed,
    e.Prepare: e.PrepareFailed,
    e.Revert: e.RevertFailed,
    e.Copy: e.CopyFailed,
}

FORMER = evolve(SERVER, id="zero", fingerprint="old", address=("127.0.0.1", 2))
PASTS: tuple[dict[str, object], ...] = (
    {},
    {"good": SERVER, "before": FORMER},
    {"good": FORMER},
    {"good": SERVER, "updating": True},
    {"good": FORMER, "copied": "copy", "touched": True},
    {"good": SERVER, "parting": Parting(FORMER, 1, 90.0, sound=True)},
    {"good": SERVER, "parting": Parting(FORMER, 0, 90.0, sound=True, told=True)},
    {"good": SERVER, "parting": Parting(until=60.0)},
    {"good": SERVER, "newcomer": evolve(SERVER, id="next", address=("127.0.0.1", 3))},
)
"""What a life may have been through."""
SAMPLES = (
    e.Arrived(7),
    e.Forgotten(1),
    e.Taken(),
    e.GivenBack(SERVER.address),
    e.GivenBack(("127.0.0.1", 2)),
    e.Doubted(SERVER.address),
    e.Started(3, SERVER),
    e.StartFailed(3, "no"),
    e.StartFailed(3, "no", away=True),
    e.Stopped(3),
    e.StopFailed(3, "no"),
    e.StopFailed(3, "no", away=True),
    e.Cleared(3),
    e.ClearFailed(3, "no"),
    e.Paused(3),
    e.PauseFailed(3, "no"),
    e.PauseFailed(3, "no", away=True),
    e.Resumed(3),
    e.ResumeFailed(3, "no"),
    e.ResumeFailed(3, "no", away=True),
    e.Snapshotted(3),
    e.SnapshotFailed(3, "no"),
    e.SnapshotFailed(3, "no", away=True),
    e.Prepared(3, True),
    e.Prepared(3, False),
    e.PrepareFailed(3, "no"),
    e.PrepareFailed(3, "no", away=True),
    e.Reverted(3, SERVER),
    e.Reverted(3, evolve(SERVER, id="zero", fingerprint="old")),
    e.RevertFailed(3, "no"),
    e.RevertFailed(3, "no", away=True),
    e.RevertFailed(3, "no", folder=True),
    e.UpdateAsked(),
    e.UpdateAsked("tried"),
    e.RollbackAsked(),
    e.Settled("one"),
    e.Settled("one", "zero"),
    e.SettleFailed("one", "no"),
    e.SettleFailed("one", "no", away=True),
    e.Copied(3, "copy"),
    e.Copied(3, ""),
    e.CopyFailed(3, "no"),
    e.CopyFailed(3, "no", away=True),
    e.Consented(3),
    e.Vetoed(3),
    e.Listed(3, None),
    e.Listed(3, SERVER),
    e.Listed(3, evolve(SERVER, id="two"), None, (SERVER,)),
    e.Listed(3, SERVER, None, (FORMER,)),
    e.Listed(3, evolve(SERVER, paused=True)),
    e.Listed(3, evolve(SERVER, fingerprint="old", paused=True)),
    e.Listed(3, evolve(SERVER, fingerprint="old")),
    e.Listed(3, evolve(SERVER, running=False, address=None)),
    e.Exited("one", "ended"),
    e.Exited("other", "ended"),
    e.Exited("zero", "ended"),
    e.Exited("next", "ended"),
    e.EngineLost("gone"),
    e.EngineLost("none", for_good=True),
    e.EngineFound(),
    e.HealthPassed(3),
    e.HealthFailed(3, "no"),
    e.TimePassed(),
    e.Busy(),
    e.Crowded(),
    e.WakeAsked(),
    e.SleepAsked(),
    e.RestartAsked(),
    e.Changed(LIFE, "fp"),
    e.Changed(evolve(LIFE, pause_after=5), "fp"),
    e.Changed(evolve(LIFE, wake="always", health="/up"), "fp"),
    e.Changed(LIFE, "new"),
    e.Inherited(-60.0, 2, 90.0, True, False, "it crashed"),
    e.Inherited(-60.0, stopping=True),
    e.Removed(),
    e.Ended(),
)


def sample(phase, life=LIFE, **fields):
    """A state in *phase* as the machine itself makes them."""
    if phase not in PARTING_IN:
        fields.pop("parting", None)
    if phase is not Phase.REPLACING:
        fields.pop("newcomer", None)
    return State(
        life,
        "fp",
        phase=phase,
        epoch=3,
        engine=phase is not Phase.AWAY,
        instance=SERVER if phase in RUNS else None,
        **fields,
    )


def check(test, state):
    """What holds of every state."""
    if state.phase is not Phase.STOPPING:
        # What is stopped may not have been started yet.
        test.assertEqual(state.instance is not None, state.phase in RUNS)
    if state.waiters:
        test.assertIn(state.phase, WAITED_IN)
        test.assertLessEqual(len(state.waiters), QUEUE)
        test.assertLessEqual(due(state), state.waiters[0].since + state.life.wake_within)
    test.assertGreaterEqual(state.uses, 0)
    if state.parting is not None:
        test.assertIn(state.phase, PARTING_IN)
        test.assertLessEqual(state.parting.uses, state.uses)
    if state.newcomer is not None:
        test.assertIs(state.phase, Phase.REPLACING)
    if state.phase in (Phase.STARTING, Phase.ASLEEP):
        test.assertTrue(state.engine)
    if state.phase is Phase.AWAKE:
        test.assertIsNotNone(state.instance.address)
        test.assertFalse(state.gone)
    if state.phase in (Phase.PAUSING, Phase.PAUSED):
        test.assertEqual(state.uses, 0)


class TableTests(TestCase):
    """The table itself."""

    def test_complete(self):
        """There is an entry for every phase and every event, and no other."""
        pairs = {(phase, event) for phase in Phase for event in get_args(e.Event)}
        self.assertEqual(set(TABLE), pairs)
        self.assertEqual({type(event) for event in SAMPLES}, set(get_args(e.Event)))

    def test_every_pair(self):
        """Every event in every phase leads to a state in which all that must hold holds; who
        does not wait is never answered, and what is asked for carries the new epoch."""
        for phase, life, uses in product(Phase, (LIFE, QUIET, CAREFUL, BESIDE), (0, 2)):
            if phase in (Phase.PAUSED, Phase.PAUSING) and uses:
                continue
            for proven, gone, past in product((False, True), (False, True), PASTS):
                for event in SAMPLES:
                    if gone and phase not in MAY_BE_GONE:
                        continue
                    parting = past.get("parting")
                    if parting is not None and parting.uses > uses:
                        continue
                    before = sample(phase, life, uses=uses, proven=proven, gone=gone, **past)
                    if gone and phase in (Phase.PAUSING, Phase.RESUMING):
                        before = evolve(before, leaving=After.SLEEP)
                    state, commands = step(before, event, 50.0)
                    check(self, state)
                    for command in commands:
                        if isinstance(command, e.Grant | e.Refuse):
                            self.assertEqual(command.tickets, (7,))
                        self.assertEqual(getattr(command, "epoch", state.epoch), state.epoch)
                    # A newcomer that is on its way already goes on as what is waited for.
                    on_its_way = state.phase in (Phase.STARTING, Phase.CHECKING)
                    same = phase is Phase.REPLACING and on_its_way
                    if state.phase is not phase and not same:
                        self.assertGreater(state.epoch, 3)

    def test_late_results(self):
        """A result of an older epoch changes nothing; a start that comes about after all is
        looked at."""
        for phase in Phase:
            for event in SAMPLES:
                if not hasattr(event, "epoch"):
                    continue
                state = sample(phase)
                after, commands = step(state, evolve(event, epoch=2), 50.0)
                self.assertEqual(after, state)
                if isinstance(event, e.Started) and phase in (Phase.ASLEEP, Phase.CRASHED):
                    self.assertEqual(commands, (e.Look(3),))
                else:
                    self.assertEqual(commands, ())

    def test_over_is_over(self):
        """After the end nothing happens any more but refusals."""
        for event in SAMPLES:
            state, commands = step(sample(Phase.OVER), event, 50.0)
            self.assertIs(state.phase, Phase.OVER)
            self.assertFalse(
                {type(c) for c in commands} - {e.Refuse, e.SayUnwoken, e.SayUnslept}, commands
            )

    def test_stampede(self):
        """A thousand requests at a sleeping server start it once; one more is refused."""
        state, commands = step(sample(Phase.ASLEEP), e.Arrived(0), 0.0)
        self.assertEqual([type(c) for c in commands], [e.Start, e.Tell])
        for ticket in range(1, 1000):
            state, commands = step(state, e.Arrived(ticket), 0.0)
            self.assertEqual(commands, ())
        state, commands = step(state, e.Arrived(1000), 0.0)
        self.assertEqual([c.refusal.kind for c in commands], ["slow"])
        state, _ = step(state, e.Started(state.epoch, SERVER), 1.0)
        state, commands = step(state, e.HealthPassed(state.epoch), 2.0)
        self.assertEqual(commands[0], e.Grant(tuple(range(1000)), SERVER.address))
        self.assertEqual(state.uses, 1000)

    def test_crowd(self):
        """A crowd that comes at once is one step, for those beyond the limit too; so is its
        leaving."""
        state, commands = step(sample(Phase.ASLEEP), e.Arrived(0, tuple(range(1, 1003))), 0.0)
        refuse, start, _ = commands
        self.assertEqual((refuse.tickets, type(start)), ((1000, 1001, 1002), e.Start))
        state, _ = step(state, e.Forgotten(0, tuple(range(2, 1000))), 0.0)
        self.assertEqual([waiter.ticket for waiter in state.waiters], [1])


class World(RuleBasedStateMachine):
    """A life, and an engine that does what it is told in its own time, or fails to.

    The engine carries out one call after the other; a server may end at any time; persons, the
    configuration and requests come as they like.
    """

    def __init__(self):
        super().__init__()
        self.now = 1000.0
        self.state = State(LIFE, "fp-1", since=self.now, used=self.now)
        self.there = False
        self.server = None
        self.server_paused = False
        self.beside = None
        """What runs beside it."""
        self.users = Counter()
        """Open uses, by address."""
        self.retired = {}
        """When another server took the place of each that was sound, by id."""
        self.data = ""
        """What wrote to the folder last."""
        self.copy = None
        """What the folder was when it was copied for the trial that goes on."""
        self.half = False
        """The folder was put back, and the server before could not be started for want of the
        engine."""
        self.known = {}
        """Every server that was not forgotten, by id, in the order of their starts."""
        self.by_hand = False
        """Somebody else has started a server."""
        self.newer = False
        """Whether there is a newer image."""
        self.made = 0
        self.calls = []
        self.probe = None
        self.looks = []
        self.tickets = 0
        self.open = set()
        self.proven = set()
        self.drain_began = None
        self.over = False
        self.snapshotted = None
        """The server whose last snapshot succeeded, and nobody was let in since."""
        self.sleepers = 0
        """Persons who wait for its sleep."""
        self.wakers = 0
        """Persons who wait for what makes it awake."""

    def happen(self, event):
        before = self.state
        self.sleepers += isinstance(event, e.SleepAsked)
        asks = (e.WakeAsked, e.RestartAsked, e.UpdateAsked, e.RollbackAsked)
        self.wakers += isinstance(event, asks)
        self.state, commands = step(before, event, self.now)
        phase, was = self.state.phase, before.phase
        if isinstance(event, e.Reverted) and was is Phase.REVERTING and not before.gone:
            # What was tried in vain has changed nothing.
            if before.back.id == before.good.id:
                assert self.state.before == before.before
            else:
                assert self.state.before is None
        if phase is Phase.DRAINING and was is not phase:
            self.drain_began = self.now
            self.excuse(before, event)
        parting = self.state.parting
        if parting is not None and parting.sound and parting.instance.id not in self.retired:
            self.retired[parting.instance.id] = self.now
        untouched = self.data == self.copy and not self.state.copied
        if phase is Phase.AWAKE or self.state.good is None or untouched:
            self.copy = None
        for command in commands:
            self.obey(before, event, command)
        if self.probe is not None and self.probe.epoch != self.state.epoch:
            self.probe = None

    def excuse(self, before, event):
        """A server in use is only to be stopped for one of these reasons."""
        wished = (e.SleepAsked, e.RestartAsked, e.Changed, e.Removed, e.SnapshotFailed)
        wished = (*wished, e.Prepared, e.RollbackAsked, e.Reverted)
        if isinstance(event, (*wished, e.HealthFailed)):
            return
        if isinstance(event, e.TimePassed):
            assert before.phase is Phase.CHECKING
            assert self.now >= before.began + patience(before)
            return
        # The engine was away while the configuration changed.
        assert isinstance(event, e.Listed), event
        assert event.instance.fingerprint != before.fingerprint or before.gone

    def obey(self, before, event, command):
        # What was to be stopped, and ended before it could be asked to.
        between = (
            before.phase in (Phase.PAUSING, Phase.RESUMING)
            and before.leaving is not None
            and isinstance(event, e.Exited)
            and event.id == before.instance.id
        )
        match command:
            case e.Start() if command.beside:
                assert self.state.phase is Phase.REPLACING
                assert command.beside == self.state.instance.id
                assert self.state.life.update == "parallel"
                self.calls.append(command)
            case e.Start():
                assert not self.half, "something else is tried before all is as it was"
                good = self.state.good
                if good and good.fingerprint == self.state.fingerprint and not self.state.updating:
                    assert self.copy in (None, self.data), "on what the next one has left"
                self.keep_used()
                ends = (Phase.STOPPING, Phase.DRAINING, Phase.SNAPSHOTTING)
                assert before.instance is None or before.phase in ends or between
                assert self.state.instance is None
                self.calls.append(command)
            case e.Stop():
                if before.phase is Phase.AWAKE and isinstance(event, e.TimePassed):
                    assert before.uses == 0
                    assert self.now >= before.used + before.life.idle_after
                if self.state.life.snapshot and before.proven and before.instance is not None:
                    again = before.phase is Phase.STOPPING
                    # One that has ended by itself makes no snapshot; another may be left over.
                    ended = isinstance(event, e.Exited) and event.id == before.instance.id
                    if isinstance(event, e.Listed):
                        # While nothing could be heard of it.
                        found = event.instance
                        ended = found is None or found.id != before.instance.id
                    assert again or ended or self.state.after is After.CRASH or self.snapshotted
                ended = isinstance(event, e.Exited | e.Listed)
                self.keep_used()
                if ended and before.phase is Phase.DRAINING:
                    pass  # What has ended is not stopped in use.
                elif before.uses and before.phase is Phase.DRAINING and self.state.uses:
                    assert self.now >= self.drain_began + before.life.drain_within
                elif before.phase in (Phase.AWAKE, Phase.CHECKING):
                    assert self.state.uses == 0 or (ended and before.parting is not None)
                self.calls.append(command)
            case e.Clear():
                self.calls.append(command)
            case e.Pause():
                assert before.uses == 0
                assert self.now >= before.used + before.life.pause_after
                self.calls.append(command)
            case e.Resume() | e.Snapshot() | e.Inquire() | e.Prepare():
                self.calls.append(command)
            case e.Copy():
                # Or what was made for a trial that is not over is owed still.
                assert self.state.life.copy_before_update or command.had
                self.calls.append(command)
            case e.Revert():
                self.keep_used(command.id)
                told = before.parting is not None and before.parting.told
                assert (
                    told
                    or between
                    or before.instance is None
                    or before.phase
                    in (*(Phase.STOPPING, Phase.DRAINING, Phase.SNAPSHOTTING, Phase.CHECKING),)
                )
                self.calls.append(command)
            case e.Settle():
                # Only a server that has answered takes the place of the one before it.
                assert self.state.instance.address in self.proven
                assert command.id == self.state.instance.id
                self.keep_used(command.id, command.spare)
                self.calls.append(command)
            case e.Look():
                self.looks.append(command)
            case e.Probe():
                self.probe = command
            case e.Grant():
                assert self.state.phase in (*SERVING, Phase.SNAPSHOTTING)
                assert not self.server_paused
                assert command.address == self.state.instance.address
                assert command.address in self.proven
                self.users[command.address] += len(command.tickets)
                self.answer(command.tickets)
            case e.Refuse():
                self.answer(command.tickets)
            case e.Part():
                self.over = True
                assert not self.running()
            case e.SaySlept() | e.SayUnslept():
                self.sleepers = 0
            case e.SayWoken() | e.SayUnwoken():
                self.wakers = 0
            case e.Confirm() | e.Decline():
                self.wakers -= 1

    def running(self):
        return [server for server in (self.server, self.beside) if server is not None]

    def keep_used(self, *ids):
        """All but these are about to be ended: nobody uses them, or no more than for so long."""
        for server in self.running():
            since = self.retired.get(server.id)
            if since is not None and server.id not in ids and self.users[server.address]:
                assert self.now >= since + self.state.life.drain_within, "ended in use"

    def answer(self, tickets):
        for ticket in tickets:
            assert ticket in self.open, "answered twice, or after it was forgotten"
            self.open.discard(ticket)

    @initialize(
        awake=st.booleans(),
        used=st.booleans(),
        life=st.sampled_from([LIFE, QUIET, CAREFUL, BESIDE]),
    )
    def begin(self, awake, used, life):
        """Most of what can go wrong does so from here."""
        self.state = evolve(self.state, life=life)
        if awake:
            self.find()
            self.list()
            self.arrive(1)
            self.carry_out()
            self.pass_probe()
            assert self.state.phase is Phase.AWAKE
            if not used:
                self.give_all_back()

    # Requests

    @rule(count=st.integers(1, 3))
    def arrive(self, count):
        tickets = range(self.tickets + 1, self.tickets + count + 1)
        self.tickets += count
        self.open.update(tickets)
        self.happen(e.Arrived(tickets[0], tuple(tickets[1:])))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def forget(self, data):
        tickets = data.draw(st.sets(st.sampled_from(sorted(self.open)), min_size=1))
        self.open -= tickets
        first, *more = sorted(tickets)
        self.happen(e.Forgotten(first, tuple(more)))

    @precondition(lambda self: self.state.phase in SERVING)
    @rule()
    def take(self):
        assert self.state.instance.address in self.proven
        self.users[self.state.instance.address] += 1
        self.happen(e.Taken())

    @precondition(lambda self: self.state.uses)
    @rule(data=st.data())
    def give_back(self, data):
        self.give(data.draw(st.sampled_from(sorted(+self.users))))

    def give(self, address):
        self.users[address] -= 1
        self.happen(e.GivenBack(address))

    @precondition(lambda self: self.state.uses)
    @rule()
    def give_all_back(self):
        while self.state.uses:
            self.give(next(iter(+self.users)))

    @precondition(lambda self: self.state.phase is Phase.AWAKE)
    @rule()
    def doubt(self):
        self.happen(e.Doubted(self.state.instance.address))

    # The engine

    @precondition(lambda self: self.calls)
    @rule()
    def carry_out(self):
        command = self.calls.pop(0)
        if isinstance(command, e.Inquire):
            self.happen(e.Consented(command.epoch))
            return
        if isinstance(command, e.Settle) and not self.there:
            self.happen(e.SettleFailed(command.id, "away", True, command.spare))
            return
        if not self.there:
            if isinstance(command, e.Revert) and command.copy:
                self.data, self.half = self.copy, True
            self.happen(FAILURES[type(command)](command.epoch, "away", away=True))
            return
        if self.server is None and isinstance(command, e.Pause | e.Resume | e.Snapshot):
            self.happen(FAILURES[type(command)](command.epoch, "it does not run"))
            return
        match command:
            case e.Pause():
                self.server_paused = True
                self.happen(e.Paused(command.epoch))
            case e.Resume():
                self.server_paused = False
                self.happen(e.Resumed(command.epoch))
            case e.Snapshot():
                assert not self.server_paused
                self.snapshotted = self.server.id
                self.happen(e.Snapshotted(command.epoch))
                self.snapshotted = None
            case e.Settle():
                self.settle(command.id, command.spare)
                self.happen(e.Settled(command.id, command.spare))
            case e.Copy():
                if command.epoch == self.state.epoch:
                    assert self.by_hand or not self.running()
                    assert bool(command.had) == (self.copy not in (None, self.data))
                    if not command.had:
                        self.copy = self.data
                self.happen(e.Copied(command.epoch, "copy"))
            case e.Start() if self.server is not None and self.server.id == command.beside:
                wanted = self.state.fingerprint
                self.newer = self.newer and not command.fresh
                if self.beside is not None and self.beside.fingerprint != wanted:
                    self.end_beside()
                if self.beside is None:
                    self.beside = self.make(wanted)
                self.happen(e.Started(command.epoch, self.beside))
            case e.Start():
                wanted = self.state.fingerprint
                self.end_beside()
                if command.fresh and self.newer:
                    self.newer = False
                    self.end_server()
                if self.server is None or self.server.fingerprint != wanted:
                    self.end_server()
                    self.server = self.make(wanted)
                self.happen(e.Started(command.epoch, self.server))
            case e.Prepare():
                changed = self.server is None or self.server.fingerprint != self.state.fingerprint
                self.happen(e.Prepared(command.epoch, changed or (command.fresh and self.newer)))
            case e.Revert():
                former = self.known.get(command.id)
                if former is None or former is not self.server:
                    self.end_server()
                if former is None or former is not self.beside:
                    self.end_beside()
                self.beside = None
                self.half = False
                if command.copy:
                    self.data = self.copy
                if self.copy is not None:
                    assert self.data == self.copy, "it meets what the one after it has written"
                if former is None:
                    self.happen(e.RevertFailed(command.epoch, "it is forgotten"))
                    return
                after = list(self.known)[list(self.known).index(command.id) + 1 :]
                for id in after:
                    del self.known[id]
                self.server = former
                self.data = former.id
                self.copy = None
                self.happen(e.Reverted(command.epoch, former))
            case e.Stop():
                self.end_beside()
                self.end_server()
                self.happen(e.Stopped(command.epoch))
            case e.Clear():
                self.end_beside()
                self.end_server()
                self.known.clear()
                self.happen(e.Cleared(command.epoch))

    @precondition(lambda self: self.calls)
    @rule(folder=st.booleans())
    def fail_to(self, folder):
        command = self.calls.pop(0)
        if isinstance(command, e.Revert):
            self.half = False
            if command.copy and folder:
                self.happen(e.RevertFailed(command.epoch, "the disk is full", folder=True))
                return
            if command.copy:
                self.data = self.copy
        if isinstance(command, e.Inquire):
            self.happen(e.Vetoed(command.epoch))
        elif isinstance(command, e.Settle):
            self.happen(e.SettleFailed(command.id, "it cannot", False, command.spare))
        else:
            self.happen(FAILURES[type(command)](command.epoch, "it cannot"))

    def make(self, wanted):
        self.made += 1
        made = Instance("a", f"s{self.made}", wanted, True, ("127.0.0.1", self.made))
        self.known[made.id] = made
        self.data = made.id
        return made

    def settle(self, id, spare):
        right = next((server for server in self.running() if server.id == id), None)
        if right is None:
            return
        other = self.beside if right is self.server else self.server
        self.server, self.beside = right, other
        if other is not None and other.id != spare:
            self.end_beside()
        # Those that came after it are forgotten, and those before the last one before it.
        order = list(self.known)
        after = order.index(id)
        kept = order[max(0, after - 1) : after + 1] if id in order else order
        self.known = {
            each: server
            for each, server in self.known.items()
            if each in kept or server in self.running()
        }

    def end_beside(self):
        if self.beside is not None:
            ended, self.beside = self.beside, None
            if self.there:
                self.happen(e.Exited(ended.id, "it ended"))

    @precondition(lambda self: self.beside)
    @rule()
    def crash_beside(self):
        self.end_beside()

    def end_server(self):
        if self.server is not None:
            ended, self.server = self.server, None
            self.server_paused = False
            if self.there:
                self.happen(e.Exited(ended.id, "it ended"))

    @precondition(lambda self: self.server)
    @rule()
    def crash(self):
        self.end_server()

    @precondition(lambda self: self.there and self.looks)
    @rule()
    def list(self):
        server = self.server
        if server is not None:
            server = evolve(server, paused=self.server_paused)
        if server is None and self.beside is not None:
            server, others = self.beside, ()
        else:
            others = () if self.beside is None else (self.beside,)
        self.happen(e.Listed(self.looks.pop(0).epoch, server, None, others))

    @precondition(lambda self: self.there)
    @rule()
    def lose(self):
        self.there = False
        self.looks.clear()
        self.happen(e.EngineLost("away"))

    @precondition(lambda self: not self.there)
    @rule()
    def find(self):
        self.there = True
        self.happen(e.EngineFound())

    @precondition(lambda self: self.there and not self.running() and not self.calls)
    @rule(fingerprint=st.sampled_from(["fp-1", "fp-2", "other"]))
    def start_by_hand(self, fingerprint):
        # Somebody else's doing: found at the next look only.
        self.by_hand = True
        self.made += 1
        address = ("127.0.0.1", self.made)
        self.server = Instance("a", f"s{self.made}", fingerprint, True, address)
        self.known[self.server.id] = self.server

    # The probe and the clock

    @precondition(lambda self: self.probe is not None)
    @rule()
    def pass_probe(self):
        probe, self.probe = self.probe, None
        same = any(server.address == probe.instance.address for server in self.running())
        if same and not self.server_paused:
            self.proven.add(probe.instance.address)
            self.happen(e.HealthPassed(probe.epoch))
        elif probe.brief:
            self.happen(e.HealthFailed(probe.epoch, "refused"))
        else:
            self.probe = probe

    @precondition(lambda self: self.probe is not None and self.probe.brief)
    @rule()
    def fail_probe(self):
        probe, self.probe = self.probe, None
        self.happen(e.HealthFailed(probe.epoch, "refused"))

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 11.0, 31.0, 101.0, 400.0]))
    def pass_time(self, seconds):
        self.now += seconds
        self.tick()

    def tick(self):
        if due(self.state) <= self.now:
            self.happen(e.TimePassed())
            assert due(self.state) > self.now, "it would be called again at once"

    @precondition(lambda self: self.there and not self.over)
    @rule(seconds=st.sampled_from([0.0, 41.0, 101.0]))
    def be_left_alone(self, seconds):
        """All goes well for a while, and nobody uses it: from there, too, things happen."""
        if self.state.phase in (Phase.ASLEEP, Phase.AWAY):
            self.ask(e.WakeAsked())
        self.carry_all_out()
        if seconds and due(self.state) <= self.now + seconds:
            self.pass_time(seconds)
            self.carry_all_out()

    # Persons and the configuration

    @rule(
        event=st.sampled_from(
            [
                *(e.WakeAsked(), e.SleepAsked(), e.RestartAsked()),
                *(e.UpdateAsked(), e.UpdateAsked("fp-3"), e.RollbackAsked()),
            ]
        )
    )
    def ask(self, event):
        self.happen(event)

    @rule(
        wake=st.sampled_from(["demand", "always", "manual"]),
        health=st.sampled_from(["tcp", "/up"]),
        fingerprint=st.sampled_from(["fp-1", "fp-2"]),
        quiet=st.sampled_from([LIFE, QUIET, evolve(QUIET, veto=()), evolve(QUIET, snapshot=())]),
        how=st.sampled_from([LIFE, CAREFUL, BESIDE]),
    )
    def change(self, wake, health, fingerprint, quiet, how):
        if not self.over:
            life = evolve(quiet, wake=wake, health=health, update=how.update)
            life = evolve(life, copy_before_update=how.copy_before_update)
            self.happen(e.Changed(life, fingerprint))

    @precondition(lambda self: self.there and self.state.phase is Phase.AWAKE)
    @rule(
        uses=st.integers(0, 2),
        far=st.integers(0, 4),
        how=st.sampled_from([BESIDE, CAREFUL, RESTING]),
        then=st.sampled_from([None, e.SleepAsked(), e.EngineLost("away"), "back"]),
    )
    def replace(self, uses, far, how, then):
        """The way to another server, so far; from there, too, things happen."""
        for _ in range(uses):
            self.take()
        other = "fp-2" if self.state.fingerprint == "fp-1" else "fp-1"
        self.happen(e.Changed(evolve(how, wake=self.state.life.wake), other))
        for _ in range(far):
            if self.state.phase is Phase.ASLEEP:
                # Nobody would try anything for nobody.
                self.arrive(1)
            if self.calls:
                self.carry_out()
            elif self.probe is not None:
                self.pass_probe()
        if then == "back":
            # In vain, and not to be undone in one go.
            if self.state.instance is not None and self.state.phase is Phase.CHECKING:
                self.end_server()
                self.list()
                if self.state.phase is Phase.REVERTING:
                    self.lose()
                    self.carry_out()
        elif then == e.EngineLost("away"):
            self.lose()
        elif then is not None:
            self.ask(then)
            while self.calls:
                self.carry_out()

    @rule()
    def publish(self):
        self.newer = True

    @rule(event=st.sampled_from([e.Busy(), e.Crowded()]))
    def look_around(self, event):
        self.happen(event)

    @rule()
    def remove(self):
        if not self.over:
            self.happen(e.Removed())

    @invariant()
    def holds(self):
        check(TestCase(), self.state)
        waiting = [w.ticket for w in self.state.waiters]
        assert sorted(self.open) == sorted(waiting), "somebody is neither waiting nor answered"
        assert self.over == (self.state.phase is Phase.OVER)
        rests = self.state.phase in (Phase.ASLEEP, Phase.CRASHED)
        if rests or self.state.phase in (*SERVING, Phase.AWAY, Phase.PAUSED):
            assert not self.sleepers, "whoever waits for its sleep is not answered"
        if rests:
            assert not self.wakers, "whoever waits for it to be awake is not answered"
        assert self.state.uses == (+self.users).total()
        calm = self.state.phase in (*SERVING, Phase.CHECKING, Phase.ASLEEP, Phase.PAUSED)
        if len(self.running()) > 1 and calm and not (self.calls or self.looks):
            # Two servers only while one takes the place of the other, or nobody can know.
            known = self.state.parting is not None or self.state.phase is Phase.REPLACING
            assert known or not self.there or not self.state.engine or self.by_hand
        if self.copy not in (None, self.data) and not (self.state.gone or self.over):
            assert self.state.copied, "the copy is forgotten, and nothing has proven itself"

    def carry_all_out(self):
        """Let whatever was asked for come about, and everybody be done."""
        while self.calls or self.looks or self.probe is not None:
            if self.calls:
                self.carry_out()
            elif self.looks:
                self.list()
            else:
                probe = self.probe
                self.pass_probe()
                if self.probe is probe:
                    break
        while self.state.uses:
            self.give(next(iter(+self.users)))

    def teardown(self):
        """When all goes well from now on, everybody is answered and nothing is left over."""
        if not self.there:
            self.find()
        while self.state.uses:
            self.give(next(iter(+self.users)))
        self.carry_all_out()
        # One that is to go, and could not make its snapshot, tries again so much later.
        self.now += SNAPSHOT_AGAIN
        for _ in range(90):
            self.carry_all_out()
            self.now += 1
            self.tick()
        self.carry_all_out()
        assert not self.open
        rests = self.state.until == math.inf
        calm = (Phase.ASLEEP, Phase.AWAKE, Phase.PAUSED, Phase.OVER)
        assert self.state.phase in calm or (self.state.phase is Phase.CRASHED and rests), self.state
        if self.state.phase in (Phase.AWAKE, Phase.PAUSED):
            assert self.server is not None
            assert self.beside is None
            assert self.server_paused == (self.state.phase is Phase.PAUSED)
            assert self.server.fingerprint == self.state.fingerprint
        self.tickets += 1
        self.open.add(self.tickets)
        self.happen(e.Arrived(self.tickets))
        self.happen(e.Ended())
        assert not self.open


class PromiseTests(TestCase):
    """What holds whatever happens."""

    def test_promises(self):
        """One server at a time; none stopped in use without a reason; everybody answered once;
        leases only of servers that have answered; nothing left over in the end."""
        run_state_machine_as_test(
            World,
            settings=settings(
                max_examples=300,
                stateful_step_count=60,
                derandomize=True,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
