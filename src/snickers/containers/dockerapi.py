"""The questions that Docker is asked, each one call that blocks. The only module that knows the
``docker`` package, which has no types.

Every method may be called from several threads at once, and fails with `EngineAway` when Docker
cannot be reached, or with `Refused` in Docker's words; what is not there is no failure where that
can be an answer. Nothing is decided here. See https://docs.docker.com/reference/api/engine/.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import docker
import requests
import urllib3
from docker import auth, errors, utils
from docker.types import CancellableStream
from requests.adapters import HTTPAdapter

from snickers.containers.away import why
from snickers.containers.engine import EngineAway, EngineFailed
from snickers.containers.errand import Stream
from snickers.interfaces.engine import Load

DEFAULT = "unix:///var/run/docker.sock"

CONNECT_WITHIN = 5
"""Seconds for a connection, and for the first answers on it."""

ANSWER_WITHIN = 60
"""Seconds for the answer to any other call: making a container may wait for a slow disk."""

LONGEST_STOP = 86400
"""Seconds: what ``stop within = never`` means to a protocol of whole seconds."""


class Refused(EngineFailed):
    """Docker answered that it will not.

    :ivar status: of the HTTP answer; 0 when there was none.
    :ivar why: Docker's own words, without a full stop.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(f"Docker refuses: {why}.")
        self.status = status
        self.why = why


class _Patient(HTTPAdapter):
    """Connections over TCP: waits less for a connection than for an answer, and notices when
    the other host has gone."""

    def init_poolmanager(self, *args: Any, **keywords: Any) -> None:
        keywords["socket_options"] = [
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        ]
        super().init_poolmanager(*args, **keywords)

    def send(self, *args: Any, **keywords: Any) -> requests.Response:
        if not isinstance(keywords.get("timeout"), tuple):
            keywords["timeout"] = (CONNECT_WITHIN, keywords.get("timeout"))
        return super().send(*args, **keywords)


