"""What a compose file says, as far as Snickers must know: its services, and what it asks of a host.

Pure: text comes in as an argument. Whether a file is right in everything is the compose tool's to
say; what is refused here is what would take a site out of its bounds, or past Snickers. It must
never leave out silently what it does not want: each refusal says what would be right. See
https://github.com/compose-spec/compose-spec/blob/main/spec.md.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml
from attrs import frozen

from snickers import bounds

SITE = "SNICKERS_SITE"
DATA = "SNICKERS_DATA"
"""Variables that every file may use: the site's name, and its own folder."""

ASIDE = "SNICKERS_ASIDE_"
"""What is put before the names of variables that containers get and the compose tool itself must
not have, see `snickers.bounds.connects`: so it can fill them in, and takes none for its own."""

Path = tuple[str, ...]
"""The keys that lead to something in a file."""

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<named>[A-Za-z_]\w*)|"
    r"\{(?P<braced>[A-Za-z_]\w*)(?:(?P<how>:?[-+?])(?P<rest>[^{}]*))?\})",
    re.ASCII,
)

_THROUGH = "visitors come through Snickers, which also sees by that when nobody uses the site"
_ROOT = bounds.ROOT
_OTHERS = "containers of others would be in its reach"

_NEVER: Mapping[str, str] = {
    "ports": f"nothing is published past Snickers: {_THROUGH}; remove it (the site's own options "
    "service and port say who answers)",
    "container_name": "several servers of a site may be there during an update; remove it, the "
    "service's own name is what the others find it by",
    "devices": f"devices of this host are not given away: {_ROOT}; remove it",
    "device_cgroup_rules": f"devices of this host are not given away: {_ROOT}; remove it",
    "cgroup_parent": "it would be out of the limits that hold for the site; remove it",
    "annotations": "they tell the program that runs containers on this host how to, whatever the "
    "site's limits are; remove it (labels are all right)",
    "external_links": f"{_OTHERS}; remove it",
    "env_file": "a change of that file would not be noticed; name it in the site's own option "
    "`env file`, and here write what the service gets of it: environment: [NAME]",
    "label_file": "a change of that file would not be noticed; write labels here",
    "provider": "that is a program of this host, not a container; remove it",
    "use_api_socket": f"that is Docker's own socket: {_ROOT}; remove it",
}
"""What no service may say, and why."""

_SPACES = ("pid", "ipc", "uts", "userns_mode", "cgroup")
"""Namespaces that can be this host's, or another container's."""


READ = ("env_file", "label_file", "extends")
"""What has the tool read other files, as root: refused as it is written, too, whatever its
variables may come to be."""

MOUNTED = ("tmpfs", "nfs", "nfs4", "cifs", "smb3")
"""Types of volumes that are mounted anew and hold nothing of this host."""

MOST_TEXT = 512 * 2**10
"""Characters of a file: a large one that a person has written has a tenth of that. To read it takes
some seconds."""

MOST = 100_000
"""Parts that a file has, those that aliases repeat counted each time: a large file has thousands,
and a few lines of aliases of aliases may stand for more than any memory holds."""


LOGS = {"json-file": ("10m", 3), "local": ("20m", 5)}
"""Drivers that keep a container's log in files of this host, and how large and how many those are
where nobody says it."""

MOST_LOG = 100 * 2**20
"""Bytes of a service's log on this host: the most that a driver keeps by itself, and far more than
is read."""


class NotCompose(Exception):
    """The text is no compose file; says why, and where."""


@frozen
class Objection:
    """One thing that a file may not say."""

    path: Path
    words: str

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}: {self.words}"


def understood(answer: str) -> Mapping[str, Any]:
    """Return what the compose tool has answered; fails with `NotCompose`."""
    try:
        found = yaml.safe_load(answer)
    except (yaml.YAMLError, ValueError) as error:
        raise NotCompose(f"it is not YAML: {error}") from None
    services = found.get("services") if isinstance(found, dict) else None
    if not isinstance(services, dict) or not all(isinstance(s, dict) for s in services.values()):
        raise NotCompose("it is no compose file: it has no services")
    return dict(found)


