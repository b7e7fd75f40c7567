"""From files, or texts, to one `Configuration`: `load` and `parse`.

Whatever the files hold, both return a configuration and raise nothing; a fault in one site's
section takes that site alone out of it, and every fault of all files is found at once. Nothing
is kept between two calls, so that they may run in any thread.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from attrs import frozen

from snickers.config import ini
from snickers.config.answers_asleep import Contents, ReadContent
from snickers.config.files import Shelf, Stamp, expanded, listed
from snickers.config.hosts import site_name
from snickers.config.options import SCOPES
from snickers.config.reading import Layer, nearest
from snickers.config.settings import Whole, read_settings
from snickers.config.site_reader import ReadText, Shared, SiteReader
from snickers.config.values import NO_LINE, Configuration, Fault, Process, Site, Where
from snickers.config.wrong import Missing, Wrong

_SECTIONS = ("snickers", "defaults", "application NAME")
_KINDS = ("application", "site", "host", "server", "domain", "vhost")
"""What people may take for the beginning of a site's section, and what begins the other one."""
_ALIKE = 0.8
"""A host name without a dot that is so near to a known section was meant to be that: one letter
of seven."""


@frozen
class Loaded:
    """A configuration, and the stamp of what it was read from."""

    configuration: Configuration
    stamp: Stamp


def load(path: str) -> Loaded:
    """Read the file *path*, or the ``*.ini`` of the folder *path*. Blocks; raises nothing."""
    shelf = Shelf(path)
    gathering = _Gathering(shelf.read_other, shelf.read_content)
    folder = os.path.isdir(path)
    files = listed(path)
    shelf.look(files)
    for file in files:
        _read_into(gathering, shelf, file)
    if folder and not files:
        gathering.fault(
            path, "the folder has no *.ini file; add one, such as sites.ini", line=NO_LINE
        )
    return Loaded(gathering.configuration(), shelf.stamp())


def _read_into(gathering: _Gathering, shelf: Shelf, file: str) -> None:
    """Read *file* and, when it has ``[snickers]``, what that includes."""
    real = os.path.realpath(file)
    if real in gathering.files:
        return
    gathering.files.add(real)
    try:
        text = shelf.read(file)
    except Wrong as wrong:
        gathering.fault(file, str(wrong), damaged=True, line=NO_LINE)
        return
    section = gathering.take(text, file)
    if section is None or "include" not in section.options:
        return
    layer = Layer(section)
    patterns, fault = layer.read(SCOPES["snickers"].named["include"], "include")
    if fault is not None:
        # It is found again, and told, with the section's other options.
        return
    for pattern in patterns:
        found = expanded(pattern)
        shelf.patterns.append(pattern)
        shelf.look(found)
        for included in found:
            if found == [pattern] and os.path.realpath(included) in gathering.files:
                message = f"{included} is read already; a file can be included once"
            elif found == [pattern] and not os.path.exists(included):
                message = f"{included} does not exist; write the path of a file, or one with '*'"
            else:
                _read_into(gathering, shelf, included)
                continue
            gathering.faults.append(layer.fault(section.options["include"], message))
            gathering.whole = False


def parse(
    texts: Sequence[tuple[str, str]], files: Mapping[str, str] = MappingProxyType({})
) -> Configuration:
    """Return the configuration that *texts*, pairs of a file's name and its text, make together.

    ``include`` is not followed. *files*: the texts that a site's options may name, by their
    absolute paths. Pure.
    """

    def read(path: str) -> str:
        if path not in files:
            raise Missing("cannot be read: No such file or directory")
        return files[path]

    gathering = _Gathering(read, lambda path, most: read(path).encode())
    for file, text in texts:
        gathering.take(text, file)
    if not texts:
        gathering.fault("", "there is no configuration")
    return gathering.configuration()


