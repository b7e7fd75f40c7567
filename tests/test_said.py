"""What an authority says, as values."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.said import WORDS, AuthorityFailed, plain


class SaidTests(SynchronousTestCase):
    def test_words(self) -> None:
        """Whatever an authority says, what a person is told is one line, and no endless one."""
        for words in ("https://x/\x1b[2J\nroot: all is well", "y" * 99999):
            failed = AuthorityFailed("away", words)
            self.assertTrue(str(failed).isprintable())
            self.assertLessEqual(len(str(failed)), WORDS)

    def test_plain(self) -> None:
        """What a person can read stays as it is; what a terminal would act on is a space."""
        self.assertEqual(plain("grün: a\tb\r\n\x1b[2J"), "grün: a b   [2J")

    def test_kinds(self) -> None:
        """A failure is of all that is asked of the authority, unless it says otherwise."""
        failed = AuthorityFailed("proof", "no", 90.0, whole=False, said=True)
        found = (failed.kind, failed.retry_after, failed.whole, failed.said)
        self.assertEqual(found, ("proof", 90.0, False, True))
        failed = AuthorityFailed("away", "no")
        self.assertEqual((failed.retry_after, failed.whole, failed.said), (None, True, False))
