"""How addresses are written: endpoints to listen on, URLs, upstreams, networks.

Nothing here resolves a name or opens a connection, and no two spellings of one address are let
through as two values.
"""

from __future__ import annotations

import ipaddress
import os.path
import re
from collections.abc import Iterable

from snickers.config.formats import (
    Format,
    Place,
    absolute,
    each_word,
    either,
    integer,
    one_line,
    same,
)
from snickers.config.hosts import host_name
from snickers.config.values import Listen
from snickers.config.wrong import NotYet, Wrong


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise Wrong(f"{text!r} is not a port; write a number from 1 to 65535")
    return int(text)


def _fields(description: str) -> tuple[list[str], dict[str, str]]:
    """Split a Twisted endpoint description at its colons; a backslash guards the next letter."""
    parts = re.findall(r"(?:\\.|[^:\\])+|(?<=:)(?=:|$)", description)
    plain: list[str] = []
    named: dict[str, str] = {}
    for part in parts:
        key, equals, value = re.sub(r"\\(.)", r"\1", part).partition("=")
        if equals:
            named[key] = value
        else:
            plain.append(key)
    return plain, named


def _read_endpoint(word: str, place: Place) -> Listen:
    plain, named = _fields(one_line(word, place))
    family = plain.pop(0).lower() if plain else ""
    if family not in ("tcp", "tcp6", "unix"):
        raise Wrong(f"{word!r} is not an endpoint; write one such as tcp:443, tcp6:443, unix:/path")
    first = "address" if family == "unix" else "port"
    if plain:
        named.setdefault(first, plain.pop(0))
    backlog = named.pop("backlog", str(Listen("", "", 0).backlog))
    subject = named.pop(first, "")
    interface = named.pop("interface", "") if family != "unix" else ""
    if plain or named:
        odd = (plain or list(named))[0]
        raise Wrong(
            f"{odd!r} in {word!r} is not understood; write one such as tcp:443:interface=::1"
        )
    waiting = integer(1, 65535).read(backlog, place)
    if family == "unix":
        if not subject:
            raise Wrong(f"{word!r} has no path; write unix:/path")
        return Listen(family, absolute(subject, place.base), 0, waiting)
    if interface:
        version = _ip_version(interface)
        if version is None:
            raise Wrong(f"{interface!r} is not an address of this host, such as 127.0.0.1")
        if (family == "tcp6") != (version == 6):
            raise Wrong(f"{interface!r} is an address for {'tcp6' if version == 6 else 'tcp'}:PORT")
    return Listen(family, interface, _port(subject), waiting)


def _ip_version(text: str) -> int | None:
    try:
        return ipaddress.ip_address(text).version
    except ValueError:
        return None


def _read_endpoints(text: str, place: Place) -> tuple[Listen, ...]:
    return tuple(_read_endpoint(word, place) for word in text.split())


def show_endpoint(listen: Listen) -> str:
    """Return the Twisted server endpoint string of *listen*."""
    subject = listen.interface if listen.family == "unix" else str(listen.port)
    shown = [listen.family, _guarded(subject)]
    if listen.family != "unix" and listen.interface:
        shown.append("interface=" + _guarded(listen.interface))
    if listen.backlog != Listen("", "", 0).backlog:
        shown.append(f"backlog={listen.backlog}")
    return ":".join(shown)


def _guarded(text: str) -> str:
    return re.sub(r"([:=\\])", r"\\\1", text)


ENDPOINTS: Format[tuple[Listen, ...]] = Format(
    "list of endpoints", _read_endpoints, lambda value: " ".join(map(show_endpoint, value))
)

_URL = re.compile(
    r"(?P<scheme>[a-z][a-z+]*)://(?P<host>\[[0-9a-f:.]+\]|[^/:?#@\[\]\s]+)(?::(?P<port>\d+))?"
    r"(?P<rest>[/?#]\S*)?",
    re.IGNORECASE | re.ASCII,
)


def _url(line: str, schemes: Iterable[str]) -> tuple[str, str, str]:
    """Return the scheme, the authority and what follows of *line*."""
    matched = _URL.fullmatch(line)
    if matched is None or matched["scheme"].lower() not in schemes:
        known = either([f"{scheme}://HOST" for scheme in schemes])
        raise Wrong(f"{line!r} is not a URL of the form {known}")
    host, port = matched["host"].lower(), matched["port"]
    if host.startswith("["):
        if _ip_version(host[1:-1]) != 6:
            raise Wrong(f"{host!r} is not an IPv6 address")
    elif _ip_version(host) is None:
        host = host_name(host)
    if port is not None and not _port(port):
        raise Wrong("the port 0 cannot be connected to; write a number from 1 to 65535")
    authority = host if port is None else f"{host}:{int(port)}"
    return matched["scheme"].lower(), authority, matched["rest"] or ""


