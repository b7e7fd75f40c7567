"""Which servers behind https are trusted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Proxy
from snickers.tls.outgoing import NotTrusted
from snickers.tls.trust import SYSTEM_EVERY, Trust
from tests.pairs import DAY, make_pair

TO = ("https://inner.example",)


class Here:
    """Runs at once what is for a thread."""

    def start(self) -> None:
        """Nothing is to be started."""

    def stop(self) -> None:
        """Nothing is to be stopped."""

    def run(self, function: Callable[[], Any]) -> Deferred[Any]:
        return execute(function)


class TrustTests(SynchronousTestCase):
    """What connects to servers, and what it trusts."""

    def setUp(self) -> None:
        self.now = 1000.0
        self.trust = Trust(Here(), lambda: self.now)
        self.path = Path(self.mktemp())
        self.write()

    def write(self) -> None:
        now = time.time()
        root = make_pair(common="root", begin=now - DAY, end=now + DAY)
        self.path.write_bytes(root.pem)

    def secure(self, name: str = "inner.example", **options: Any) -> Any:
        kind = Proxy(TO, **{"trust": str(self.path), **options})
        return self.successResultOf(self.trust.secure(kind, name))

    def test_names(self) -> None:
        """The name of the address is expected, or the one that was chosen, or none."""
        self.assertEqual(self.secure().verify, "inner.example")
        chosen = self.secure(verify="other.example")
        self.assertEqual((chosen.name, chosen.verify), ("inner.example", "other.example"))
        self.assertEqual(self.secure(verify="off").verify, "")

    def test_shared(self) -> None:
        """Who trusts the same shares a context; who expects the same too shares sessions."""
        one = self.secure()
        self.assertIs(self.secure(), one)
        other = self.secure("other.example")
        self.assertIsNot(other, one)
        self.assertIs(other.context, one.context)
        self.assertIsNot(self.secure(trust="").context, one.context)
        off = self.secure(verify="off")
        self.assertIsNot(off.context, one.context)
        self.assertIs(self.secure("x", verify="off", trust="").context, off.context)

    def test_changed(self) -> None:
        """A file that has changed is read again, and only then."""
        one = self.secure()
        os.utime(self.path, (1, 1))
        other = self.secure()
        self.assertIsNot(other.context, one.context)
        self.assertIs(self.secure(), other)

    def test_system(self) -> None:
        """The system's roots are read again after a day."""
        one = self.secure(trust="")
        self.now += SYSTEM_EVERY / 2
        self.assertIs(self.secure(trust=""), one)
        self.now += SYSTEM_EVERY
        self.assertIsNot(self.secure(trust="").context, one.context)

    def test_unreadable(self) -> None:
        """What is no file of certificates is a fault in words, and nobody is trusted for it."""
        folder = self.mktemp()
        os.mkdir(folder)
        empty = Path(self.mktemp())
        empty.write_text("nothing")
        for path, words in (
            ("/nonexistent/ca.pem", "cannot be read: No such file or directory"),
            (folder, "is not an ordinary file"),
            (str(empty), "has no certificates in PEM that could be trusted"),
        ):
            kind = Proxy(TO, trust=path)
            failure = self.failureResultOf(self.trust.secure(kind, "x"), NotTrusted)
            self.assertEqual(failure.getErrorMessage(), f"{path} {words}")

    def test_kept_no_longer(self) -> None:
        """What no site uses any more is not kept."""
        self.secure()
        self.assertEqual((len(self.trust._contexts), len(self.trust._connectors)), (0, 0))
