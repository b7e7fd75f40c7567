"""Who may issue: what a domain's CAA records say of one authority (RFC 8659, RFC 8657).

Pure: records in, words out. It reads as an authority must, so what is malformed allows nobody;
it must never take an order for allowed that the authority would have to refuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from attrs import frozen

CRITICAL = 128
"""The flag of a record that must be understood (RFC 8659 section 4.1)."""
KNOWN = frozenset(
    ("issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone")
)
"""IANA's registry of tags."""

_DOMAIN = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*",
    re.ASCII,
)
_PARAMETER = re.compile(
    r"([A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)[ \t]*=[ \t]*([\x21-\x3a\x3c-\x7e]*)", re.ASCII
)


@frozen
class Record:
    """One CAA record."""

    flags: int
    tag: str
    value: str


@frozen
class Issuer:
    """What an ``issue`` or ``issuewild`` record allows."""

    domain: str
    """Lower case; empty: nobody."""
    parameters: tuple[tuple[str, str], ...] = ()
    """In order, tags in lower case; one may come twice."""

    def values(self, tag: str) -> list[str]:
        """Return the values of the parameter *tag*."""
        return [value for name, value in self.parameters if name == tag]


NOBODY = Issuer("")


@frozen
class Asked:
    """The order that the records are asked about."""

    identities: tuple[str, ...]
    """The domains by which records may name the authority (``caaIdentities`` of its directory)."""
    methods: tuple[str, ...] = ()
    """The challenges that may be used; empty: any."""
    account: str = ""
    """The account's URL; empty: there is none yet, so that a record that wants one is not held
    against the order."""
    wildcard: bool = False


def read(value: str) -> Issuer:
    """Return what an ``issue`` record's *value* says; a malformed one allows nobody
    (RFC 8659 section 4.2)."""
    domain, *rest = (part.strip(" \t") for part in value.split(";"))
    if domain and _DOMAIN.fullmatch(domain) is None:
        return NOBODY
    if rest and not rest[-1]:
        rest.pop()
    parameters = []
    for text in rest:
        found = _PARAMETER.fullmatch(text)
        if found is None:
            return NOBODY
        parameters.append((found[1].lower(), found[2]))
    return Issuer(domain.lower(), tuple(parameters))


def parents(name: str) -> list[str]:
    """Return the domains whose records hold for *name*, the nearest first (RFC 8659 section 3)."""
    labels = name.removeprefix("*.").split(".")
    return [".".join(labels[index:]) for index in range(len(labels))]


def relevant(name: str, look_up: Callable[[str], Sequence[Record]]) -> tuple[str, list[Record]]:
    """Return the domain whose records hold for *name*, and those; ``""`` where there are none.

    *look_up* returns the records of a domain, those of where an alias leads.
    """
    for domain in parents(name):
        records = list(look_up(domain))
        if records:
            return domain, records
    return "", []


def _unlike(issuer: Issuer, asked: Asked) -> str:
    """Return why a record that names the authority does not allow the order; empty: it does."""
    accounts = issuer.values("accounturi")
    if len(accounts) > 1:
        return "more than one accounturi, which allows no account"
    if accounts and asked.account and accounts != [asked.account]:
        return f"only the account {accounts[0]}, and this one is {asked.account}"
    methods = issuer.values("validationmethods")
    if len(methods) > 1:
        return "more than one validationmethods, which allows none"
    if methods and asked.methods:
        allowed = methods[0].split(",")
        if not any(method in allowed for method in asked.methods):
            return f"only {methods[0] or 'no challenge'}, and this would be {_or(asked.methods)}"
    return ""


def _or(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def forbids(records: Sequence[Record], asked: Asked) -> str:
    """Return why *records*, those that hold for a name, do not allow what is *asked*.

    Empty: they do, or it cannot be told since the authority's identities are not known.
    """
    unknown = [each.tag for each in records if each.flags & CRITICAL and each.tag not in KNOWN]
    if unknown:
        return f"a critical record has the tag {unknown[0]!r:.60}, which no authority knows"
    tag = "issue"
    if asked.wildcard and any(each.tag == "issuewild" for each in records):
        tag = "issuewild"
    issuers = [read(each.value) for each in records if each.tag == tag]
    if not issuers:
        return ""
    named = sorted({issuer.domain for issuer in issuers if issuer.domain})
    if not named:
        return f"{tag} allows no authority"
    if not asked.identities:
        return ""
    identities = {identity.lower() for identity in asked.identities}
    ours = [issuer for issuer in issuers if issuer.domain in identities]
    if not ours:
        return f"{tag} allows {_or(named)}, not {_or(asked.identities)}"
    reasons = [_unlike(issuer, asked) for issuer in ours]
    return "" if "" in reasons else f"{tag} for {ours[0].domain} allows {reasons[0]}"
