"""How one site stands with its certificate."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme import plan
from snickers.acme.plan import Held, Known, Memory
from snickers.acme.renewal import Window
from snickers.acme.standing import Standing
from snickers.acme.tidings import Tidings
from snickers.acme.work import Work
from snickers.config.values import Site, Static
from snickers.tls.credentials import CertificateUnavailable
from tests.acme_fake import AtOnce
from tests.acme_world import DAY, NOW, Alarms

SITE = Site("a.example", Static("/"), certificates="acme")
HELD = Held(SITE.names, NOW - DAY, NOW + 89 * DAY, 1234, NOW + 75 * DAY)
PAUSED = Memory(failures=1, next=NOW + 3600.0, fault="it leads nowhere")


class StandingCase(SynchronousTestCase):
    def setUp(self) -> None:
        work = Work(AtOnce(), AtOnce(), lambda point: None)
        self.row = Standing(SITE, work, Tidings(Alarms(), lambda: 0.0).of(SITE.name), read=True)

    def due(self, after: float = 0.0, seconds: float = 0.0) -> bool:
        """Whether an attempt is due so long from now."""
        return self.row.is_due(NOW + after, seconds)


class DueTests(StandingCase):
    def test_lacking(self) -> None:
        """A site without a certificate is due: not before its files were read, nor while an attempt
        is under way, nor while another process is busy with it."""
        self.assertTrue(self.due())
        self.row.read = False
        self.assertFalse(self.due())
        self.row.read, self.row.attempt = True, Deferred()
        self.assertFalse(self.due())
        self.row.attempt, self.row.busy_until = None, 30.0
        self.assertFalse(self.due(seconds=29.0))
        self.assertTrue(self.due(seconds=30.0))

    def test_forced(self) -> None:
        """Somebody who wants a new one has it whatever the date."""
        self.row.known = Known(HELD)
        self.assertFalse(self.due())
        self.row.forced = True
        self.assertTrue(self.due())

    def test_hurry(self) -> None:
        """A change ends the pause after a failure; it does not make due what is not."""
        self.row.known = Known(None, PAUSED)
        self.assertFalse(self.due())
        self.row.changed(evolve(SITE, also=("b.example",)))
        self.assertTrue(self.due())
        self.row.known = Known(HELD, PAUSED)
        self.row.changed(SITE)
        self.assertFalse(self.due())

    def test_no_hurry(self) -> None:
        """Other options than names and challenge make no hurry, and what never failed needs none:
        a later failure has its pause."""
        self.row.known = Known(None, PAUSED)
        self.row.changed(evolve(SITE, kind=Static("/srv")))
        self.assertFalse(self.due())
        self.row.known = Known(HELD)
        self.row.changed(evolve(SITE, acme_challenge="http-01"))
        self.assertTrue(self.row.hurry)
        self.assertFalse(self.due())
        self.row.known = Known(None, PAUSED)
        self.assertFalse(self.due())

    def test_found_out_once(self) -> None:
        """What does not change is found out once; anew for another site, other knowledge, or a
        clock that was set back."""
        asked: list[float] = []
        next_try = plan.next_try

        def counted(site: Site, known: Known, now: float) -> float:
            asked.append(now)
            return next_try(site, known, now)

        self.patch(plan, "next_try", counted)
        self.row.known = Known(HELD)
        for after in (0.0, 10.0, 20.0):
            self.due(after)
        self.assertEqual(asked, [NOW])
        self.due(-10.0)
        self.row.changed(evolve(SITE))
        self.due()
        self.row.known = Known(HELD)
        self.due()
        self.assertEqual(asked, [NOW, NOW - 10.0, NOW, NOW])


class StateTests(StandingCase):
    def test_state(self) -> None:
        """What is said is what is remembered; when the next try is, once that is known."""
        self.row.read = False
        self.assertIsNone(self.row.state(NOW)["next"])
        self.row.read = True
        window = Window(NOW + DAY, NOW + 2 * DAY)
        memory = evolve(PAUSED, challenge="http-01", authority="https://ca", window=window)
        self.row.known = Known(None, memory)
        self.assertEqual(
            self.row.state(NOW),
            {
                "step": "waiting",
                "next": PAUSED.next,
                "fault": "it leads nowhere",
                "failures": 1,
                "challenge": "http-01",
                "authority": "https://ca",
                "ari": (window.start, window.end),
            },
        )

    def test_unread(self) -> None:
        """Off duty nothing of what was read holds, and no question is waited for."""
        self.row.reading = self.row.asking = True
        self.row.unread()
        self.assertEqual((self.row.read, self.row.reading, self.row.asking), (False,) * 3)


class WaitersTests(StandingCase):
    def test_steps(self) -> None:
        """Each who waits hears each step, and once how it went."""
        words: list[str] = []
        done = [self.row.wait(words.append) for _ in range(2)]
        self.row.say("proving")
        self.assertEqual((words, self.row.step), (["proving"] * 2, "proving"))
        self.row.answer(None)
        for one in done:
            self.assertIsNone(self.successResultOf(one))
        self.row.say("waiting")
        self.assertEqual(len(words), 2)

    def test_given_up(self) -> None:
        """Who gives up hears nothing more, and the others do."""
        words: list[str] = []
        gone, stays = self.row.wait(words.append), self.row.wait(lambda said: None)
        gone.addErrback(lambda failure: None).cancel()
        self.row.say("proving")
        self.row.answer(CertificateUnavailable("no"))
        self.failureResultOf(stays, CertificateUnavailable)
        self.assertEqual(words, [])
