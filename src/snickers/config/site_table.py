"""The options of sites, one after the other as the reference lists them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from snickers.config import addresses, formats
from snickers.config.answer_fields import FIELD_VALUE
from snickers.config.formats import Format
from snickers.config.life_table import life_options
from snickers.config.option import ANSWERING_TYPES, LATER_TYPES, TYPES, Option
from snickers.config.values import CAPABILITIES

_DURATION = formats.duration(0.001)

_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_IMAGE = (
    rf"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::\d+)?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?(?:@[A-Za-z0-9][A-Za-z0-9._+-]*:[0-9a-fA-F]+)?"
)
"""As Docker reads it: what it would refuse at the first visit is a fault of the file."""


def _every_site() -> Iterable[Option]:
    yield Option(
        "type",
        TYPES,
        formats.one_of(*(t for t in TYPES if t not in LATER_TYPES), later=LATER_TYPES),
        None,
        "What kind of site it is.",
        "container",
    )
    yield Option(
        "application",
        TYPES,
        formats.text("name of an application", r"\S(.*\S)?", "lamp"),
        "",
        "The `[application NAME]` whose options this site takes over; its own come first.",
        "lamp",
        empty="",
    )
    yield Option(
        "also",
        TYPES,
        formats.SITE_NAMES,
        "",
        "More host names of the same site.",
        "www.{host}",
        "site.also",
        empty=(),
    )
    yield Option(
        "enabled",
        TYPES,
        formats.SWITCH,
        "on",
        "`off`: the site stays written here, and is not served.",
        "off",
        "site.enabled",
    )
    yield Option(
        "certificates",
        TYPES,
        formats.one_of("internal", "files", "acme"),
        "",
        "Where this site's certificate comes from; without it: what `[snickers]` says.",
        "files",
        "site.certificates",
    )
    yield Option(
        "acme challenge",
        ANSWERING_TYPES,
        formats.one_of("auto", "http-01", "tls-alpn-01", "dns-01"),
        "auto",
        "How it is proven to the authority that the site's names are ours; `auto`: by what has "
        "worked before, else by what works. Names with `*` always need `dns-01`.",
        "tls-alpn-01",
        "site.acme_challenge",
    )
    yield Option(
        "hsts",
        ANSWERING_TYPES,
        formats.DURATION_OR_OFF,
        "off",
        "For how long browsers shall insist on https for this site.",
        "365d",
        "site.hsts",
    )
    yield Option(
        "basic auth",
        ANSWERING_TYPES,
        formats.PATH,
        "",
        "A file of names and passwords, written by `htpasswd -B` (bcrypt; of Debian's package "
        "`apache2-utils`): who may come in.",
        "{host}.htpasswd",
        "site.basic_auth",
        empty="",
    )
    yield Option(
        "allow from",
        TYPES,
        addresses.NETWORKS,
        "",
        "The addresses and networks that may come in, all others get 403; empty: all.",
        "192.0.2.7 10.0.0.0/8",
        "site.allow_from",
        empty=(),
    )
    yield Option(
        "max body",
        ANSWERING_TYPES,
        formats.size(),
        "",
        "The largest request body that is accepted, others get 413; empty: any.",
        "100m",
        "site.max_body",
    )
    yield Option(
        "header.NAME",
        ANSWERING_TYPES,
        FIELD_VALUE,
        "",
        "A field of every answer, instead of what the site says; an empty value removes it.",
        "header.X-Frame-Options = DENY",
        empty="",
    )
    yield Option(
        "answer within",
        ("container", "process", "proxy"),
        _DURATION,
        "5m",
        "How long the server behind may take to begin its answer.",
        "30s",
        "site.answer_within",
    )


def _container() -> Iterable[Option]:
    def option(
        name: str, of: Format[Any], default: str | None, doc: str, example: str, **more: Any
    ) -> Option:
        attribute = more.pop("attribute", "kind." + name.replace(" ", "_"))
        return Option(name, ("container",), of, default, doc, example, attribute, **more)

    yield option(
        "image",
        formats.text("image", _IMAGE, "registry.example/lamp:7, in small letters"),
        "",
        "The Docker image that is run; needed unless there are `services`.",
        "registry.example/lamp:7",
        empty="",
    )
    yield option(
        "services",
        formats.PATH,
        "",
        "A compose file, for a site of several containers instead of one `image`: they are started "
        "and stopped together, in its order. Relative paths in it are relative to the site's own "
        "folder (DATA/HOST); `env.NAME` and `env file` give its variables their values.",
        "services/{host}.yaml",
        empty="",
    )
    yield option(
        "service",
        formats.text("service", r"[A-Za-z0-9._-]+", "web"),
        "",
        "Which of the `services` answers visitors, at `port`; empty: the only one there is.",
        "web",
        empty="",
    )
    yield option(
        "command",
        formats.COMMAND,
        "",
        "What is run in the container; empty: what the image says.",
        "gunicorn 'app:create()' --bind 0.0.0.0:80",
        empty=(),
    )
    yield option(
        "port",
        formats.integer(1, 65535, "port"),
        "80",
        "The port on which the server in the container listens.",
        "8080",
    )
    yield option(
        "data",
        formats.PATH_INSIDE,
        "",
        "Where the site's own folder (DATA/HOST) is mounted in the container; empty: nowhere. "
        "It is made when missing, and given to `user` where that is UID or UID:GID.",
        "/data",
        empty="",
    )
    yield option(
        "volumes",
        formats.VOLUMES,
        "",
        "More folders, or named volumes, as SOURCE:TARGET or SOURCE:TARGET:ro.",
        "/srv/shared:/shared:ro cache:/var/cache",
        empty=(),
    )
    yield option(
        "memory",
        # Docker refuses less.
        formats.size(6 * 2**20),
        "1g",
        "The memory the container may use, beyond which it is ended, and that is said; empty: no "
        "limit.",
        "512m",
        unlimited=True,
    )
    yield option(
        "cpus",
        formats.DECIMAL,
        "",
        "How many processor cores the container may use; empty: no limit, and those who want more "
        "than there is get equal parts.",
        "0.5",
    )
    yield option(
        "pids",
        formats.integer(1, 4_194_304),
        "512",
        "How many processes and threads the container may have; empty: no limit.",
        "200",
        unlimited=True,
    )
    yield option(
        "read only",
        formats.SWITCH,
        "off",
        "Whether the image's files may not be written to.",
        "on",
    )
    yield option(
        "capabilities",
        formats.CAPABILITIES,
        " ".join(CAPABILITIES),
        "The capabilities the container keeps, all others dropped; empty: none.",
        "NET_BIND_SERVICE CHOWN",
        empty=(),
    )
    yield option(
        "network",
        formats.text("network", r"[A-Za-z0-9][A-Za-z0-9_.-]*", "backend"),
        "",
        "The Docker network it joins; empty: one of its own, where no other site can reach it.",
        "backend",
        empty="",
    )
    yield option(
        "pull",
        formats.one_of("missing", "always", "never"),
        "missing",
        "When the image is fetched: if it is not here, never, or always: then each start takes "
        "what is here and looks for a newer one meanwhile, for the next start.",
        "always",
    )
    yield option(
        "registry auth",
        formats.PATH,
        "",
        "A file with the login for the image's registry: a line `USER:PASSWORD`, or the JSON that "
        "`docker login` makes. Nobody else may read it (`chmod 600`). Empty: what "
        "`docker login` left.",
        "registry.json",
        empty="",
    )


def _process() -> Iterable[Option]:
    yield Option(
        "command",
        ("process",),
        formats.PROGRAM,
        None,
        "The program that is run, with its arguments.",
        "sh -c 'exec python3 -m http.server $PORT'",
        "kind.command",
    )
    yield Option(
        "port",
        ("process",),
        formats.integer(0, 65535, "port"),
        "0",
        "The port on which the program listens; 0: a free one, given to it as `$PORT`.",
        "8001",
        "kind.port",
        empty=0,
    )
    yield Option(
        "directory",
        ("process",),
        formats.PATH,
        "",
        "The folder the program is started in; empty: the site's own folder (DATA/HOST).",
        "/srv/app",
        "kind.directory",
        empty="",
    )


def _static() -> Iterable[Option]:
    def option(
        name: str, of: Format[Any], default: str | None, doc: str, example: str, **more: Any
    ) -> Option:
        return Option(name, ("static",), of, default, doc, example, "kind." + name, **more)

    yield option("root", formats.PATH, None, "The folder that is served.", "{data}/public")
    yield option(
        "index",
        formats.words("file names", r"[^/\0]+", "index.html"),
        "index.html",
        "The files that are served for a folder, the first that exists.",
        "index.html index.htm",
    )
    yield option(
        "listing",
        formats.SWITCH,
        "off",
        "Whether a folder without an index shows what is in it.",
        "on",
    )
    yield option(
        "fallback",
        formats.PATH_BELOW,
        "",
        "The file that is served for what does not exist (single-page applications); empty: "
        "404 Not Found.",
        "index.html",
        empty="",
    )
    yield option(
        "precompressed",
        formats.SWITCH,
        "off",
        "Serve FILE.br, FILE.zst or FILE.gz beside FILE to browsers that take them.",
        "on",
    )


def _redirect() -> Iterable[Option]:
    yield Option(
        "to",
        ("redirect",),
        addresses.url("http", "https"),
        None,
        "Where every request is sent.",
        "https://www.{host}",
        "kind.to",
    )
    yield Option(
        "status",
        ("redirect",),
        formats.one_number_of(301, 302, 303, 307, 308),
        "308",
        "The status of the answer: 301 and 308 are for good, the others for now.",
        "302",
        "kind.status",
    )
    yield Option(
        "keep path",
        ("redirect",),
        formats.SWITCH,
        "on",
        "Whether the request's own path and query are put behind `to`.",
        "off",
        "kind.keep_path",
    )


def _proxy() -> Iterable[Option]:
    yield Option(
        "to",
        ("proxy",),
        addresses.UPSTREAMS,
        None,
        "The servers behind, one or more: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path`.",
        "http://127.0.0.1:3000",
        "kind.to",
    )
    yield Option(
        "verify",
        ("proxy",),
        addresses.VERIFY,
        "",
        "The name that the certificate of a server behind `https://` must have; empty: the host "
        "in `to`. `off`: **nobody looks whose certificate it is**, so whoever gets in between "
        "reads and changes everything, as with `http://`.",
        "inner.example",
        "kind.verify",
        empty="",
    )
    yield Option(
        "trust",
        ("proxy",),
        formats.PATH,
        "",
        "A file of certificates (PEM) that sign those of servers behind `https://`; empty: the "
        "system's. When it changes, that counts within half a minute.",
        "/etc/ssl/inner-ca.pem",
        "kind.trust",
        empty="",
    )
    yield Option(
        "balance",
        ("proxy",),
        formats.one_of("round robin", "least busy", "address", "first"),
        "round robin",
        "Which of several servers gets the next request: each in turn, the one with the fewest "
        "open requests, always the same for a client's address, or the first that is well.",
        "least busy",
        "kind.balance",
    )
    yield Option(
        "health",
        ("proxy",),
        formats.health("off"),
        "off",
        "A path that a server must answer with 200 to 399 to be sent requests; `off`: only those "
        "that cannot be connected to are left alone, for ten seconds.",
        "/up",
        "kind.health",
        empty="off",
    )
    yield Option(
        "health every",
        ("proxy",),
        formats.duration(0.5),
        "10s",
        "How often `health` is asked for.",
        "5s",
        "kind.health_every",
    )
    yield Option(
        "health within",
        ("proxy",),
        formats.duration(0.5),
        "5s",
        "How long a server may take to answer that; no longer than `health every` in any case.",
        "2s",
        "kind.health_within",
    )
    yield Option(
        "connect within",
        ("proxy",),
        _DURATION,
        "5s",
        "How long a server may take to accept a connection; then the next one is tried, or the "
        "visitor gets 502.",
        "30s",
        "kind.connect_within",
    )


def _passthrough() -> Iterable[Option]:
    yield Option(
        "to",
        ("passthrough",),
        addresses.PASSTHROUGH,
        None,
        "The server that gets the connection as it is; it opens the TLS itself.",
        "tcp:10.0.0.7:443",
        "kind.to",
    )
    yield Option(
        "proxy protocol",
        ("passthrough",),
        formats.one_of("off", "v1", "v2"),
        "off",
        "Whether the server is told the client's address, and in which version.",
        "v2",
        "kind.proxy_protocol",
    )


def site_options() -> Iterable[Option]:
    """Return them all: those of every site first, then type by type."""
    yield from _every_site()
    yield from _container()
    yield from _process()
    yield from life_options()
    yield from _static()
    yield from _redirect()
    yield from _proxy()
    yield from _passthrough()
