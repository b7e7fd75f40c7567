"""What the first process and its workers say to each other, in bytes and back."""

from __future__ import annotations

import pickle

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.protocols import amp
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Site, Static
from snickers.interfaces.leases import Refusal, Stage
from snickers.interfaces.plane import Change
from snickers.workers import wire

QUICK = settings(derandomize=True, deadline=None, database=None, max_examples=50)


class FormsTests(SynchronousTestCase):
    """Values as AMP carries them."""

    def test_parts(self) -> None:
        """Data of any length goes in parts that fit, at least one; only the last is the last."""
        for length in (0, 1, wire.PART - 1, wire.PART, wire.PART + 1, 3 * wire.PART):
            data = bytes(range(256)) * (length // 256 + 1)
            data = data[:length]
            found = list(wire.parts(data))
            self.assertEqual(b"".join(part for part, _ in found), data)
            self.assertEqual([last for _, last in found], [False] * (len(found) - 1) + [True])
            self.assertLessEqual(max(len(part) for part, _ in found), wire.PART)
            self.assertEqual(len(found), max(1, -(-length // wire.PART)))

    def test_change(self) -> None:
        """A change arrives as it was."""
        change = Change(added=(Site("a.example", Static("/a")),), removed=("b.example",))
        self.assertEqual(wire.unpacked(wire.packed(change)), change)
        self.assertRaises(AssertionError, wire.unpacked, pickle.dumps("anything else"))

    def test_addresses(self) -> None:
        """A host with its port and the path of a unix socket arrive as they were."""
        for address in (("127.0.0.1", 8080), ("::1", 1), "/run/a.sock"):
            self.assertEqual(wire.read_address(*wire.sent_address(address)), address)

    def test_answers(self) -> None:
        """A lease and a refusal are told apart."""
        for address in (("127.0.0.1", 8080), "/run/a.sock"):
            self.assertEqual(wire.result(wire.lease(address)), address)
        refusal = Refusal("crashed", 30)
        self.assertEqual(wire.result(wire.refusal(refusal)), refusal)

    def test_stages(self) -> None:
        """How far a server is arrives as it was."""
        for stage in (Stage(), Stage("starting", "pulling x, 45 %", True)):
            self.assertEqual(wire.read_stage(wire.stage(stage)), stage)

    @QUICK
    @given(st.text(alphabet=st.characters(codec=None), max_size=40), st.integers(0, 20_000))
    def test_words(self, text: str, times: int) -> None:
        """Whatever a text is, it fits, and it can be sent; one that fits arrives as it was."""
        sent = wire.words(text * times)
        self.assertLessEqual(len(sent.encode()), wire.PART)
        whole = (text * times).encode("utf-8", "backslashreplace").decode()
        self.assertTrue(whole.startswith(sent))
        if len(whole.encode()) <= wire.PART:
            self.assertEqual(sent, whole)

    def test_no_pickles_from_workers(self) -> None:
        """What a worker sends has a form of its own for each value: none is of any Python."""
        plain = (amp.Integer, amp.Unicode, amp.String, amp.Boolean)
        for command in (
            *(wire.Take, wire.Forget, wire.GiveBack, wire.Failed),
            *(wire.Raise, wire.Clear, wire.Counted),
        ):
            for _, kind in command.arguments:
                self.assertIsInstance(kind, plain)


class _Listener(wire.Speaker):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[object] = []

    @wire.Drain.responder
    def _drain(self, within: float) -> dict[str, object]:
        self.told.append(within)
        return {}


class SpeakerTests(SynchronousTestCase):
    """Speaking."""

    def test_speaking(self) -> None:
        """A command arrives and is answered; when the other one has gone, it fails."""
        listener = _Listener()
        factory = wire.Only(listener)
        speaker, _, pump = connectedServerAndClient(
            lambda: factory.buildProtocol(None), wire.Speaker
        )
        answered = speaker.callRemote(wire.Drain, within=2.5)
        pump.flush()
        self.assertEqual((self.successResultOf(answered), listener.told), ({}, [2.5]))
        unanswered = speaker.callRemote(wire.Drain, within=1.0)
        listener.transport.abortConnection()
        pump.flush()
        self.failureResultOf(unanswered)
        self.assertEqual((speaker.transport, listener.transport), (None, None))
