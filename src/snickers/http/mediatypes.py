"""What a file is, by its name, and which of its compressed forms a client takes.

Pure, and the same on every host: no file of the system is asked, so that a site does not change
its types when it moves. A name must never choose anything but a type and a charset.
"""

from __future__ import annotations

import mimetypes
from functools import lru_cache

UNKNOWN = b"application/octet-stream"
"""RFC 9110 §8.3: what nobody knows is bytes; browsers offer to keep it."""

_OWN = {
    # What a site is made of, as registered at IANA, where `mimetypes` is silent, old or wrong.
    "avif": "image/avif",
    "bmp": "image/bmp",
    "css": "text/css",
    "csv": "text/csv",
    "eot": "application/vnd.ms-fontobject",
    "epub": "application/epub+zip",
    "flac": "audio/flac",
    "geojson": "application/geo+json",
    "gif": "image/gif",
    "gz": "application/gzip",
    "htm": "text/html",
    "html": "text/html",
    "ico": "image/x-icon",
    "ics": "text/calendar",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "json": "application/json",
    "jsonld": "application/ld+json",
    "jxl": "image/jxl",
    "m4a": "audio/mp4",
    "map": "application/json",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "otf": "font/otf",
    "pdf": "application/pdf",
    "png": "image/png",
    "rss": "application/rss+xml",
    "atom": "application/atom+xml",
    "svg": "image/svg+xml",
    "svgz": "image/svg+xml",
    "tar": "application/x-tar",
    "ttf": "font/ttf",
    "txt": "text/plain",
    "vtt": "text/vtt",
    "wasm": "application/wasm",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xhtml": "application/xhtml+xml",
    "xml": "application/xml",
    "xz": "application/x-xz",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "zip": "application/zip",
    "zst": "application/zstd",
}
# The table as the module brings it, copied before anybody makes it read the system's files.
_OTHERS = {ending[1:]: media for ending, media in mimetypes.types_map.items()}
_TYPES = {
    ending.encode("ascii"): (f"{media}; charset=utf-8" if media.startswith("text/") else media)
    .encode("ascii")
    for ending, media in (_OTHERS | _OWN).items()
}  # fmt: skip

CODINGS: tuple[tuple[bytes, bytes], ...] = ((b"br", b".br"), (b"zstd", b".zst"), (b"gzip", b".gz"))
"""Content codings and the endings of files that hold them, the smallest results first."""


def media_type(name: bytes) -> bytes:
    """Return the Content-Type of the file *name*; text is said to be UTF-8."""
    _, dot, ending = name.rpartition(b".")
    return _TYPES.get(ending.lower(), UNKNOWN) if dot else UNKNOWN


def inherent_coding(name: bytes) -> bytes:
    """Return the Content-Encoding that goes with the type of *name*, ``b""`` for none."""
    return b"gzip" if name.lower().endswith(b".svgz") else b""


MAX_ACCEPT = 1024
"""Bytes of an Accept-Encoding field that are looked at: browsers' are a thirtieth of it."""


def accepted_codings(accept: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return those of `CODINGS` that an Accept-Encoding field takes, best first (RFC 9110
    §12.5.3).

    Whatever a client likes less than the plain file is left out.
    """
    if len(accept) > MAX_ACCEPT:
        accept = accept[:MAX_ACCEPT].rpartition(b",")[0]
    return _accepted(accept)


@lru_cache(maxsize=256)
def _accepted(accept: bytes) -> tuple[tuple[bytes, bytes], ...]:
    qualities: dict[bytes, float] = {}
    for item in accept.lower().split(b","):
        coding, _, parameter = item.partition(b";")
        qualities.setdefault(coding.strip().removeprefix(b"x-"), _quality(parameter))
    other = qualities.get(b"*", 0.0)
    # Without a word about it, the plain file is acceptable, but what is named is liked better.
    plain = qualities.get(b"identity", 0.0)
    liked = [
        (quality, pair)
        for pair in CODINGS
        if (quality := qualities.get(pair[0], other)) > 0 and quality >= plain
    ]
    liked.sort(key=lambda each: -each[0])
    return tuple(pair for _, pair in liked)


def _quality(parameter: bytes) -> float:
    name, _, value = parameter.strip().partition(b"=")
    if not name:
        return 1.0
    try:
        quality = float(value) if name.strip() == b"q" else 0.0
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0