class File:
    """A compose file as it is written.

    :ivar document: what it says; variables are as they are written.
    """

    def __init__(self, text: str) -> None:
        if len(text) > MOST_TEXT:
            raise NotCompose(
                f"it is larger than {MOST_TEXT // 1024} KiB, and no compose file; write large "
                "texts into files of their own, in the site's folder"
            )
        self._keys: dict[int, dict[str, tuple[int, Any]]] = {}
        """By mapping: the line and the value of each key, as far as somebody has asked."""
        try:
            self._root, self.document = _read(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"line {mark.line + 1}: " if mark is not None else ""
            raise NotCompose(f"{where}it is not YAML: {error.problem or error.context}") from None
        except (yaml.YAMLError, ValueError) as error:
            raise NotCompose(f"it is not YAML: {error}") from None
        except RecursionError:
            raise NotCompose("it is not a compose file: it is nested too deeply") from None
        services = self.document.get("services") if isinstance(self.document, dict) else None
        if not isinstance(services, dict) or not services:
            raise NotCompose("it is no compose file: it has no `services:`")
        for name, service in services.items():
            if not isinstance(service, dict):
                raise NotCompose(
                    f"line {self.line(('services', str(name)))}: services.{name} says nothing"
                )
            if not isinstance(name, str) or re.fullmatch(r"[a-zA-Z0-9._-]+", name) is None:
                raise NotCompose(f"{name!r} is no name of a service; write letters and digits")

    @property
    def services(self) -> Sequence[str]:
        """The names of those that are started: without those of a profile."""
        services = self.document["services"]
        return [name for name, said in services.items() if not said.get("profiles")]

    def line(self, path: Path) -> int:
        """Return the number of the line where *path*, or as much of it as there is, is written."""
        node, line = self._root, 1
        for key in path:
            if not isinstance(node, yaml.MappingNode):
                break
            keys = self._keys.get(id(node))
            if keys is None:
                keys = self._keys[id(node)] = {}
                for written, value in node.value:
                    if isinstance(written, yaml.ScalarNode):
                        keys.setdefault(written.value, (written.start_mark.line + 1, value))
            if key not in keys:
                break
            line, node = keys[key]
        return line

    def faults(
        self, service: str, variables: Mapping[str, str], sockets: Sequence[str]
    ) -> Iterator[str]:
        """Yield what is wrong with it, in words that begin with the line.

        :param service: the one that answers; empty: the only one.
        :param variables: what stands for the variables in it.
        :param sockets: Docker's own.
        """
        document, lacking = filled(self.document, variables)
        first = self._variables()
        taken = [name for name in first if bounds.steers(name)]
        for name in taken:
            yield (
                f"line {first[name]}: {name} is a variable of the compose tool's own; write "
                "another name, or the value itself"
            )
        for name in lacking:
            if name not in taken:
                yield (
                    f"line {first.get(name, 1)}: ${{{name}}} has no value; write env.{name} = "
                    f"VALUE, or ${{{name}:-VALUE}} in the file"
                )
        for path, words in _read_besides(self.document, document):
            yield f"line {self.line(path)}: {'.'.join(path)}: {words}"
        for objection in objections(document, sockets, variables.get(DATA, "/")):
            yield f"line {self.line(objection.path)}: {objection}"
        yield from self._answering(service)

    def _answering(self, service: str) -> Iterator[str]:
        names = self.services
        if service and service not in names:
            yield f"it has no service {service!r}, but {', '.join(sorted(names)) or 'none'}"
        elif not service and len(names) != 1:
            yield "which service answers visitors? write service = NAME, one of " + ", ".join(
                sorted(names)
            )
        else:
            name = service or names[0]
            said = self.document["services"][name]
            if "network_mode" in said:
                line = self.line(("services", name, "network_mode"))
                yield (
                    f"line {line}: {name} answers visitors, so it needs an address of its own; "
                    "remove network_mode"
                )

    def _variables(self) -> dict[str, int]:
        """Return the variables that the file uses, and the line where each is first used."""
        found: dict[str, int] = {}
        for node in _scalars(self._root):
            for match in re.finditer(r"\$(?:\$|\{?([A-Za-z_]\w*))", node.value, re.ASCII):
                if match[1]:
                    found.setdefault(match[1], int(node.start_mark.line) + 1)
        for name, said in self.document["services"].items():
            for passed in _passed_on(said.get("environment")):
                found.setdefault(passed, self.line(("services", str(name), "environment", passed)))
        return found

    def uses(self) -> frozenset[str]:
        """Return the names of the variables that the file uses, however it does."""
        return frozenset(self._variables())


def _read(text: str) -> tuple[Any, Any]:
    """Return *text* as YAML's nodes, and what it says."""
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None, None
        _measure(root, {})
        # What is merged would stand in the nodes afterwards, as if it were written there.
        written = [(node, list(node.value)) for node in _nodes(root) if _is_mapping(node)]
        said = loader.construct_document(root)
        for node, value in written:
            node.value = value
        return root, said
    finally:
        loader.dispose()


def _read_besides(
    written: Mapping[str, Any], document: Mapping[str, Any]
) -> Iterator[tuple[Path, str]]:
    """Yield what would have other files read and is nothing in *document*, where variables are
    filled in as they are known here: to the tool it could be something."""
    if written.get("include") and not document.get("include"):
        yield ("include",), "a change of that file would not be noticed; write all in one"
    for name, service in written["services"].items():
        for key in READ:
            said, known = service.get(key), document["services"][name].get(key)
            if key == "extends":
                said, known = _mapping(said).get("file"), _mapping(known).get("file")
            if said and not known:
                yield ("services", str(name), key), "a change of that file would not be noticed"


def _passed_on(environment: object) -> Iterator[str]:
    """Yield the variables that get the value that the tool itself has of them."""
    if isinstance(environment, list):
        yield from (str(each) for each in environment if "=" not in str(each))
    elif isinstance(environment, dict):
        yield from (str(name) for name, value in environment.items() if value is None)


def _measure(node: Any, sizes: dict[int, int]) -> int:
    """Return how many parts *node* has; fails with `NotCompose` when it has too many, or itself.

    :param sizes: of those that were measured; 0: being measured.
    """
    known = sizes.get(id(node))
    if known == 0:
        line = node.start_mark.line + 1
        raise NotCompose(f"line {line}: what begins here holds an alias of itself")
    if known is not None:
        return known
    sizes[id(node)] = 0
    parts: Iterable[Any] = ()
    if isinstance(node, yaml.SequenceNode):
        parts = node.value
    elif isinstance(node, yaml.MappingNode):
        parts = (part for pair in node.value for part in pair)
    size = 1 + sum(_measure(part, sizes) for part in parts)
    if size > MOST:
        raise NotCompose(
            f"line {node.start_mark.line + 1}: with its aliases it has more than {MOST} parts"
        )
    sizes[id(node)] = size
    return size


def _is_mapping(node: Any) -> bool:
    return isinstance(node, yaml.MappingNode)


def _nodes(root: Any) -> Iterator[Any]:
    """Yield all nodes, each once, in the order in which they are written."""
    seen: set[int] = set()
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.SequenceNode):
            nodes.extend(reversed(node.value))
        elif isinstance(node, yaml.MappingNode):
            nodes.extend(part for pair in reversed(node.value) for part in reversed(pair))


