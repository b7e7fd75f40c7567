"""A site's section, its application and the defaults, to one `Site` or to faults.

A site's own option comes before its application's, that before ``[defaults]``, and that before
the built-in default. Nothing of one site ever depends on another one here, and the only file
that is read is a site's ``env file``, through the function that was given.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import frozen

from snickers.config import ini
from snickers.config.option import TYPES, Scope
from snickers.config.options import SCOPES, site_option_names, types_of
from snickers.config.reading import Layer, nearest
from snickers.config.values import (
    Container,
    Fault,
    Kind,
    Lifecycle,
    Process,
    Proxy,
    Redirect,
    Settings,
    Site,
    Where,
)
from snickers.config.values import Static as StaticKind
from snickers.config.wrong import Wrong

ReadText = Callable[[str], str]
"""Returns a file's text; raises `Wrong` in words."""

_NAMES = site_option_names()
_KINDS: Mapping[str, type[Any]] = {
    "container": Container,
    "process": Process,
    "static": StaticKind,
    "redirect": Redirect,
    "proxy": Proxy,
}
_STAND_IN = "host.invalid"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)


@frozen
class Shared:
    """What sites share: the defaults and the applications."""

    defaults: Layer | None
    applications: Mapping[str, Layer]
    faults: Mapping[str, tuple[Fault, ...]]
    """By section title: what is wrong for every site that shares it."""
    settings: Settings
    certificates: str


def shared_faults(layer: Layer) -> tuple[Fault, ...]:
    """Return what is wrong with ``[defaults]`` or an application, whoever uses it."""
    faults = [*layer.section.faults, *layer.unknown(_NAMES)]
    application = layer.section.options.get("application")
    if application is not None and layer.section.title != "defaults":
        faults.append(layer.fault(application, "an application cannot be built on another one"))
    return tuple(faults)


def unused_faults(layer: Layer, settings: Settings) -> Iterator[Fault]:
    """Yield a fault for each value that no type of site could take."""
    data = os.path.join(settings.data, _STAND_IN)
    kind = _written_type(layer)
    for name in layer.section.options:
        first: Fault | None = None
        for scope in [SCOPES[kind]] if kind else SCOPES.values():
            option = scope.find(name) if scope.name in TYPES else None
            if option is None:
                continue
            _, fault = layer.read(option, name, _STAND_IN, data)
            if fault is None:
                break
            first = first or fault
        else:
            if first is not None:
                yield first


def _written_type(layer: Layer) -> str:
    written = layer.section.options.get("type")
    value = written.value.lower() if written is not None else ""
    return value if value in TYPES else ""


