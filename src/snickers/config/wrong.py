"""What is raised when a value cannot be read. It never leaves this room: a fault is made of it."""

from __future__ import annotations


class Wrong(ValueError):
    """The value cannot be read; the text says what is wrong and what would be right."""


class Missing(Wrong):
    """There is no such file."""


class NotYet(Wrong):
    """The value is right, and this version cannot do it."""
