"""Which fields may be added to answers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.answer_fields import FIELD_VALUE, FRAMING, by_name, name_fault
from snickers.config.formats import Place
from snickers.config.wrong import Wrong


class AnswerFieldsTests(SynchronousTestCase):
    def test_names(self) -> None:
        """Usual names are good; what frames, speaks to one hop or is no token is not."""
        for name in ("X-Frame-Options", "server", "Strict-Transport-Security", "x_y"):
            self.assertEqual(name_fault(name), "")
        for name in (*FRAMING, "Content-Length", "TRANSFER-ENCODING", "Sec-WebSocket-Accept"):
            self.assertIn("cannot be changed here", name_fault(name))
        for name in ("", "a b", "a:b", "é", "a\tb", "a\n"):
            self.assertIn("is no name of a field", name_fault(name))

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(st.text(max_size=30))
    def test_values(self, text: str) -> None:
        """No value that is taken could end its line or be read in two ways."""
        try:
            value = FIELD_VALUE.read(text, Place("/"))
        except Wrong:
            return
        self.assertTrue(value.isascii() and value.isprintable())

    def test_by_name(self) -> None:
        """Names are told apart by their letters alone; the last one counts."""
        self.assertEqual(
            by_name([("b", "1"), ("X-a", "2"), ("x-A", "3")]), (("b", "1"), ("x-A", "3"))
        )