class SiteReader:
    """Reads one site's section."""

    def __init__(self, section: ini.Section, name: str, shared: Shared, read: ReadText) -> None:
        self.name = name
        self.section = section
        self.shared = shared
        self.data = os.path.join(shared.settings.data, name)
        self.faults: list[Fault] = list(section.faults)
        self._read = read
        self._own = Layer(section)
        self._layers = [self._own]

    def site(self) -> Site | None:
        """Return the site, or ``None`` when `faults` has something."""
        self._inherit()
        kind = self._type()
        if kind is None:
            self.faults.extend(self._own.unknown(_NAMES))
            return None
        scope = SCOPES[kind]
        self._check_names(scope)
        values, written = self._values(scope)
        environment = self._environment(scope) if scope.prefixed else ()
        self._check(kind, values, written)
        if self.faults:
            return None
        return self._build(kind, scope, values, environment)

    def fault(self, message: str, option: str = "", where: Where | None = None) -> None:
        """Note that something is wrong with the site."""
        place = where or self._place(option)
        self.faults.append(Fault(place, self.section.title, option, message))

    def _place(self, option: str) -> Where:
        written = self.section.options.get(option)
        return written.where if written is not None else self.section.where

    def _inherit(self) -> None:
        """Find the application and the defaults."""
        shared = self.shared
        defaults = shared.defaults
        option = SCOPES["static"].named["application"]
        for layer in [self._own, defaults] if defaults is not None else [self._own]:
            if "application" not in layer.section.options:
                continue
            title, fault = layer.read(option, "application", self.name, self.data)
            if fault is not None:
                self.faults.append(fault)
            elif title and title not in shared.applications:
                message = f"there is no [application {title}]"
                if shared.applications:
                    message += f"; the nearest is {nearest(title, shared.applications)!r}"
                written = layer.section.options["application"]
                self.faults.append(layer.fault(written, message))
            elif title:
                application = shared.applications[title]
                self._layers.append(application)
                self.faults.extend(shared.faults.get(application.section.title, ()))
            break
        if defaults is not None:
            self._layers.append(defaults)
            self.faults.extend(shared.faults.get(defaults.section.title, ()))

    def _layer_with(self, name: str) -> Layer | None:
        return next((layer for layer in self._layers if name in layer.section.options), None)

    def _type(self) -> str | None:
        option = SCOPES["static"].named["type"]
        layer = self._layer_with("type")
        if layer is None:
            if not any(fault.option == "application" for fault in self.faults):
                self.fault(f"is missing; write {option.format.words}", "type")
            return None
        kind, fault = layer.read(option, "type", self.name, self.data)
        if fault is not None:
            self.faults.append(fault)
            return _written_type(layer) or None
        return str(kind)

    def _check_names(self, scope: Scope) -> None:
        """Every option must be one of the site's type; but the defaults serve all types."""
        self.faults.extend(self._own.unknown(_NAMES))
        for layer in self._layers:
            if layer is self.shared.defaults:
                continue
            for name, written in layer.section.options.items():
                if scope.find(name) is None and (types := types_of(name)):
                    message = f"not an option of type {scope.name}, but of {', '.join(types)}"
                    self.faults.append(layer.fault(written, message))

    def _values(self, scope: Scope) -> tuple[dict[str, Any], dict[str, Layer]]:
        values: dict[str, Any] = {}
        written: dict[str, Layer] = {}
        for layer in reversed(self._layers):
            written.update((name, layer) for name in layer.section.options)
        for name, option in scope.named.items():
            if name in ("type", "application"):
                continue
            if name not in written:
                values[name] = option.value
                if option.default is None:
                    self.fault(f"is missing; write one such as {name} = {option.example}", name)
                continue
            value, fault = written[name].read(option, name, self.name, self.data)
            if fault is None:
                values[name] = value
            else:
                self.faults.append(fault)
        for name, layer in written.items():
            completed = scope.find(name)
            if completed is not None and completed.later and completed.prefix:
                _, fault = layer.read(completed, name, self.name, self.data)
                if fault is not None:
                    self.faults.append(fault)
        return values, written

    def _environment(self, scope: Scope) -> tuple[tuple[str, str], ...]:
        option = scope.find("env.NAME")
        if option is None:
            return ()
        found: dict[str, str] = {}
        layer = self._layer_with("env file")
        if layer is not None:
            path, fault = layer.read(scope.named["env file"], "env file", self.name, self.data)
            if fault is None and path:
                found.update(self._env_file(layer, path))
        for layer in reversed(self._layers):
            for name, written in layer.section.options.items():
                if not name.startswith(option.prefix) or name == option.prefix:
                    continue
                variable = name.removeprefix(option.prefix)
                if _VARIABLE.fullmatch(variable) is None:
                    message = f"{variable!r} is no name of a variable: letters, digits and '_'"
                    self.faults.append(layer.fault(written, message))
                    continue
                value, fault = layer.read(option, name, self.name, self.data)
                if fault is None:
                    found[variable] = value
                else:
                    self.faults.append(fault)
        return tuple(sorted(found.items()))

    def _env_file(self, layer: Layer, path: str) -> Iterator[tuple[str, str]]:
        written = layer.section.options["env file"]
        try:
            text = self._read(path)
        except Wrong as wrong:
            self.faults.append(layer.fault(written, f"{path} {wrong}"))
            return
        for number, line in enumerate(text.split("\n"), start=1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            name, equals, value = line.partition("=")
            # What stands there may be a secret: a fault does not repeat it.
            if not equals or _VARIABLE.fullmatch(name) is None or "\0" in value:
                message = f"line {number} of {path} is not of the form NAME=VALUE"
                self.faults.append(layer.fault(written, message))
            else:
                yield name, value

    def _check(self, kind: str, values: Mapping[str, Any], written: Mapping[str, Layer]) -> None:
        """Look at what no value shows alone."""
        if (
            kind == "redirect"
            and values.get("keep path")
            and re.search("[?#]", values.get("to") or "")
        ):
            layer = written["to"]
            message = (
                "has a query, and so has no place for the request's path; write keep path = off"
            )
            self.faults.append(layer.fault(layer.section.options["to"], message))
        if kind == "container":
            for volume in values.get("volumes") or ():
                source = volume.split(":")[0]
                if self._reaches_engine(source):
                    layer = written["volumes"]
                    message = (
                        f"{source} holds Docker's own socket: whoever reaches it is root here; "
                        "mount a folder below it"
                    )
                    self.faults.append(layer.fault(layer.section.options["volumes"], message))

    def _reaches_engine(self, source: str) -> bool:
        sockets = ["/var/run/docker.sock", "/run/docker.sock"]
        if self.shared.settings.docker.startswith("unix://"):
            sockets.append(self.shared.settings.docker.removeprefix("unix://"))
        beneath = source.rstrip("/") + "/"
        return source.startswith("/") and any(
            socket == source or socket.startswith(beneath) for socket in sockets
        )

    def _build(
        self,
        kind: str,
        scope: Scope,
        values: Mapping[str, Any],
        environment: tuple[tuple[str, str], ...],
    ) -> Site:
        groups: dict[str, dict[str, Any]] = {"site": {}, "kind": {}, "life": {}}
        for name, option in scope.named.items():
            group, _, attribute = option.attribute.partition(".")
            if attribute:
                groups[group][attribute] = values[name]
        if kind in ("container", "process"):
            groups["kind"]["environment"] = environment
            groups["kind"]["life"] = Lifecycle(**groups["life"])
        site = groups["site"]
        site["certificates"] = site["certificates"] or self.shared.certificates
        site["also"] = tuple(name for name in site["also"] if name != self.name)
        built: Kind = _KINDS[kind](**groups["kind"])
        return Site(self.name, built, data=self.data, where=self.section.where, **site)
