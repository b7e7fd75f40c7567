"""How a site of several containers is made: what the compose tool understood, made the site's own.

Pure. The tool reads the site's file and says what it means; here that becomes another file, whole
and complete, by which the containers are made and found again: with labels, in networks of the
site alone, within its limits, and of images that no name can change any more. It is kept in a label
of the containers, as all that is remembered of them. Nothing but the configuration chooses image,
mount or command.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from snickers.config.values import Container
from snickers.containers import recipe
from snickers.containers.engine import EngineFailed
from snickers.interfaces.engine import Declared

PROJECT = recipe.PROJECT
SERVICE = "io.snickers.service"
ANSWERS = "io.snickers.answers"
"""The service that answers visitors."""
LASTING = "io.snickers.lasting"
"""The services that all must run for the site to run; the others do their work once."""
FILE = "io.snickers.file"
"""Of the container that answers: the file that all were made by, see `pack`."""
OURS = "io.snickers."
_OWN = "x-snickers"
"""Where the file says what the tool does not look at."""
DONE = "service_completed_successfully"
"""The condition of who waits for a service to end."""
DEFAULT = "default"
"""The network that a service is in when it names none."""


@frozen
class Image:
    """What a service's image means here."""

    id: str
    digest: str = ""
    """By what digest registries know it, see `snickers.containers.recipe.digest`."""
    entrypoint: tuple[str, ...] = ()


@frozen
class Volume:
    """A volume that must be there."""

    name: str
    driver: str = ""
    options: tuple[tuple[str, str], ...] = ()


@frozen
class Composition:
    """What is made for a site, together."""

    project: str
    """Another for everything that differs."""
    file: Mapping[str, Any]
    """What the tool is given, but for the label that holds it."""
    answers: str
    volumes: tuple[Volume, ...] = ()


