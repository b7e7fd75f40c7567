"""What a certificate authority says, as values, and how it fails.

Pure, and apart from who asks it (`snickers.acme.client`), so that a host that asks none loads
nothing of that.
"""

from __future__ import annotations

from attrs import frozen

from snickers.acme.order import Status
from snickers.acme.renewal import Window

WORDS = 2000
"""Characters of what a person is told."""


def plain(text: str) -> str:
    """Return *text* on one line, without what a terminal would act on."""
    return "".join(c if c.isprintable() else " " for c in text)


class AuthorityFailed(Exception):
    """What was asked of an authority could not be had; the text says why, for a person."""

    def __init__(
        self,
        kind: str,
        words: str,
        retry_after: float | None = None,
        whole: bool = True,
        said: bool = False,
    ) -> None:
        """*kind*: ``"away"`` (it does not answer, or not as one), ``"limited"`` (not so often),
        ``"refused"`` (not at all), ``"proof"`` (a name is not proven), ``"lost"`` (it does not
        know what it has given), ``"replaced"`` (what is to be renewed was renewed before).
        *retry_after*: seconds, where it says so. *whole*: all that is asked of it is meant, not
        only these names. *said*: the authority itself says so, in a problem document: it has not
        done what it was asked for."""
        # Some of them are the authority's, and they go into logs and to terminals.
        super().__init__(plain(words)[:WORDS])
        self.kind = kind
        self.retry_after = retry_after
        self.whole = whole
        self.said = said


@frozen
class Seen:
    """An order as the authority shows it."""

    url: str
    status: Status
    authorizations: tuple[str, ...] = ()
    finalize: str = ""
    certificate: str = ""
    words: str = ""
    """Why it is invalid."""
    retry_after: float | None = None


@frozen
class Offered:
    """One way to prove a name."""

    challenge: str
    url: str
    token: str
    status: str
    words: str = ""
    """Why it has failed."""


@frozen
class Authorization:
    """One name, and how far it is proven."""

    url: str
    name: str
    wildcard: bool
    status: str
    offered: tuple[Offered, ...]


@frozen
class Suggested:
    """When a certificate should be renewed, as its authority says."""

    window: Window
    retry_after: float | None
    """Seconds until it is to be asked again."""
    explanation: str = ""
    """A page for the owner, where there is one."""
