"""The other processes of all teams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from snickers.duty.colleagues import Colleagues
from snickers.interfaces.colleagues import IColleagues, Share


@implementer(IColleagues)
class Crew:
    def freshen(self) -> Deferred[None]:
        return succeed(None)

    def share(self, site: str) -> Share:
        return Share(1)

    def handshakes(self) -> dict[str, int]:
        return {"ok": 3}

    def report(self) -> list[dict[str, Any]]:
        return [{"pid": 7}]


class Others:
    def add(self, share: Share, site: str) -> Share:
        return evolve(share, requests=share.requests + len(site))

    def handshakes(self, workers: Mapping[str, int]) -> dict[str, int]:
        return {**workers, "failed": 1}


class ColleaguesTests(SynchronousTestCase):
    """Workers, and the others."""

    def test_all(self) -> None:
        """What is asked is asked of the workers; to what they have is added what others have."""
        colleagues = Colleagues(Crew(), Others())
        verifyObject(IColleagues, colleagues)
        self.assertEqual(colleagues.share("abc"), Share(4))
        self.assertEqual(colleagues.report(), [{"pid": 7}])
        self.assertEqual(colleagues.handshakes(), {"ok": 3, "failed": 1})
        self.assertEqual(self.successResultOf(colleagues.freshen()), None)
