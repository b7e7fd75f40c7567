"""``[snickers]`` to `Settings`, with a fault for each option that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from snickers.config import ini
from snickers.config.option import SETTINGS
from snickers.config.options import SCOPES
from snickers.config.reading import Layer
from snickers.config.values import Fault, Listen, Settings
from snickers.config.wrong import Wrong


@frozen
class Whole:
    """What ``[snickers]`` says to the server, and to all sites."""

    settings: Settings
    certificates: str
    """The default of the sites' option of this name."""
    include: tuple[str, ...]
    faults: tuple[Fault, ...]
    """Where there are some, the values are not to be used for a server."""


def read_settings(section: ini.Section | None, read: Callable[[str], str]) -> Whole:
    """Return what *section* says; what it does not say, or says wrongly, is the default.

    *read* returns the text of the file at a path, or raises `Wrong` in words.
    """
    scope = SCOPES[SETTINGS]
    values: dict[str, Any] = dict(scope.values)
    if section is None:
        return Whole(Settings(), values["certificates"], (), ())
    layer = Layer(section)
    faults = [*section.faults, *layer.unknown(scope.named)]
    for name in section.options:
        option = scope.named.get(name)
        if option is not None:
            value, fault = layer.read(option, name)
            if fault is None:
                values[name] = value
            else:
                faults.append(fault)
    faults.extend(_clashes(layer, values))
    faults.extend(_tangles(layer, values))
    faults.extend(_rootless(layer, values["acme trust"], read))
    attributes = {attribute: values[name] for name, _, attribute in scope.targets}
    return Whole(
        Settings(**attributes, where=section.where),
        values["certificates"],
        values["include"],
        tuple(faults),
    )


def _clashes(layer: Layer, values: dict[str, Any]) -> list[Fault]:
    faults = []
    taken: list[Listen] = []
    for name in ("https", "http", "metrics"):
        for listen in values[name]:
            other = next((other for other in taken if _clash(listen, other)), None)
            taken.append(listen)
            if other is None:
                continue
            written = layer.section.options.get(name) or layer.section.options["https"]
            what = listen.interface if listen.family == "unix" else f"port {listen.port}"
            faults.append(layer.fault(written, f"{what} is listened on twice; keep one of the two"))
    return faults


def _tangles(layer: Layer, values: dict[str, Any]) -> list[Fault]:
    """See whether copies would be kept in a folder that is copied, or among those of sites."""
    written = layer.section.options.get("snapshots directory")
    data = values["data"].rstrip("/") + "/"
    if written is None or not f"{values['snapshots directory']}/".startswith(data):
        return []
    message = f"is in data ({values['data']}), where every folder is a site's own; write another"
    return [layer.fault(written, message)]


def _rootless(layer: Layer, path: str, read: Callable[[str], str]) -> list[Fault]:
    """See whether there are roots in the file that is to have them: orders would all fail."""
    written = layer.section.options.get("acme trust")
    if written is None or not path:
        return []
    try:
        if "-----BEGIN " in read(path):
            return []
        raise Wrong("has no certificate in PEM (-----BEGIN CERTIFICATE-----)")
    except Wrong as wrong:
        words = f"{path} {wrong}; name the file of the root that has signed the directory's own TLS"
        return [layer.fault(written, words)]


def _clash(one: Listen, other: Listen) -> bool:
    if one.family != other.family or one.port != other.port:
        return False
    if one.family == "unix":
        return one.interface == other.interface
    # Port 0 is a free one each time.
    everywhere = ("", "0.0.0.0", "::")
    shared = one.interface == other.interface or {one.interface, other.interface} & set(everywhere)
    return bool(one.port and shared)