def _scalars(root: Any) -> Iterator[Any]:
    return (node for node in _nodes(root) if isinstance(node, yaml.ScalarNode))


def filled(document: Any, variables: Mapping[str, str]) -> tuple[Any, Sequence[str]]:
    """Return *document* with its variables filled in, and the names of those without a value.

    Variables within the default of another are left as they are; the compose tool knows them.
    """
    lacking: dict[str, None] = {}

    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        name, how, rest = match["named"] or match["braced"], match["how"] or "", match["rest"] or ""
        found = variables.get(name)
        there = found is not None and (found != "" or not how.startswith(":"))
        if how.endswith("+"):
            return rest if there else ""
        if there:
            return str(found)
        if how.endswith("-"):
            return rest
        lacking[name] = None
        return ""

    def fill(said: Any) -> Any:
        if isinstance(said, str):
            return _VARIABLE.sub(value, said)
        if isinstance(said, dict):
            return {key: fill(each) for key, each in said.items()}
        if isinstance(said, list):
            return [fill(each) for each in said]
        return said

    return fill(document), list(lacking)


def aside(text: str, names: Iterable[str]) -> str:
    """Return *text*, of a file, where the variables *names* are called otherwise, see `ASIDE`."""
    words = "|".join(map(re.escape, names))
    if not words:
        return text

    def renamed(match: re.Match[str]) -> str:
        return match[0] if match[2] is None else f"${match[1]}{ASIDE}{match[2]}"

    return re.sub(rf"\$(?:\$|(\{{?)({words})(?!\w))", renamed, text, flags=re.ASCII)


