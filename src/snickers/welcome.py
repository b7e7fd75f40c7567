"""What a person is told who started Snickers by hand to try it: where to look, whom to trust.

Pure text from values. It must never promise what does not work as pasted: an address has the port
that was really bound, and the curl line needs neither DNS nor a changed trust store.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from snickers.config.values import (
    Configuration,
    Container,
    Listen,
    Passthrough,
    Process,
    Proxy,
    Redirect,
    Site,
    Static,
)


def welcome(
    configuration: Configuration, https_port: int, http_port: int | None, ca_file: str, colour: bool
) -> str:
    """Return lines, each ended by a newline, about the enabled sites of *configuration*.

    *https_port* and *http_port* are those that were bound (``None``: no plain http). *ca_file*
    is the internal authority's certificate, absolute or relative to the reader's folder.
    *colour*: with the terminal's escapes for bold.
    """

    def bold(text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if colour else text

    sites = [site for site in configuration.sites.values() if site.enabled]
    count = "1 site" if len(sites) == 1 else f"{len(sites)} sites"
    lines = [f"Snickers serves {count}." if sites else "Snickers runs, and has no site yet.", ""]
    addresses = [(site, _address(site.name, https_port)) for site in sites]
    width = max((len(address) for _, address in addresses), default=0)
    for site, address in addresses:
        lines.append(f"  {bold(address)}{' ' * (width - len(address))}  {_about(site)}")
    lines += [f"  {name}: at fault, see above" for name in configuration.broken]
    if http_port is not None and sites:
        lines.append(f"  Plain http on port {http_port} sends visitors to these.")
    opened = [site for site in sites if not isinstance(site.kind, Passthrough)]
    internal = [site for site in opened if site.certificates == "internal"]
    if internal:
        lines += ["", "Their certificates are signed by this authority; trust it in your browser:"]
        lines.append(f"  {bold(ca_file)}")
    tried = _first_to_try(internal or sites)
    if tried is not None:
        listens = configuration.settings.https if configuration.settings else ()
        trust = f"--cacert {shlex.quote(ca_file)} " if internal else ""
        there = f"--resolve {tried.name}:{https_port}:{_reached(listens)}"
        lines += ["", "Or without a browser:"]
        lines.append(f"  {bold(f'curl {trust}{there} {_address(tried.name, https_port)}')}")
    return "\n".join([*lines, ""])


def _address(name: str, port: int) -> str:
    return f"https://{name}/" if port == 443 else f"https://{name}:{port}/"


def _about(site: Site) -> str:
    kind = site.kind
    match kind:
        case Container():
            if kind.services:
                return f"the services of {kind.services}{_start(site)}"
            return f"a container of {kind.image}{_start(site)}"
        case Process():
            return f"an application of its own{_start(site)}"
        case Static():
            return "a folder of files"
        case Redirect():
            return f"sends visitors to {kind.to}"
        case Proxy():
            return f"answered by {' '.join(kind.to)}"
        case Passthrough():
            return f"carried unopened to {kind.to.removeprefix('tcp:')}"


def _start(site: Site) -> str:
    asleep = site.life is not None and site.life.wake == "demand"
    return ", started by the first visit" if asleep else ""


def _first_to_try(sites: Iterable[Site]) -> Site | None:
    """The first whose name can be asked for; one that answers itself before one that redirects."""
    named = [site for site in sites if not site.name.startswith("*")]
    return min(named, key=lambda site: isinstance(site.kind, Redirect), default=None)


def _reached(listens: Iterable[Listen]) -> str:
    """The address under which this machine itself reaches the first of *listens*."""
    for listen in listens:
        if listen.family == "tcp":
            return "127.0.0.1" if listen.interface in ("", "0.0.0.0") else listen.interface
        if listen.family == "tcp6":
            return "[::1]" if listen.interface in ("", "::") else f"[{listen.interface}]"
    return "127.0.0.1"
