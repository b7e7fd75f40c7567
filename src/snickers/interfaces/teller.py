"""Whom a process tells how it fares: its keeper, or the service manager that started it."""

from __future__ import annotations

from typing import Protocol


class Teller(Protocol):
    """Takes what there is to tell, in the words of ``sd_notify(3)``."""

    def send(self, *states: str) -> bool:
        """Send *states* in one message; say whether that is done with: ``False`` where nobody has
        room for it just now."""
        ...