def handed_on(resolved: Mapping[str, Any], values: Mapping[str, str]) -> Mapping[str, Any]:
    """Return *resolved*, as the tool has understood it, where each service that gets one of the
    variables of *values* by its name has its value."""
    services = {}
    for name, service in resolved["services"].items():
        environment = service.get("environment")
        passed = [key for key in _passed_on(environment) if key in values]
        if passed:
            if isinstance(environment, list):
                pairs = (str(each).partition("=") for each in environment)
                environment = {key: value if equals else None for key, equals, value in pairs}
            # To the tool, which reads it once more, a single $ would begin a variable.
            own = {key: values[key].replace("$", "$$") for key in passed}
            service = {**service, "environment": {**environment, **own}}
        services[name] = service
    return {**resolved, "services": services}


def _list(said: object) -> list[Any]:
    """Return *said* if it is a list; what should be one and is none, the tool refuses."""
    return said if isinstance(said, list) else []


def _mapping(said: object) -> dict[Any, Any]:
    """Return *said* if it is a mapping; what should be one and is none, the tool refuses."""
    return said if isinstance(said, dict) else {}


def _negative(said: object) -> bool:
    return str(said).strip().startswith("-")


def ambiguous(document: Any) -> str:
    """Return a text of *document*, as the tool has understood it, that it would read anew as one
    with variables; empty: there is none. Where a ``$`` is meant it writes ``$$``, except that the
    older tool forgets it for volumes and ``security_opt``."""
    if isinstance(document, str):
        return document if "$" in document.replace("$$", "") else ""
    parts: Iterable[Any] = ()
    if isinstance(document, dict):
        parts = document.values()
    elif isinstance(document, list):
        parts = document
    return next(filter(None, map(ambiguous, parts)), "")


@frozen
class Mount:
    """What a service mounts."""

    kind: str
    """``"bind"``, ``"volume"``..."""
    source: str
    """As the file says it; empty: nothing of this host."""
    read_only: bool


def mounts(service: Mapping[str, Any]) -> Iterator[Mount]:
    """Yield what *service* mounts, in whichever of the two forms it says so."""
    for volume in _list(service.get("volumes")):
        if isinstance(volume, dict):
            source = str(volume.get("source") or "")
            # Docker's own short form, which a tool may make of it, knows no type.
            kind = "bind" if source[:1] == "/" else str(volume.get("type", ""))
            yield Mount(kind, source, bool(volume.get("read_only")))
        else:
            source, _, rest = str(volume).partition(":")
            if rest:
                kind = "bind" if source[:1] in (".", "/", "~") else "volume"
                yield Mount(kind, source, "ro" in rest.partition(":")[2].split(","))


def binds(document: Mapping[str, Any], folder: str) -> Iterator[tuple[Path, str, bool]]:
    """Yield the absolute paths of this host that are given away: where that is said, the path, and
    whether it can only be read.

    :param folder: what relative paths are relative to.
    """
    for name, service in document["services"].items():
        for mount in mounts(service):
            if mount.kind == "bind":
                path = bounds.plain(posixpath.join(folder, mount.source))
                yield ("services", name, "volumes"), path, mount.read_only
    for where, source in _declared(document):
        yield where, bounds.plain(posixpath.join(folder, source)), False


def _led_out(document: Mapping[str, Any], folder: str) -> Iterator[Objection]:
    """Yield the relative paths that lead out of *folder*: what is given of the rest of the host is
    written as a whole path, and so meant."""
    said = [
        (("services", str(name), "volumes"), mount.source)
        for name, service in document["services"].items()
        for mount in mounts(service)
        if mount.kind == "bind" or mount.source.startswith("${")
    ]
    for where, source in [*said, *_declared(document)]:
        if source[:1] in ("/", "~"):
            continue
        if "${" in source:
            yield Objection(
                where,
                f"{source}...: where a variable within another one's default leads is not known "
                "here; write one of the two",
            )
        elif not bounds.within(bounds.plain(posixpath.join(folder, source)), bounds.plain(folder)):
            yield Objection(
                where,
                f"{source} leads out of the site's own folder; write a path within it, or, where "
                "that is meant, the whole path, which begins with /",
            )


