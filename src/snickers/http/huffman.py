"""The code that HPACK shortens strings with (RFC 7541 §5.2 and Appendix B).

Pure. Strings are read four bits at a time by a table of states, made once at import. It must never
take a string whose end is anything but the beginning of the end-of-string code.
"""

from __future__ import annotations

from typing import Any

_LENGTHS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c"
    "060a0a0c0d06080b0a0a080b080606060505050606060606060607080f060c0a"
    "0d06070707070707070707070707070707070707070707070807080d130d0e06"
    "0f05060506050606060507070606060506070605050607070707070f0b0e0d1c"
    "1416141416161617161717171717181718181617181717171715161716171718"
    "1615141616171715171616181516171715151615171617171416161617161617"
    "1a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b"
    "14181415161515171616191918181a171a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a"
)
"""Bits of each byte's code. The code is canonical: the lengths say it all."""
_END_LENGTH = 30
"""...and of the end-of-string code, which is all ones and never sent."""
_PADDING = 7
"""The most bits of it that may stand at the end of a string."""


def _codes() -> list[tuple[int, int]]:
    """Return the code and its length for each byte."""
    codes: list[tuple[int, int]] = [(0, 0)] * 256
    code = length = 0
    for symbol in sorted(range(256), key=lambda symbol: (_LENGTHS[symbol], symbol)):
        code <<= _LENGTHS[symbol] - length
        length = _LENGTHS[symbol]
        codes[symbol] = code, length
        code += 1
    return codes


_CODES = _codes()
_DIGITS = [f"{code:0{length}b}" for code, length in _CODES]


def _states() -> tuple[dict[str, Any], frozenset[int]]:
    """Return the first state, and the identities of those in which a string may end.

    A state is a place within a code; it maps four more bits, as a hexadecimal digit, to the next
    state and the byte that was completed on the way, if one was: codes have five bits at least.
    """
    # A tree first: a node is a list of two, a byte, or None where only the end's code goes.
    root: list[Any] = [None, None]
    for symbol, (code, length) in enumerate(_CODES):
        node = root
        for bit in range(length - 1, 0, -1):
            side = code >> bit & 1
            if node[side] is None:
                node[side] = [None, None]
            node = node[side]
        node[code & 1] = bytes((symbol,))
    states: dict[int, dict[str, Any]] = {}
    waiting = [root]
    while waiting:
        node = waiting.pop()
        state = states.setdefault(id(node), {})
        for digit in range(16):
            place: Any = node
            said = b""
            for bit in (8, 4, 2, 1):
                place = place[1 if digit & bit else 0]
                if place is None:
                    break
                if isinstance(place, bytes):
                    said = place
                    place = root
            if place is None:
                continue
            if id(place) not in states:
                states[id(place)] = {}
                waiting.append(place)
            state[f"{digit:x}"] = states[id(place)], said
    ends = [root]
    while len(ends) <= _PADDING:
        ends.append(ends[-1][1])
    return states[id(root)], frozenset(id(states[id(node)]) for node in ends if id(node) in states)


_FIRST, _LAST = _states()


class BadString(Exception):
    """The bits are no string in this code."""


def decode(data: bytes) -> bytes:
    """Return what *data* says; raise `BadString`."""
    state = _FIRST
    found = []
    try:
        for digit in data.hex():
            state, said = state[digit]
            if said:
                found.append(said)
    except KeyError:
        raise BadString("the end-of-string code stands within a string") from None
    if id(state) not in _LAST:
        raise BadString("a string does not end in the beginning of the end-of-string code")
    return b"".join(found)


def encode(data: bytes) -> bytes:
    """Return *data* in this code."""
    # Digits, not one number that grows: shifting that costs the square of the length.
    bits = "".join([_DIGITS[byte] for byte in data])
    bits += "1" * (-len(bits) % 8)
    return int(bits or "0", 2).to_bytes(len(bits) // 8, "big")