def services_of(resolved: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return those that are started: without those of a profile."""
    return {name: said for name, said in resolved["services"].items() if not said.get("profiles")}


def networks_of(resolved: Mapping[str, Any]) -> dict[str, bool]:
    """Return what the site's file calls the networks beside the first one, and whether each leads
    nowhere."""
    return {
        str(name): isinstance(said, dict) and bool(said.get("internal"))
        for name, said in sorted((resolved.get("networks") or {}).items())
        if name != DEFAULT
    }


def composed(
    declared: Declared,
    owner: str,
    fingerprint: str,
    resolved: Mapping[str, Any],
    images: Mapping[str, Image],
    networks: Mapping[str, str],
    asked: str,
    init: bool,
) -> Composition:
    """Return what is made of *declared*.

    :param resolved: the site's file as the tool understands it; nothing is to be objected to.
    :param images: by service.
    :param networks: the names of those that the services may be in, by what the site's file calls
        them; see `networks_of`.
    :param asked: by what project's name the tool was asked, which it puts before names.
    :param init: whether Docker has an init to run as process 1.
    """
    kind, site = declared.kind, declared.site
    assert isinstance(kind, Container)
    services = services_of(resolved)
    once = _once(services)
    volumes = _volumes(site, resolved, asked)
    file: dict[str, Any] = {
        _OWN: {"data": declared.data},
        "services": {
            name: _service(said, kind, images[name], init) for name, said in services.items()
        },
        "networks": {
            key: {"external": True, "name": name} for key, name in sorted(networks.items())
        },
    }
    if volumes:
        file["volumes"] = {
            key: {"external": True, "name": volume.name} for key, volume in volumes.items()
        }
    for key in ("secrets", "configs"):
        if resolved.get(key):
            file[key] = resolved[key]
    said = json.dumps([owner, site, fingerprint, kind.service, kind.port, file], sort_keys=True)
    project = f"{_plain(site)}-{hashlib.sha256(said.encode()).hexdigest()[:10]}"
    shared = {
        **recipe.labels(site, owner),
        recipe.FINGERPRINT: fingerprint,
        recipe.PORT: str(kind.port),
        PROJECT: project,
        ANSWERS: kind.service,
        LASTING: " ".join(sorted(name for name in services if name not in once)),
    }
    for name, service in file["services"].items():
        service["labels"].update(
            {
                **shared,
                SERVICE: name,
                recipe.IMAGE: images[name].id,
                recipe.DIGEST: images[name].digest,
            }
        )
    return Composition(
        project,
        file,
        kind.service,
        tuple(volumes.values()),
    )


def _plain(site: str) -> str:
    """Return a beginning for the names of *site*'s projects, as the tool allows them."""
    return re.sub(r"[^a-z0-9-]", "_", recipe.name(site).lower())[:48]


def asking(site: str) -> str:
    """Return the project's name by which the tool is asked what *site*'s file means."""
    return _plain(site)


def _once(services: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return those that others wait for to end."""
    found = set()
    for said in services.values():
        needs = said.get("depends_on")
        for name, how in needs.items() if isinstance(needs, dict) else ():
            if isinstance(how, dict) and how.get("condition") == DONE:
                found.add(name)
    return found


def _volumes(site: str, resolved: Mapping[str, Any], asked: str) -> dict[str, Volume]:
    found = {}
    for key, said in (resolved.get("volumes") or {}).items():
        said = said if isinstance(said, dict) else {}
        name = said.get("name") or ""
        if said.get("external"):
            external = said["external"]
            name = (external.get("name") if isinstance(external, dict) else "") or name or key
            found[key] = Volume(str(name))
            continue
        if name in ("", f"{asked}_{key}"):
            name = f"{recipe.name(site)}_{key}"
        options = said.get("driver_opts") or {}
        found[key] = Volume(
            str(name),
            str(said.get("driver") or "local"),
            tuple(sorted((str(option), str(value)) for option, value in options.items())),
        )
    return found


_LEFT_OUT = frozenset(
    {"profiles", "build", "env_file", "scale", "deploy", "pull_policy", "develop", "restart"}
)
"""What is decided here, or has been read already."""


def _service(said: Mapping[str, Any], kind: Container, image: Image, init: bool) -> dict[str, Any]:
    """Return one service, with what the site's own section says where the file says nothing."""
    made = {key: value for key, value in said.items() if key not in _LEFT_OUT}
    made["image"] = image.id
    made["restart"] = "no"  # Waking is Snickers' own work.
    labels = said.get("labels") or {}
    if isinstance(labels, list):
        labels = {name: value for name, _, value in (str(each).partition("=") for each in labels)}
    made["labels"] = {
        str(name): "" if value is None else str(value)
        for name, value in labels.items()
        if not str(name).startswith(OURS)
    }
    _limit(made, said, kind)
    options = map(str, said.get("security_opt") or ())
    made["security_opt"] = [
        *(option for option in options if not option.startswith("no-new-privileges")),
        "no-new-privileges:true",
    ]
    made["cap_add"], made["cap_drop"] = _capabilities(said, kind)
    made["logging"] = _bounded(said.get("logging") or {})
    if "stop_grace_period" not in made and math.isfinite(kind.life.stop_within):
        made["stop_grace_period"] = f"{max(1, math.ceil(kind.life.stop_within))}s"
    if "init" not in made and init and not said.get("entrypoint"):
        made["init"] = recipe.wants_init(image.entrypoint)
    deploy = said.get("deploy") or {}
    reserved = (deploy.get("resources") or {}).get("reservations") or {}
    if reserved.get("devices"):
        made["deploy"] = {"resources": {"reservations": {"devices": reserved["devices"]}}}
    return made


def _bounded(logging: Mapping[str, Any]) -> dict[str, Any]:
    """Return how logs are kept; where nothing is said, as those of one container."""
    driver = logging.get("driver") or recipe.LOG["Type"]
    if driver != recipe.LOG["Type"]:
        return dict(logging)
    options = {**recipe.LOG["Config"], **(logging.get("options") or {})}
    return {"driver": driver, "options": options}


def _limit(made: dict[str, Any], said: Mapping[str, Any], kind: Container) -> None:
    """Put limits into *made*: those of the file, wherever it says them, else those of the site."""
    limits = ((said.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    memory = said.get("mem_limit") or limits.get("memory") or kind.memory
    if memory is not None:
        made["mem_limit"] = memory
        # The same number for both: no swap beyond it, or one site would slow all by swapping.
        made["memswap_limit"] = memory
    cpus = said.get("cpus") or limits.get("cpus") or kind.cpus
    if cpus is not None:
        made["cpus"] = float(cpus)
    pids = said.get("pids_limit") or limits.get("pids") or kind.pids
    if pids is not None:
        made["pids_limit"] = int(pids)


def _capabilities(said: Mapping[str, Any], kind: Container) -> tuple[list[str], list[str]]:
    """Return what is kept on top of none, and ``["ALL"]``."""

    def names(key: str) -> list[str]:
        return [re.sub("^CAP_", "", str(name).upper()) for name in said.get(key) or ()]

    added, dropped = names("cap_add"), names("cap_drop")
    kept = (
        []
        if "ALL" in dropped
        else [name.upper() for name in kind.capabilities if name.upper() not in dropped]
    )
    return [*kept, *(name for name in added if name not in kept)], ["ALL"]


def pack(file: Mapping[str, Any]) -> str:
    """Return *file* as the text of a label."""
    return base64.b64encode(zlib.compress(json.dumps(file).encode(), 9)).decode()


def unpack(label: str) -> dict[str, Any]:
    """Return what was packed; fails with `EngineFailed` when somebody has changed it."""
    try:
        found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(label)))
    except (ValueError, zlib.error):
        raise EngineFailed("Somebody has changed the labels of its containers.") from None
    return found


def given(file: Mapping[str, Any], answers: str) -> bytes:
    """Return the text that the tool is given: *file*, kept in a label of the service *answers*."""
    services = dict(file["services"])
    service = services[answers]
    services[answers] = {**service, "labels": {**service["labels"], FILE: pack(file)}}
    return json.dumps({**file, "services": services}).encode()


def document(given: bytes) -> dict[str, Any]:
    """Return what the text of `given` says."""
    found: dict[str, Any] = json.loads(given)
    return found


def folder_of(document: Mapping[str, Any]) -> str:
    """Return the folder of the site's own that *document*, as it was given, was made for."""
    return str((document.get(_OWN) or {}).get("data") or "/")


def variables(declared: Declared) -> dict[str, str]:
    """Return what stands for the variables in *declared*'s file."""
    from snickers.composefile import DATA, SITE

    kind = declared.kind
    return {**dict(kind.environment), SITE: declared.site, DATA: declared.data}


def progress(line: str, project: str) -> str:
    """Return what the tool says in *line*, in words: ``"db: started"``; empty: nothing of note."""
    name = rf"{re.escape(project)}[-_](?P<service>\S+?)[-_]1\b"
    # A newer tool says last what it does, an older one first.
    found = re.search(rf"Container {name}\s+(?P<verb>\w+)", line) or re.match(
        rf"(?P<verb>[A-Z]\w+ing) {name}", line
    )
    return "" if found is None else f"{found['service']}: {found['verb'].lower()}"


def complaint(said: Sequence[str], project: str) -> str:
    """Return why the tool failed, of the lines that it wrote."""
    lines = [" ".join(line.split()) for line in said if line.strip()]
    telling = [
        line
        for line in lines
        if not re.search(r"level=warning|Encountered errors while|command is deprecated", line)
        and not re.match(r"(Container|Network|Volume|Creating|Starting) \S+ (\w+|\.\.\.)", line)
    ]
    words = " ".join(list(dict.fromkeys(telling))[-3:])
    words = re.sub(r"^(ERROR: )+|Error response from daemon: ", "", words)
    words = re.sub(rf"container {re.escape(project)}[-_](.+?)[-_]1\b", r"service \1", words)
    return (words or "it does not say why").rstrip(".")[:600]