def _nested(document: Mapping[str, Any], folder: str) -> Iterator[Objection]:
    given = list(binds(document, folder))
    written = {path for _, path, read_only in given if not read_only}
    for where, path, _ in given:
        if folder_around := bounds.outer(path, written):
            yield Objection(where, bounds.nested(path, folder_around))


def _declared(document: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield the paths of this host that volumes, secrets and configs stand for."""
    for group, name, said in _top(document, "volumes", "secrets", "configs"):
        if file := said.get("file"):
            yield (group, name, "file"), str(file)
        if device := bound(_mapping(said.get("driver_opts"))):
            yield (group, name, "driver_opts"), device


def bound(options: Mapping[Any, Any]) -> str:
    """Return the folder of this host, as a whole path, that a volume with these *options* of
    Docker's own driver stands for; empty: none."""
    device = str(options.get("device", ""))
    return device if device.startswith("/") and _bound(options) else ""


def _bound(options: Mapping[Any, Any]) -> bool:
    """Whether a volume with these *options* stands for a folder of this host."""
    return not {"bind", "rbind"}.isdisjoint(str(options.get("o", "")).split(","))


def _volumes(document: Mapping[str, Any]) -> Iterator[Objection]:
    """Yield the volumes that would be more of this host than a folder."""
    for group, name, said in _top(document, "volumes"):
        options = _mapping(said.get("driver_opts"))
        kind, device = str(options.get("type", "")), str(options.get("device", ""))
        if str(said.get("driver") or "local") != "local":
            continue
        if _bound(options):
            if not device.startswith("/"):
                yield Objection(
                    (group, name, "driver_opts"),
                    f"device: {device} is not a whole path; write one that begins with /, or with "
                    f"${{{DATA}}}/",
                )
        elif kind not in MOUNTED and (kind or device):
            yield Objection(
                (group, name, "driver_opts"),
                f"type: {kind or 'none'} is neither a folder (type: none, o: bind, device: /PATH) "
                f"nor one of {', '.join(MOUNTED)}: a disk or the kernel of this host could be in "
                "it; remove it",
            )


def _top(document: Mapping[str, Any], *groups: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for group in groups:
        for name, each in _mapping(document.get(group)).items():
            yield group, str(name), _mapping(each)


def objections(
    document: Mapping[str, Any], sockets: Sequence[str], folder: str, project: str = ""
) -> Iterator[Objection]:
    """Yield what may not be in *document*, whether as it is written or as the tool understands it.

    :param folder: what relative paths are relative to.
    :param project: the name that the tool was given, which it puts before names.
    """
    if document.get("include"):
        yield Objection(
            ("include",), "a change of that file would not be noticed; write all in one"
        )
    for name, service in document["services"].items():
        for path, words in _of_service(service):
            yield Objection(("services", name, *path), words)
    for path, source, read_only in binds(document, folder):
        if words := bounds.objection(source, read_only, sockets):
            yield Objection(path, f"{words}; remove it")
    yield from _led_out(document, folder)
    yield from _nested(document, folder)
    yield from _volumes(document)
    for group, name, said in _top(document, "networks"):
        if said.get("external") or said.get("name", "") not in ("", f"{project}_{name}"):
            yield Objection(
                (group, name),
                "a network that others are in; write network = NAME in the site's section to be in "
                "that one instead of one of its own",
            )
        fixed = [key for key in ("driver", "driver_opts") if said.get(key) not in (None, "bridge")]
        if _mapping(said.get("ipam")).get("config"):
            fixed.append("ipam")
        for key in fixed:
            yield Objection(
                (group, name, key), "Snickers makes the networks, and finds free ones; remove it"
            )


def _unbounded(logging: Mapping[str, Any]) -> str:
    """Return why a log is not kept as *logging* says; empty: nothing is in the way."""
    driver, options = str(logging.get("driver") or "json-file"), _mapping(logging.get("options"))
    remote = re.match(r"(?:udp|tcp(?:\+tls)?)://", str(options.get("syslog-address", "")))
    if driver == "journald" or (driver == "syslog" and not remote):
        return (
            f"driver: {driver}: this host's own log would be filled by whoever visits the site; "
            "remove it"
        )
    if driver not in LOGS:
        return ""
    size, files = LOGS[driver]
    said, count = str(options.get("max-size", size)), str(options.get("max-file", files))
    bytes = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?) ?([kmgt]?)(?:i?b)?", said.lower(), re.ASCII)
    power = "kmgt".index(bytes[2]) + 1 if bytes and bytes[2] else 0
    if (
        bytes is None
        or re.fullmatch(r"[1-9]\d{0,5}", count, re.ASCII) is None
        or not 0 < float(bytes[1]) * 1024**power * int(count) <= MOST_LOG
    ):
        return (
            f"a log of {count} files (max-file) of {said} each (max-size) could fill the disk; "
            f"write no more than {MOST_LOG >> 20}m in all, or remove it"
        )
    return ""


def _of_service(service: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    for key, words in _NEVER.items():
        if service.get(key):
            yield (key,), words
    if service.get("privileged"):
        yield ("privileged",), f"{_ROOT}; remove it"
    mode = str(service.get("network_mode") or "none")
    if mode != "none" and not mode.startswith("service:"):
        yield (
            ("network_mode",),
            f"{mode}: it would be in a network with others; remove it: all services of a site are "
            "in one network of their own",
        )
    for key in _SPACES:
        said = str(service.get(key) or "")
        if said == "host" or said.startswith("container:"):
            yield (key,), f"{said}: it would see and end what others run; remove it"
    for said in _list(service.get("security_opt")):
        if re.search(r"unconfined|disable|spc_t", str(said)):
            yield ("security_opt",), f"{said}: it takes away what keeps a container in; remove it"
        elif re.match(r"seccomp[:=](?!builtin$)", str(said)):
            yield (
                ("security_opt",),
                f"{said}: a change of that file would not be noticed; remove it",
            )
        elif re.match(r"no-new-privileges[:=](?!true$)", str(said)):
            yield (
                ("security_opt",),
                f"{said}: with it a setuid program of the image makes root of a user; remove it",
            )
    if words := _unbounded(_mapping(service.get("logging"))):
        yield ("logging",), words
    swap, resources = service.get("memswap_limit"), _mapping(service.get("deploy")).get("resources")
    memory = _mapping(_mapping(resources).get("limits")).get("memory")
    if swap is not None and str(swap) not in (str(service.get("mem_limit")), str(memory)):
        yield (
            ("memswap_limit",),
            f"{swap}: there is no swap beyond the memory, or one site would slow all by swapping; "
            "remove it",
        )
    if service.get("oom_kill_disable") or _negative(service.get("oom_score_adj")):
        yield (
            ("oom_kill_disable" if service.get("oom_kill_disable") else "oom_score_adj",),
            "when memory is short others would be ended in its place; remove it",
        )
    for key in ("cap_add", "cap_drop"):
        for said in _list(service.get(key)):
            name = str(said).upper().removeprefix("CAP_")
            if key == "cap_add":
                wrong = bounds.refused_capability(name)
            else:
                wrong = "" if name == "ALL" else bounds.unknown_capability(name)
            if wrong:
                yield (key,), wrong
    for other in _list(service.get("volumes_from")):
        if str(other).startswith("container:"):
            yield ("volumes_from",), f"{_OTHERS}; remove it"
    if service.get("build") and not service.get("image"):
        yield ("build",), "Snickers builds no images; build it and write its name as image: NAME"
    elif not service.get("image") and not service.get("extends"):
        yield (), "it has no image; write image: NAME"
    if _mapping(service.get("extends")).get("file"):
        yield ("extends",), "a change of that file would not be noticed; write all in one"
    replicas = _mapping(service.get("deploy")).get("replicas")
    for path, count in ((("scale",), service.get("scale")), (("deploy", "replicas"), replicas)):
        if count is not None and str(count) != "1":
            yield path, "there is one container of each service; remove it"
    for key in ("post_start", "pre_stop"):
        if any(_mapping(hook).get("privileged") for hook in _list(service.get(key))):
            yield (key,), f"privileged: {_ROOT}; remove it"
    for name, said in _mapping(service.get("networks")).items():
        if {"ipv4_address", "ipv6_address"} & _mapping(said).keys():
            yield (
                ("networks", str(name)),
                "Snickers makes the networks, and addresses are as they come; remove it",
            )