class _Gathering:
    """The texts of one configuration while they come in, and what is made of them."""

    def __init__(self, read: ReadText, fetch: ReadContent) -> None:
        self.files: set[str] = set()
        self.faults: list[Fault] = []
        self.whole = True
        self._read = read
        self._fetch = fetch
        self._texts: list[ini.Text] = []
        self._titles: dict[str, Where] = {}
        self._damaged: list[str] = []
        self._order: dict[str, int] = {}

    def take(self, text: str, file: str) -> ini.Section | None:
        """Add a file's *text*; return its ``[snickers]`` section if it is the first one."""
        read = ini.read(text, file, self._titles)
        self._order.setdefault(file, len(self._order))
        self._texts.append(read)
        self.faults.extend(read.faults)
        if read.damaged:
            self._damaged.append(file)
        settings = None
        for section in read.sections:
            if section.title not in self._titles:
                self._titles[section.title] = section.where
                if _title(section) == "snickers":
                    settings = section
        return settings

    def fault(self, file: str, message: str, damaged: bool = False, line: int = 1) -> None:
        """Note that the file as a whole is at fault."""
        self._order.setdefault(file, len(self._order))
        self.faults.append(Fault(Where(file, line), "", "", message))
        if damaged:
            self._damaged.append(file)

    def configuration(self) -> Configuration:
        """Return what all of it says."""
        sections = [section for text in self._texts for section in text.sections]
        sorted_out = _Sections(sections)
        self.faults.extend(sorted_out.faults)
        if not sorted_out.sites and sorted_out.settings is None:
            if not self.faults:
                file = self._texts[0].file if self._texts else ""
                self.fault(
                    file, "is empty: no site and no [snickers]; write at least one [alice.example]"
                )
            self.whole = False
        whole = read_settings(sorted_out.settings, self._read)
        readers = _Sites(sorted_out, whole, self._read, self._fetch)
        faults = [*self.faults, *whole.faults, *readers.faults]
        settings_faults = [*whole.faults, *sorted_out.settings_faults]
        name = whole.settings.default_site
        if name and sorted_out.settings and name not in readers.claimed:
            option = sorted_out.settings.options["default site"]
            message = f"there is no site {name}"
            if readers.claimed:
                message += f"; the nearest is {nearest(name, readers.claimed)}"
            fault = Fault(option.where, sorted_out.settings.title, option.name, message)
            settings_faults.append(fault)
            faults.append(fault)
        holds = self.whole and not settings_faults
        return Configuration(
            settings=whole.settings if holds else None,
            sites=readers.sites,
            broken=readers.broken,
            faults=tuple(self._ordered(faults)),
            damaged=tuple(dict.fromkeys(self._damaged)),
        )

    def _ordered(self, faults: Iterable[Fault]) -> Iterable[Fault]:
        """In the order of files and lines, and none twice.

        What many sites share is told once, however many of them it breaks.
        """
        told: set[Fault | tuple[Where, str]] = set()
        for fault in sorted(faults, key=lambda f: (self._order[f.where.file], f.where.line)):
            shared = fault.option and fault.section.split()[:1] in (["defaults"], ["application"])
            key = (fault.where, fault.option) if shared else fault
            if key not in told:
                told.add(key)
                yield fault


def _title(section: ini.Section) -> str:
    return " ".join(section.title.split())


class _Sections:
    """The sections, each with those of its kind."""

    def __init__(self, sections: Iterable[ini.Section]) -> None:
        self.settings: ini.Section | None = None
        self.settings_faults: list[Fault] = []
        self.defaults: ini.Section | None = None
        self.applications: dict[str, ini.Section] = {}
        self.sites: dict[str, list[ini.Section]] = {}
        self.faults: list[Fault] = []
        for section in sections:
            self._take(section)

    def _take(self, section: ini.Section) -> None:
        title = _title(section)
        kind, _, name = title.partition(" ")
        if title == "snickers":
            if self.settings is None:
                self.settings = section
            else:
                self.settings_faults.extend(self._again(section, self.settings).faults)
        elif title == "defaults":
            if self.defaults is None:
                self.defaults = section
            else:
                self.defaults = self._again(section, self.defaults)
        elif kind == "application" and name:
            if name in self.applications:
                self.applications[name] = self._again(section, self.applications[name])
            else:
                self.applications[name] = section
        else:
            try:
                host = _host(title)
            except Wrong as wrong:
                self.faults.append(Fault(section.where, section.title, "", str(wrong)))
                self.faults.extend(section.faults)
                return
            self.sites.setdefault(host, []).append(section)

    def _again(self, section: ini.Section, first: ini.Section) -> ini.Section:
        """Return *first* with the faults of *section*, which says the same title again."""
        again = section.faults
        if section.title != first.title:
            message = f"this section is already at {first.where}; write all in one of the two"
            again = (Fault(section.where, section.title, "", message), *again)
        self.faults.extend(again)
        return ini.Section(first.title, first.where, first.options, (*first.faults, *again))


