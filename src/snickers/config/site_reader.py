"""A site's section, its application and the defaults, to one `Site` or to faults.

A site's own option comes before its application's, that before ``[defaults]``, and that before
the built-in default. Nothing of one site ever depends on another one here, and the only files
that are read are those that a site's own options name, through the functions that were given.
"""

from __future__ import annotations

import math
import os.path
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from snickers import bounds
from snickers.config import formats, ini
from snickers.config.answer_fields import by_name
from snickers.config.answers_asleep import Contents
from snickers.config.formats import either
from snickers.config.option import LATER_TYPES, TYPES, Option, Scope
from snickers.config.options import SCOPES, SITE_OPTIONS
from snickers.config.reading import VARIABLE, Layer, nearest
from snickers.config.settings import Whole
from snickers.config.values import (
    Asleep,
    Container,
    Fault,
    Kind,
    Lifecycle,
    Passthrough,
    Process,
    Proxy,
    Redirect,
    Settings,
    Site,
    Where,
)
from snickers.config.values import Static as StaticKind
from snickers.config.wrong import Missing, Wrong
from snickers.htpasswd import read_htpasswd

ReadText = Callable[[str], str]
"""Returns a file's text; raises `Wrong` in words."""

_KINDS: Mapping[str, type[Any]] = {
    "container": Container,
    "process": Process,
    "static": StaticKind,
    "redirect": Redirect,
    "proxy": Proxy,
    "passthrough": Passthrough,
}
_AVAILABLE = either([kind for kind in TYPES if kind not in LATER_TYPES])
_STAND_IN = "host.invalid"
_VARIABLE = re.compile(
    r"(?:^|[=:/,])(?P<name>\$(?:(?:PORT|HOST|SITE|DATA|HOME)(?!\w)|"
    r"\{(?:PORT|HOST|SITE|DATA|HOME)\}))"
)
"""One that a `process` is told, where an argument or a part of one would be it."""
_SCRIPT = re.compile(r"-[a-z]*[ceS]")
"""An argument before a text in a language of its own: ``sh -c``, ``bash -lc``, ``env -S``."""
_PLAIN = re.compile(r"[\w${}/=:.,@+-]+", re.ASCII)
"""What needs no quotes."""


_OF_ONE_CONTAINER = ("command", "data", "volumes", "user", "read only", "registry auth")
"""Options that each of several services has in its own file."""


@frozen
class Heritage:
    """What a site of one type gets from its application, the defaults and the built-in defaults."""

    scope: Scope
    values: Mapping[str, Any]
    """Those that are the same for every site."""
    open: tuple[tuple[Option, Layer, str], ...]
    """Those that depend on the site: the option, where it is written, and its name there."""
    faults: tuple[Fault, ...]


class Shared:
    """What sites share: the defaults, the applications, and what follows from them."""

    def __init__(
        self,
        defaults: Layer | None,
        applications: Mapping[str, Layer],
        whole: Whole,
        contents: Contents,
    ) -> None:
        self.defaults = defaults
        self.contents = contents
        self.applications = applications
        self.settings = whole.settings
        self.certificates = whole.certificates
        layers = [*applications.values(), *([defaults] if defaults is not None else [])]
        self.faults = {layer.section.title: shared_faults(layer) for layer in layers}
        """By section title: what is wrong for every site that shares it."""
        self.unused = [fault for layer in layers for fault in unused_faults(layer, self.settings)]
        """Values that no type of site could take, whether a site uses them or not."""
        self.compositions: dict[str, str] = {}
        """The text of each file of ``services`` that was read, by its path."""
        self.passwords: dict[str, tuple[str, ...]] = {}
        """What is wrong with each file of ``basic auth`` that was read, by its path."""
        self._heritages: dict[tuple[object, ...], Heritage] = {}

    def heritage(self, kind: str, layers: tuple[Layer, ...]) -> Heritage:
        """Return what *layers*, the nearest first, leave to a site of the type *kind*."""
        key = (kind, *map(id, layers))
        found = self._heritages.get(key)
        if found is None:
            found = self._heritages[key] = self._heritage(SCOPES[kind], layers)
        return found

    def _heritage(self, scope: Scope, layers: tuple[Layer, ...]) -> Heritage:
        values = dict(scope.values)
        open: list[tuple[Option, Layer, str]] = []
        faults: list[Fault] = []
        written: dict[str, Layer] = {}
        for layer in reversed(layers):
            # The defaults serve all types; what this one does not have is not for it.
            if layer is not self.defaults:
                faults.extend(layer.foreign(scope))
            written.update((name, layer) for name in layer.section.options)
        for name, layer in written.items():
            option = scope.find(name)
            if option is None or name in ("type", "application"):
                continue
            if "{" in layer.section.options[name].value:
                open.append((option, layer, name))
                continue
            value, fault = layer.read(option, name)
            if fault is None:
                values[name] = value
            else:
                values.pop(name, None)
                faults.append(fault)
        return Heritage(scope, values, tuple(open), tuple(faults))