def url(*schemes: str) -> Format[str]:
    """Return the format of URLs of *schemes*."""

    def read(text: str, place: Place) -> str:
        line = one_line(text, place)
        scheme, authority, rest = _url(line, schemes)
        if not rest.isascii():
            raise Wrong("may contain only ASCII letters behind the host; write the rest as %XX")
        return f"{scheme}://{authority}{rest}"

    return Format("URL", read, same)


def _read_upstream(word: str, place: Place) -> str:
    line = one_line(word, place)
    if line.lower().startswith("unix:"):
        path = line[len("unix:") :]
        path = "/" + path.lstrip("/") if path.startswith("//") else path
        if not path:
            raise Wrong("has no path; write unix:/path/to/socket")
        return "unix:" + absolute(path, place.base)
    if "://" not in line:
        raise Wrong(
            f"{line!r} is not an upstream; write http://HOST:PORT, https://HOST or unix:/path"
        )
    scheme, authority, rest = _url(line, ("http", "https"))
    if rest not in ("", "/"):
        raise Wrong(f"{line!r} has a path; requests keep their own: write {scheme}://{authority}")
    usual = ":443" if scheme == "https" else ":80"
    return f"{scheme}://{authority.removesuffix(usual)}"


def _read_upstreams(text: str, place: Place) -> tuple[str, ...]:
    upstreams = tuple(_read_upstream(word, place) for word in text.split())
    if len(set(upstreams)) < len(upstreams):
        raise Wrong("names a server twice; write each once")
    return upstreams


UPSTREAMS: Format[tuple[str, ...]] = Format("list of upstreams", _read_upstreams, " ".join)


def _read_verify(text: str, place: Place) -> str:
    line = one_line(text, place)
    if line.lower() == "off":
        return "off"
    try:
        return str(ipaddress.ip_address(line.strip("[]")))
    except ValueError:
        return host_name(line)


VERIFY: Format[str] = Format("`off`, host name or address", _read_verify, same)


def _read_passthrough(text: str, place: Place) -> str:
    line = one_line(text, place)
    matched = re.fullmatch(r"tcp:(\[[0-9a-f:.]+\]|[^:\[\]]+):(\d+)", line, re.I | re.A)
    if matched is None or not _port(matched[2]):
        raise Wrong(f"{line!r} is not of the form tcp:HOST:PORT")
    return f"tcp:{matched[1].lower()}:{int(matched[2])}"


PASSTHROUGH: Format[str] = Format("`tcp:HOST:PORT`", _read_passthrough, same)


def _read_engine(text: str, place: Place) -> str:
    line = one_line(text, place)
    scheme, _, rest = line.partition("://")
    if scheme == "ssh":
        raise NotYet("ssh:// is not available yet in this version; write unix:// or tcp://")
    if scheme == "unix" and rest.startswith("/"):
        return f"unix://{os.path.normpath('/' + rest.lstrip('/'))}"
    if scheme == "tcp":
        scheme, authority, after = _url(line, ("tcp",))
        if after in ("", "/") and re.search(r":\d+$", authority):
            return f"{scheme}://{authority}"
    raise Wrong(f"{line!r} is not an engine; write unix:///var/run/docker.sock or tcp://HOST:PORT")


ENGINE: Format[str] = Format("`unix://PATH`, `tcp://HOST:PORT`", _read_engine, same)


def _read_networks(text: str, place: Place) -> tuple[str, ...]:
    networks = []
    for word in each_word(text, place):
        try:
            networks.append(str(ipaddress.ip_network(word)))
        except ValueError:
            raise Wrong(
                f"{word!r} is no address and no network; write one such as 192.0.2.7, 10.0.0.0/8"
            ) from None
    return tuple(networks)


NETWORKS: Format[tuple[str, ...]] = Format("list of addresses", _read_networks, " ".join)


def _read_trusted(text: str, place: Place) -> tuple[str, ...]:
    words = list(each_word(text, place))
    numeric = [word for word in words if word != "unix"]
    return (*_read_networks(" ".join(numeric), place), *(["unix"] if numeric != words else []))


TRUSTED: Format[tuple[str, ...]] = Format("list of addresses, or `unix`", _read_trusted, " ".join)