def _host(title: str) -> str:
    """Return the host name of a site's section; raises `Wrong` for a title that is no name."""
    scheme, is_address, rest = title.partition("://")
    if is_address:
        host = rest.split("/")[0].split(":")[0]
        raise Wrong(
            f"a site's section is its host name alone: leave {scheme}:// out and write [{host}]"
        )
    # Case is no difference: configparser itself calls [defaults] [DEFAULT].
    lower = title.lower()
    if lower == "application":
        raise Wrong("an application needs a name: write [application lamp]")
    if "." not in title:
        near = nearest(lower, _SECTIONS)
        if difflib.SequenceMatcher(None, lower, near.split()[0]).ratio() > _ALIKE:
            near = near.replace("NAME", title.partition(" ")[2] or "NAME")
            raise Wrong(
                f"there is no such section; write [{near}], or a host name with a dot in it"
            )
    if " " in title:
        kind, _, rest = title.partition(" ")
        if "." in rest and " " not in rest and nearest(kind.lower(), _KINDS) != "application":
            raise Wrong(f"a site's section is its host name alone; write [{rest}]")
        raise Wrong(f"there is no section of the kind {kind!r}; write [application {rest}]")
    try:
        return site_name(title)
    except Wrong as wrong:
        if "." in title:
            raise  # It was meant to be a name.
        near = nearest(title, _SECTIONS)
        raise Wrong(f"{wrong}; the nearest known section is [{near}]") from None


class _Sites:
    """All sites, the good and the broken."""

    def __init__(
        self, sections: _Sections, whole: Whole, read: ReadText, fetch: ReadContent
    ) -> None:
        self.sites: dict[str, Site] = {}
        self.broken: dict[str, tuple[Fault, ...]] = {}
        self.faults: list[Fault] = []
        self.claimed: dict[str, Where] = {}
        """Every name that a site answers to, and where it is claimed."""
        defaults = Layer(sections.defaults) if sections.defaults is not None else None
        applications = {name: Layer(section) for name, section in sections.applications.items()}
        shared = Shared(defaults, applications, whole, Contents(fetch))
        for faults in shared.faults.values():
            self.faults.extend(faults)
        self.faults.extend(shared.unused)
        self.claimed.update((name, same[0].where) for name, same in sections.sites.items())
        self._ports: dict[int, Where] = {}
        for listen in (*whole.settings.https, *whole.settings.http):
            if listen.port:
                self._ports.setdefault(listen.port, whole.settings.where)
        for name, same in sections.sites.items():
            self._take(name, same, SiteReader(same[0], name, shared, read))

    def _take(self, name: str, same: Sequence[ini.Section], reader: SiteReader) -> None:
        site = reader.site()
        for section in same[1:]:
            if section.title != same[0].title:
                message = f"the site {name} is already at {same[0].where}; keep one of the two"
                reader.faults.append(Fault(section.where, section.title, "", message))
            reader.faults.extend(section.faults)
        if site is not None:
            self._claim(site, reader)
        if reader.faults or site is None:
            self.broken[name] = tuple(dict.fromkeys(reader.faults))
            self.faults.extend(reader.faults)
        else:
            self.sites[name] = site

    def _claim(self, site: Site, reader: SiteReader) -> None:
        """Note the site's names and port; what two sites claim, the first one has.

        The name of a section of its own comes before all ``also``: a site cannot take it away.
        """
        for also in site.also:
            if also in self.claimed:
                reader.fault(
                    f"{also} is already the name of the site at {self.claimed[also]}", "also"
                )
        port = site.kind.port if isinstance(site.kind, Process) else 0
        if port in self._ports:
            reader.fault(f"{port} is already taken at {self._ports[port]}; write another", "port")
        if not reader.faults:
            self.claimed.update((also, site.where) for also in site.also)
            if port:
                self._ports[port] = site.where
