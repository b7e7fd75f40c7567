"""One order of a certificate, as a value, and what is to be done about it next.

Pure: what is known of an order and what the authority says of it in, the next act out. `ACTS`
decides every pair of the two; what is not in it does not happen. The value is written to the disk
before every act that the authority would count or that would need the key again, so an order goes
on from wherever its process died. Must never have a second order placed where one may be there,
and never lose a key whose certificate may exist.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

from attrs import asdict, field, frozen


class Step(Enum):
    """How far an order is, as this side knows."""

    NEW = "new"
    """Nothing was asked of the authority."""
    ASKED = "asked"
    """It may have been asked for: whether it is there only the authority knows."""
    OPEN = "open"
    """It is there, and has an address of its own."""


class Status(Enum):
    """How far an order is, as the authority says (RFC 8555 section 7.1.6)."""

    UNKNOWN = ""
    """It was not asked yet."""
    PENDING = "pending"
    READY = "ready"
    PROCESSING = "processing"
    VALID = "valid"
    INVALID = "invalid"


class Act(Enum):
    """What is to be done."""

    CREATE = "create"
    """Place the order."""
    SEARCH = "search"
    """Look whether it was placed; if not, place it."""
    LOOK = "look"
    """Ask how far it is."""
    PROVE = "prove"
    """Prove the names that are not proven yet."""
    FINALIZE = "finalize"
    """Hand in the request for the certificate."""
    WAIT = "wait"
    """Ask again later."""
    FETCH = "fetch"
    """Take the certificate."""
    GIVE_UP = "give up"
    """It will never have one."""


ACTS: Mapping[tuple[Step, Status], Act] = MappingProxyType(
    {
        (Step.NEW, Status.UNKNOWN): Act.CREATE,
        (Step.ASKED, Status.UNKNOWN): Act.SEARCH,
        (Step.OPEN, Status.UNKNOWN): Act.LOOK,
        (Step.OPEN, Status.PENDING): Act.PROVE,
        (Step.OPEN, Status.READY): Act.FINALIZE,
        (Step.OPEN, Status.PROCESSING): Act.WAIT,
        (Step.OPEN, Status.VALID): Act.FETCH,
        (Step.OPEN, Status.INVALID): Act.GIVE_UP,
    }
)
"""An order without an address has no status: the other pairs cannot be."""


@frozen
class Answer:
    """What is put where the authority looks for it, to prove one name."""

    challenge: str
    """``http-01``, ``tls-alpn-01`` or ``dns-01``."""
    name: str
    """The name that is proven, without a ``*.``."""
    token: str
    proof: str = field(repr=False)
    """The key authorization (RFC 8555 section 8.1)."""


@frozen
class Order:
    """An order in flight."""

    site: str
    directory: str
    """The URL of the authority's directory."""
    account: str
    """The URL of the account that has placed it; another account cannot go on with it."""
    names: tuple[str, ...]
    challenge: str
    """By which the names are proven that are no wildcards."""
    key: str = field(repr=False)
    """The private key, PEM."""
    begun: float
    """Epoch seconds."""
    profile: str = ""
    replaces: str = ""
    """The certificate that it renews, as RFC 9773 calls it; empty: that is not said."""
    step: Step = Step.NEW
    url: str = ""
    """Its own address, where it has one."""
    answers: tuple[Answer, ...] = ()
    """What may lie where the authority looks, to be taken away in the end."""


LIFE = 6 * 86400.0
"""Seconds after which an order is begun anew: authorities forget theirs after a week."""


def act(order: Order, status: Status) -> Act:
    """Return what is to be done about *order*, of which the authority says *status*."""
    return ACTS[order.step, status]


def usable(order: Order, names: tuple[str, ...], account: str, now: float) -> bool:
    """Whether *order*, which was found on the disk, can still lead to a certificate for *names*."""
    return (
        set(order.names) == set(names)
        and order.account == account
        and abs(now - order.begun) < LIFE
    )


def to_text(order: Order) -> str:
    """Return *order* as it is stored."""
    return json.dumps({**asdict(order), "step": order.step.value}, indent=1)


def from_text(text: str | bytes) -> Order:
    """Return the order that was stored as *text*; `ValueError` when it is none."""
    try:
        said: dict[str, Any] = json.loads(text)
        return Order(
            **{
                **said,
                "names": tuple(said["names"]),
                "step": Step(said["step"]),
                "answers": tuple(Answer(**answer) for answer in said["answers"]),
            }
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"this is no order: {error}") from None
