"""Certificates: where what has them, orders them, and what a person asks of them meet.

Whatever cannot be had, what is in use goes on. A private key may be in none of the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface

from snickers.config.values import Site


class ICertificates(Interface):
    """Certificates of all sites, for the reload and the control room."""

    def apply(added: Sequence[Site], changed: Sequence[Site], removed: Sequence[Site]) -> None:
        """Take a new configuration's sites; returns at once and reads nothing."""

    def states() -> Mapping[str, Mapping[str, Any]]:
        """Return for each site whose certificate was loaded, or could not be: ``source``
        (``"files"``, ``"internal"``, ``"acme"``, or what stands in and why: ``"internal (acme: none
        yet)"``), ``issuer`` (who has signed it), ``not_after`` (epoch seconds, 0: there is none),
        ``names``, ``next`` (epoch seconds, when it is renewed if that is ours to do, or ``None``),
        ``fault`` (words, or "")."""

    def reread(site: str) -> None:
        """Read *site*'s certificate anew, whose files were replaced; no connection is touched.
        One that cannot be used leaves what is in use."""

    def renew(site: str) -> Deferred[None]:
        """Have a new certificate made for *site* where that is ours to do, or its files read, now.

        Fires when it is in use; fails with `snickers.tls.credentials.CertificateUnavailable` in
        words when that cannot be, and what was in use goes on.
        """


class IRenewer(Interface):
    """Certificates from an authority on the network, ordered and renewed (snickers.acme)."""

    def apply(added: Sequence[Site], changed: Sequence[Site], removed: Sequence[Site]) -> None:
        """Take a new configuration's sites, those with other certificates among them; returns at
        once. What is lacking or due is ordered by itself; what is under way goes on."""

    def renew(site: str, progress: Callable[[str], None]) -> Deferred[None]:
        """Have a new certificate ordered for *site* now, whatever the date of the one there is.

        *progress* is called with words for each step. Fires when the new one is stored; fails with
        `snickers.tls.credentials.CertificateUnavailable` in words, with the old one in place.
        """

    def states() -> Mapping[str, Mapping[str, Any]]:
        """Return for each of its sites ``step`` (words: ``"waiting"``, ``"ordering"``...), ``next``
        (epoch seconds of the next try or renewal, or ``None``), ``fault`` (words, or ""),
        ``challenge`` (the one that has worked last, or ""), ``authority`` (the directory's URL of
        the one that has signed, or ""), ``ari`` (the authority's window, two epoch seconds, or
        ``None``)."""


@frozen
class Submitted:
    """A certificate that a person has: what is in the files."""

    certificate: bytes
    """PEM; perhaps with the chain."""
    key: bytes = field(repr=False)
    """PEM."""
    chain: bytes = b""
    """PEM; empty: it is with the certificate, or there is none."""
    paths: tuple[str, str, str] = ("CERT", "KEY", "CHAIN")
    """What the person calls the files."""


@frozen
class TakenIn:
    """What became of what was submitted."""

    problems: tuple[str, ...] = ()
    """Why nothing was done, in words."""
    notes: tuple[str, ...] = ()
    """What was put right, or is to be known."""
    folder: str = ""
    """Where it is now."""
    names: tuple[str, ...] = ()
    issuer: str = ""
    not_after: float = 0.0
    """Epoch seconds."""
    obstacle: str = ""
    """Why it could not be written by Snickers, in words: `undone` is what is to be done."""
    undone: tuple[tuple[str, str | None, bool], ...] = field(default=(), repr=False)
    """Step by step: a file's name in `folder`, its text (``None``: it is to be removed), and
    whether that is a secret."""


class CertifyingFailed(Exception):
    """What was asked of certificates could not be done; the text says why, for a person."""


class ICertifying(Interface):
    """What a person may ask of sites' certificates. Answers are JSON-able."""

    def report() -> list[dict[str, Any]]:
        """Return for each site, also where its TLS is not opened here, ``site``, ``names`` (its
        own), ``wanted`` (the source that the configuration names), and as `ICertificates.states`
        and `IRenewer.states` have it: ``source`` (empty: nobody has asked for it yet),
        ``issuer``, ``not_after``, ``days`` (left), ``step``, ``next``, ``fault``, ``challenge``,
        ``authority``."""

    def renew(site: str, progress: Callable[[str], None]) -> Deferred[None]:
        """Have a new certificate for *site* now, from where it has its certificates from. Fires
        when it is in use; fails with words."""

    def take_in(site: str, host: str, submitted: Submitted) -> Deferred[dict[str, Any]]:
        """Have what was *submitted* be the certificate of *host*, one of the names of *site*, where
        ``certificates = files`` looks for it.

        Fires with ``problems`` (words) when it is not fit, and nothing was touched; else with
        ``folder``, ``names``, ``issuer``, ``not_after``, ``notes`` (words), and ``advice``: what to
        write into the configuration, or ""; and where Snickers may not write there ``obstacle`` and
        ``undone``, as `TakenIn` has them. Fails with `CertifyingFailed`.
        """