class Api:
    """A conversation with Docker, its version negotiated. Made, it has spoken once.

    :param url: where Docker is; empty: as *environment* says (``DOCKER_HOST``,
        ``DOCKER_TLS_VERIFY``, ``DOCKER_CERT_PATH``), else `DEFAULT`.
    :param threads: how many use it at once.
    :ivar where: the URL.
    :ivar local: whether Docker's files are this host's.
    :ivar init: whether Docker has an init to run as process 1.
    :ivar began: Docker's own time when the conversation began, in whole seconds.
    """

    def __init__(self, url: str, threads: int, environment: Mapping[str, str]) -> None:
        self.where = url or environment.get("DOCKER_HOST") or DEFAULT
        self.local = self.where.startswith("unix://")
        with self._in_words():
            # A certificate is for the way over a network.
            said = {} if self.local else dict(environment)
            said = utils.kwargs_from_env({**said, "DOCKER_HOST": self.where})
            self._client = docker.APIClient(
                **said,
                version="auto",
                timeout=CONNECT_WITHIN,
                max_pool_size=threads,
                use_ssh_client=True,
            )
            for scheme in ("http://", "https://"):
                if scheme in self._client.adapters:
                    self._client.mount(scheme, _Patient(pool_maxsize=threads))
            info = self._client.info()
            self._client.timeout = ANSWER_WITHIN
        began = seconds(info.get("SystemTime", ""))
        self.began = None if began is None else int(began)
        # It says so when the init is not installed, which some systems pack apart.
        self.init: bool = info.get("InitCommit", {}).get("ID") != "N/A"

    def close(self) -> None:
        """Let go of the connections that are not in use."""
        self._client.close()

    # Containers

    def containers(self, labels: Mapping[str, str]) -> list[str]:
        """Return the ids of the containers with these labels, running or not."""
        with self._in_words():
            found = self._client.containers(all=True, filters=_labelled(labels))
        return [each["Id"] for each in found]

    def container(self, id: str) -> Mapping[str, Any] | None:
        """Return what Docker knows of it; ``None``: there is none."""
        return self._look(self._client.inspect_container, id)

    def create(self, name: str, config: Mapping[str, Any]) -> str:
        """Make a container and return its id."""
        with self._in_words():
            return str(self._client.create_container_from_config(config, name)["Id"])

    def start(self, id: str) -> None:
        """Start it, or nothing when it runs."""
        with self._in_words():
            self._client.start(id)

    def running(self, labels: Mapping[str, str]) -> list[Mapping[str, Any]]:
        """Return in short what Docker knows of the containers with these labels that run and are
        not paused."""
        with self._in_words():
            found: list[Mapping[str, Any]] = self._client.containers(
                filters={"status": ["running"], **_labelled(labels)}
            )
        return found

    def load(self, id: str) -> Load | None:
        """Return what it has used in this run; ``None``: it does not run. Asks for one look, for
        which Docker takes up to a second; for a rate it takes two."""
        params = {"stream": False, "one-shot": True}
        client = self._client
        with self._in_words():
            # Not `APIClient.stats`, which refuses what an older Docker only ignores.
            url = client._url("/containers/{0}/stats", id)
            found = client._result(client._get(url, params=params), json=True)
        used = ((found.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage")
        networks = (found.get("networks") or {}).values()
        moved = [each.get("rx_bytes", 0) + each.get("tx_bytes", 0) for each in networks]
        # With the network of its host, or without one, it has none of its own to count.
        return Load(used / 1e9, sum(moved) if moved else None) if used else None

    def pause(self, id: str) -> None:
        """Freeze it."""
        with self._in_words():
            self._client.pause(id)

    def unpause(self, id: str) -> None:
        """Let it go on."""
        with self._in_words():
            self._client.unpause(id)

    def stop(self, id: str, within: float) -> None:
        """Ask it to end as its image says, kill it after *within* seconds (rounded up)."""
        with self._in_words():
            self._client.stop(id, timeout=math.ceil(min(within, LONGEST_STOP)))

    def kill(self, id: str) -> None:
        """Kill it, and wait until it has ended."""
        with self._in_words():
            self._client.kill(id)
            self._client.wait(id, timeout=ANSWER_WITHIN, condition="not-running")

    def remove(self, id: str) -> None:
        """Remove it, killed if need be. Volumes that its image declared stay: they are data."""
        with self._in_words():
            self._client.remove_container(id, force=True, v=False)

    def removed(self, id: str) -> None:
        """Wait until it was removed."""
        with self._in_words():
            self._client.wait(id, timeout=ANSWER_WITHIN, condition="removed")

    def rename(self, id: str, name: str) -> None:
        """Give it another name."""
        with self._in_words():
            self._client.rename(id, name)

    def logs(self, id: str, tail: int, follow: bool, times: bool = False) -> Stream:
        """Return its last *tail* lines, and what follows, as bytes.

        :param times: whether each line begins with when it was written, in RFC 3339 and UTC.
        """
        with self._in_words():
            found: Stream = self._client.logs(
                id, stream=True, follow=follow, tail=tail, timestamps=times
            )
            return found

    def prepare(self, id: str, command: Sequence[str]) -> str:
        """Prepare to run *command* in it, as its user; return the id of that."""
        with self._in_words():
            return str(self._client.exec_create(id, list(command))["Id"])

    def run(self, prepared: str) -> Stream:
        """Run what was prepared; return what it writes, as bytes of both its outputs."""
        client = self._client
        with self._in_words():
            # As `APIClient.exec_start` does, which gives nothing by which to cancel it in older
            # versions of the package.
            response = client._post_json(
                client._url("/exec/{0}/start", prepared),
                headers={"Connection": "Upgrade", "Upgrade": "tcp"},
                data={"Tty": False, "Detach": False},
                stream=True,
                timeout=None,
            )
            client._raise_for_status(response)
            written = client._read_from_socket(response, True, tty=False)
        found: Stream = CancellableStream(written, response)
        return found

    def ran(self, prepared: str) -> Mapping[str, Any]:
        """Return what Docker knows of it: ``Running``, ``ExitCode``, and ``Pid`` on Docker's own
        host."""
        with self._in_words():
            found: Mapping[str, Any] = self._client.exec_inspect(prepared)
        return found

    def deaths(self) -> Stream:
        """Return the ends of containers, and their partings from networks, since `began`, as
        Docker's events: those of others, too, as networks' say nothing of whose they are."""
        filters = {"type": ["container", "network"], "event": ["die", "disconnect"]}
        with self._in_words():
            found: Stream = self._client.events(since=self.began, filters=filters, decode=True)
            return found

    # Images

    def image(self, name: str) -> Mapping[str, Any] | None:
        """Return what Docker knows of the image; ``None``: it is not here."""
        return self._look(self._client.inspect_image, name)

    def pull(self, name: str, login: Mapping[str, str] | None = None) -> Stream:
        """Pull the image; return Docker's events of it. Its end is in them.

        :param login: who asks, see `snickers.containers.registry.login`; ``None``: who has logged
            in with Docker's own command.
        """
        repository, tag = utils.parse_repository_tag(name)
        registry, _ = auth.resolve_repository_name(repository)
        client = self._client
        with self._in_words():
            if login is None:
                header = auth.get_config_header(client, registry)
            else:
                header = auth.encode_header(dict(login))
            # As `APIClient.pull` does, which gives nothing by which to cancel it.
            response = client._post(
                client._url("/images/create"),
                # Without a tag Docker pulls them all.
                params={"fromImage": repository, "tag": tag or "latest"},
                headers={"X-Registry-Auth": header} if header else {},
                stream=True,
                timeout=None,
            )
            client._raise_for_status(response)
        found: Stream = CancellableStream(client._stream_helper(response, True), response)
        return found

    # Networks

    def networks(self, labels: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
        """Return the networks with these labels."""
        with self._in_words():
            found: Sequence[Mapping[str, Any]] = self._client.networks(filters=_labelled(labels))
            return found

    def network(self, name: str) -> Mapping[str, Any] | None:
        """Return what Docker knows of the network; ``None``: there is none."""
        return self._look(self._client.inspect_network, name)

    def make_network(
        self, name: str, subnet: str, labels: Mapping[str, str], internal: bool = False
    ) -> None:
        """Make a bridge; an *internal* one leads nowhere but to this host."""
        with self._in_words():
            self._client.create_network(
                name,
                driver="bridge",
                ipam={"Driver": "default", "Config": [{"Subnet": subnet}]},
                check_duplicate=True,
                internal=internal,
                labels=dict(labels),
            )

    def volume(self, name: str) -> Mapping[str, Any] | None:
        """Return what Docker knows of the volume; ``None``: there is none."""
        return self._look(self._client.inspect_volume, name)

    def make_volume(self, name: str, driver: str, options: Mapping[str, str]) -> None:
        """Make a volume, or nothing when there is one of that name."""
        with self._in_words():
            self._client.create_volume(name, driver or None, dict(options))

    def remove_network(self, id: str) -> None:
        """Remove it."""
        with self._in_words():
            self._client.remove_network(id)

    def _look(self, ask: Any, name: str) -> Mapping[str, Any] | None:
        try:
            with self._in_words():
                found: Mapping[str, Any] = ask(name)
        except Refused as error:
            if error.status == 404:
                return None
            raise
        return found

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except errors.APIError as error:
            raise Refused(error.status_code or 0, _explained(error)) from None
        except (OSError, urllib3.exceptions.HTTPError, errors.DockerException) as error:
            # All of requests' errors are OSError.
            raise EngineAway(f"Docker cannot be reached at {self.where}: {why(error)}") from None


def _labelled(labels: Mapping[str, str]) -> dict[str, list[str]]:
    return {"label": [f"{name}={value}" for name, value in labels.items()]}


def _explained(error: errors.APIError) -> str:
    """Return Docker's own words, without the names of functions they went through."""
    text = str(error.explanation or error)
    return " ".join(text.rpartition("caused: ")[2].split()).rstrip(".")[:400]


def seconds(said: str) -> float | None:
    """Return seconds since the epoch for a time in Docker's form (RFC 3339)."""
    try:
        return datetime.fromisoformat(said).timestamp()
    except ValueError:
        return None
