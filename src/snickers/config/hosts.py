"""Names of hosts, as people write them and as they are compared: lower-case A-labels.

Never lets a name through that a certificate, a ClientHello or a Host field could not carry, and
never two spellings of one name.
"""

from __future__ import annotations

import re

import idna

from snickers.config.wrong import Wrong

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")


def host_name(text: str) -> str:
    """Return *text* in lower-case A-labels (RFC 5890, UTS 46), without a trailing dot.

    Raises `Wrong`.
    """
    name = text
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True, transitional=False).decode("ascii")
        except idna.IDNAError as error:
            raise Wrong(f"{text!r} is not a host name: {str(error)[:200]}") from None
    name = name.lower().removesuffix(".")
    labels = name.split(".")
    for label in labels:
        if _LABEL.fullmatch(label) is None:
            why = "an empty label" if not label else f"the label {label[:70]!r}"
            raise Wrong(
                f"{text!r} is not a host name: {why}; a label is 1 to 63 letters, digits and '-'"
            )
        if label.startswith("xn--"):
            try:
                idna.ulabel(label)
            except idna.IDNAError as error:
                raise Wrong(f"{text!r} is not a host name: {str(error)[:200]}") from None
    if len(name) > 253:
        raise Wrong(f"{text[:40]!r}… is not a host name: longer than 253 letters")
    if _NUMERIC.fullmatch(labels[-1]):
        # It would be read as an address (WHATWG URL 3.5), and no ClientHello names an address.
        raise Wrong(f"{text!r} is an address, not a host name; write a name such as alice.example")
    return name


def site_name(text: str) -> str:
    """Return `host_name` of *text*, which may begin with ``*.`` for every name one level below."""
    rest = text.removeprefix("*.")
    if "*" in rest:
        raise Wrong(
            f"{text!r} is not a host name: '*' may only be its first label, as in *.alice.example"
        )
    return "*." + host_name(rest) if rest != text else host_name(text)