def shared_faults(layer: Layer) -> tuple[Fault, ...]:
    """Return what is wrong with ``[defaults]`` or an application, whoever uses it."""
    faults = [*layer.section.faults, *layer.unknown(SITE_OPTIONS)]
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
            self.faults.extend(self._own.unknown(SITE_OPTIONS))
            return None
        heritage = self.shared.heritage(kind, tuple(self._layers[1:]))
        self.faults.extend(self._own.unknown(SITE_OPTIONS, heritage.scope.names))
        self.faults.extend(self._own.foreign(heritage.scope))
        values = self._values(heritage)
        environment = self._environment(values) if heritage.scope.find("env.NAME") else ()
        self._check(kind, values)
        if kind == "container":
            self._check_image(values, environment)
        if values.get("answers asleep"):
            values["answers asleep"] = self._filled(values["answers asleep"])
        if self.faults:
            return None
        return self._build(kind, heritage.scope, values, environment)

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
                self.fault(f"is missing; write type = {_AVAILABLE}", "type")
            return None
        kind, fault = layer.read(option, "type", self.name, self.data)
        if fault is not None:
            self.faults.append(fault)
            return _written_type(layer) or None
        return str(kind)

    def _values(self, heritage: Heritage) -> dict[str, Any]:
        """Return the values by the options' names; a value at fault is missing."""
        scope = heritage.scope
        own = self.section.options
        values = dict(heritage.values)
        self.faults.extend(fault for fault in heritage.faults if fault.option not in own)
        for option, layer, name in heritage.open:
            if name not in own:
                self._put(values, option, layer, name)
        for name in own:
            known = scope.find(name)
            if known is not None and name not in ("type", "application"):
                self._put(values, known, self._own, name)
        for name in sorted(scope.required):
            if name not in values and not any(fault.option == name for fault in self.faults):
                example = scope.named[name].example
                self.fault(f"is missing; write one such as {name} = {example}", name)
        return values

    def _put(self, values: dict[str, Any], option: Option, layer: Layer, name: str) -> None:
        value, fault = layer.read(option, name, self.name, self.data)
        if fault is None:
            values[name] = value
        else:
            values.pop(name, None)
            self.faults.append(fault)

    def _environment(self, values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        found: dict[str, str] = {}
        if values.get("env file"):
            layer = next(one for one in self._layers if "env file" in one.section.options)
            found.update(self._env_file(layer, values["env file"]))
        for name, value in values.items():
            if name.startswith("env."):
                found[name.removeprefix("env.")] = value
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
            if not equals or VARIABLE.fullmatch(name) is None or "\0" in value:
                message = f"line {number} of {path} is not of the form NAME=VALUE"
                self.faults.append(layer.fault(written, message))
            else:
                yield name, value

    def _check(self, kind: str, values: Mapping[str, Any]) -> None:
        """Look at what no value shows alone."""
        target = values.get("to", "") if kind == "redirect" and values.get("keep path") else ""
        if "?" in target or "#" in target:
            self._blame("to", "leaves no place for a request's path; write keep path = off")
        if kind == "redirect":
            self._check_circle(values)
        if kind == "proxy":
            self._check_secured(values)
        if kind == "process":
            self._check_unshelled(values.get("command", ()))
        if "pause after" in values and "idle after" in values:
            self._check_pause(values)
        if values.get("update") == "parallel":
            self._check_parallel(kind, values)
        if values.get("basic auth"):
            path = values["basic auth"]
            for wrong in self._passwords(path):
                self._blame("basic auth", f"{path} {wrong}")
        if kind == "container" and (path := values.get("registry auth")):
            try:
                self._read(path)
            except Missing as missing:
                self._blame(
                    "registry auth",
                    f"{path} {missing}; write a line USER:PASSWORD into it (chmod 600), or the "
                    "JSON that docker login makes",
                )
            except Wrong:
                # For others to read than who reads this, perhaps: a broker pulls as root.
                pass
        self._check_volumes(values)

    def _check_volumes(self, values: Mapping[str, Any]) -> None:
        """Look at what of this host is given away, each by itself and one within another."""
        given = [volume.partition(":")[::2] for volume in values.get("volumes", ())]
        written = {
            bounds.plain(source)
            for source, rest in given
            if source.startswith("/") and not rest.endswith(":ro")
        }
        if values.get("data"):
            written.add(bounds.plain(self.data))
        for source, rest in given:
            if words := bounds.objection(source, rest.endswith(":ro"), self._sockets()):
                self._blame("volumes", f"{words}; mount a folder below it, or another one")
            elif source.startswith("/") and (outer := bounds.outer(source, written)):
                self._blame("volumes", bounds.nested(source, outer))

    def _check_image(
        self, values: dict[str, Any], environment: tuple[tuple[str, str], ...]
    ) -> None:
        """See that there is either one image or a file of services, and look at the latter."""
        at_fault = {fault.option for fault in self.faults}
        path = values.get("services", "")
        if not path:
            if not values.get("image") and not at_fault & {"image", "services"}:
                self.fault(
                    "is missing; write one such as image = registry.example/lamp:7, or a compose "
                    "file: services = compose.yaml",
                    "image",
                )
            if values.get("service"):
                self._blame("service", "says which of several answers, and there are no services")
            return
        if values.get("image"):
            if self._layer_with("image") is not self.shared.defaults:
                self._blame(
                    "image", "is of a site of one container, and there are services; keep one"
                )
            values["image"] = ""
        for name in _OF_ONE_CONTAINER:
            layer = self._layer_with(name)
            if layer is not None and layer is not self.shared.defaults:
                self._blame(name, f"is of a site of one container; write it in {path}")
        if values.get("network") in ("host", "bridge", "none"):
            self._blame(
                "network",
                f"{values['network']} is for a site of one container; name one that you have made, "
                "or leave it out: they get one of their own",
            )
        if values.get("pull") == "always":
            if self._layer_with("pull") is not self.shared.defaults:
                self._blame(
                    "pull",
                    "always is of a site of one container; `snickers update` looks for newer ones",
                )
            values["pull"] = "missing"
        try:
            text = self.shared.compositions.get(path)
            if text is None:
                text = self.shared.compositions[path] = self._read(path)
        except Wrong as wrong:
            self._blame("services", f"{path} {wrong}")
            return
        # Not before: it takes some megabytes, which others shall not pay.
        from snickers.config.services import look

        own = [
            name.removeprefix("env.")
            for name in values
            if name.startswith("env.") and self._layer_with(name) is not self.shared.defaults
        ]
        found = look(
            path,
            text,
            values.get("service", ""),
            self.name,
            self.data,
            dict(environment),
            own,
            self._sockets(),
        )
        for name, words in found.faults:
            self._blame(name, words)
        values["service"], values["composition"] = found.service, text

    def _check_parallel(self, kind: str, values: Mapping[str, Any]) -> None:
        """See whether two servers of the site can run at once."""
        if kind == "process" and values.get("port"):
            self._blame(
                "update",
                "two servers cannot listen on one port; leave port out, so that each is given one "
                "as $PORT, or write update = swap",
            )
        if values.get("services"):
            self._blame(
                "update",
                "with services two of each would run, the database too; write update = swap",
            )
        if values.get("network") == "host":
            self._blame(
                "update",
                "with network = host two servers would listen on one port; write update = swap",
            )
        if values.get("copy before update"):
            self._blame(
                "copy before update",
                "with update = parallel the old server goes on writing, so no copy could be put "
                "back; write copy before update = off, or update = swap",
            )

    def _check_circle(self, values: Mapping[str, Any]) -> None:
        """See whether visitors would be sent back to where they came from, for ever."""
        target = urlsplit(values.get("to", ""))
        host = target.hostname
        if host not in (self.name, *values.get("also", ())):
            return
        ports = {None, 80 if target.scheme == "http" else 443}
        if target.scheme == "https":
            ports.update(listen.port for listen in self.shared.settings.https)
        if target.port in ports:
            self._blame("to", f"{host} is a name of this site itself; send visitors to another one")

    def _check_pause(self, values: Mapping[str, Any]) -> None:
        """See whether it would be asleep before it could be paused."""
        pause, idle = values["pause after"], values["idle after"]
        layers = [self._layer_with("pause after"), self._layer_with("idle after")]
        if layers[0] is None or not idle <= pause < math.inf:
            return
        if layers[1] is not None and self._layers.index(layers[1]) < self._layers.index(layers[0]):
            # It inherits a pause and wants to sleep before that: it has said what it wants.
            return
        show = formats.show_duration
        self._blame(
            "pause after",
            f"{show(pause)} is not less than idle after ({show(idle)}), and what sleeps is not "
            "paused; write less, or a longer idle after",
        )

    def _check_unshelled(self, command: Sequence[str]) -> None:
        """Look for variables of a program's environment that nobody would fill in."""
        if any(_SCRIPT.fullmatch(word) for word in command):
            return  # A shell, or another language where "$" means something.
        for word in command:
            if found := _VARIABLE.search(word):
                plain = " ".join(command) if _PLAIN.fullmatch("".join(command)) else "…"
                self._blame(
                    "command",
                    f"no shell runs it, so {found['name']} stays as it is written; "
                    f"write sh -c 'exec {plain}'",
                )
                return

    def _check_secured(self, values: Mapping[str, Any]) -> None:
        """Look at what is said of servers behind https."""
        to = values.get("to", ())
        if to and not any(server.startswith("https:") for server in to):
            for name in ("verify", "trust"):
                if values.get(name, "off") not in ("", "off") and name in self.section.options:
                    self.fault("is for servers behind https://, and there is none in to", name)
        elif path := values.get("trust"):
            try:
                if "-----BEGIN " not in self._read(path):
                    raise Wrong("has no certificate in PEM (-----BEGIN CERTIFICATE-----)")
            except Wrong as wrong:
                self._blame("trust", f"{path} {wrong}")

    def _filled(self, answers: Sequence[Asleep]) -> tuple[Asleep, ...]:
        """Return *answers* with what is in their files."""
        found = []
        for answer in answers:
            try:
                found.append(self.shared.contents.fill(answer))
            except Wrong as wrong:
                self._blame("answers asleep", f"{answer.file} {wrong}")
        return tuple(found)

    def _passwords(self, path: str) -> tuple[str, ...]:
        """Return what is wrong with the file of users *path*; it is read once for all sites."""
        known = self.shared.passwords
        if path not in known:
            try:
                known[path] = read_htpasswd(self._read(path)).faults
            except Wrong as wrong:
                known[path] = (str(wrong),)
        return known[path]

    def _headers(self, values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """Return the added fields: the nearest section's own where several name one."""
        return by_name(
            (name.removeprefix("header."), values[name])
            for layer in reversed(self._layers)
            for name in layer.section.options
            if name.startswith("header.") and name in values
        )

    def _blame(self, name: str, message: str) -> None:
        """Note a fault of the option *name*, in whichever section it is written."""
        layer = next(one for one in self._layers if name in one.section.options)
        self.faults.append(layer.fault(layer.section.options[name], message))

    def _sockets(self) -> list[str]:
        """Return where Docker listens on this host."""
        sockets = [*bounds.SOCKETS]
        if self.shared.settings.docker.startswith("unix://"):
            sockets.append(self.shared.settings.docker.removeprefix("unix://"))
        return sockets

    def _build(
        self,
        kind: str,
        scope: Scope,
        values: Mapping[str, Any],
        environment: tuple[tuple[str, str], ...],
    ) -> Site:
        groups: dict[str, dict[str, Any]] = {"site": {}, "kind": {}, "life": {}}
        for name, group, attribute in scope.targets:
            groups[group][attribute] = values[name]
        if kind in ("container", "process"):
            groups["kind"]["environment"] = environment
            groups["kind"]["life"] = Lifecycle(**groups["life"])
        if kind == "container":
            groups["kind"]["composition"] = values.get("composition", "")
        site = groups["site"]
        site["certificates"] = site["certificates"] or self.shared.certificates
        site["also"] = tuple(name for name in site["also"] if name != self.name)
        site["headers"] = self._headers(values)
        built: Kind = _KINDS[kind](**groups["kind"])
        return Site(self.name, built, data=self.data, where=self.section.where, **site)
