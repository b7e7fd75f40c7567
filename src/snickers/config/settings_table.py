"""The options of ``[snickers]``, one after the other as the reference lists them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from snickers.config import addresses, formats
from snickers.config.formats import Format
from snickers.config.option import SETTINGS, Option

_DURATION = formats.duration(0.001)
_PATIENCE = formats.duration()


def option(name: str, of: Format[Any], default: str, doc: str, example: str, **more: Any) -> Option:
    """Return an option of ``[snickers]``."""
    attribute = more.pop("attribute", "settings." + name.replace(" ", "_"))
    return Option(name, (SETTINGS,), of, default, doc, example, attribute, **more)


def settings_options() -> Iterable[Option]:
    """Return them all."""
    yield option(
        "https",
        addresses.ENDPOINTS,
        "tcp:443",
        "Where TLS connections are accepted, as Twisted server endpoint strings.",
        "tcp:443 tcp6:443",
    )
    yield option(
        "http",
        addresses.ENDPOINTS,
        "tcp:80",
        "Where plain http is accepted, to be redirected to https; empty: nowhere.",
        "tcp:80 tcp6:80",
        empty=(),
    )
    yield option(
        "state",
        formats.PATH,
        "/var/lib/snickers",
        "The folder for what Snickers itself must remember: keys, certificates, control socket.",
        "/srv/snickers",
    )
    yield option(
        "data",
        formats.PATH,
        "/data/domains",
        "The folder of the sites' own folders: each has DATA/HOST, which is what `{data}` means.",
        "/srv/domains",
    )
    yield option(
        "snapshots directory",
        formats.PATH,
        "",
        "Where copies of the sites' own folders are kept; empty: `snapshots` in `state`. Another "
        "disk than that of `data` is better.",
        "/backup/snickers",
        empty="",
    )
    yield option(
        "include",
        formats.GLOBS,
        "",
        "More files to read, in the order of their names, relative to this file.",
        "sites.d/*.ini",
        attribute="",
        empty=(),
    )
    yield option(
        "reload every",
        formats.duration(0.1, never=True),
        "5s",
        "How often the files are looked at for changes; `never`: only when asked to.",
        "30s",
    )
    yield option(
        "certificates",
        formats.one_of("internal", "files", "acme"),
        "internal",
        "Where the sites' certificates come from: an authority on the network that all browsers "
        "trust (`acme`), Snickers' own (`internal`, for trying things out), or the `certificate "
        "directory` (`files`).",
        "acme",
        attribute="",
    )
    yield option(
        "certificate directory",
        formats.PATH,
        "/etc/snitch",
        "Where `certificates = files` finds HOST/cert.pem and HOST/key.pem (the chain in "
        "cert.pem, or in ca.pem beside it).",
        "/etc/ssl/sites",
    )
    yield from _acme()
    yield option(
        "access log",
        formats.PATH,
        "",
        "The file that gets a line for each request, and for each connection of a `passthrough` "
        "site; empty: none.",
        "/var/log/snickers/access.log",
        empty="",
    )
    yield option(
        "access log format",
        formats.one_of("combined", "vhost", "json"),
        "combined",
        "How a line of the access log is written: as Apache and nginx do (`vhost`: with SITE:PORT "
        "before it; PORT is 443 for https and 80 for http, whatever port is listened on), or one "
        "JSON object.",
        "json",
    )
    yield option(
        "alarm command",
        formats.PROGRAM,
        "",
        "A program that tells you when something needs you: it gets one JSON alarm on its "
        "standard input.",
        "/usr/local/bin/tell-me --urgent",
        empty=(),
    )
    yield option(
        "metrics",
        addresses.ENDPOINTS,
        "",
        "Where Prometheus may fetch `/metrics`, besides the control socket. There is no password: "
        "who reaches it sees the names of all sites. Changing it needs a restart.",
        "tcp:9100:interface=127.0.0.1",
        empty=(),
    )
    yield option(
        "default site",
        formats.SITE_NAME,
        "",
        "The site for clients that name none; empty: they are refused, as is always a name that no "
        "site has.",
        "alice.example",
        empty="",
    )
    yield option(
        "docker",
        addresses.ENGINE,
        "",
        "Where Docker's engine is; empty: what the environment says (DOCKER_HOST), else the "
        "usual socket. `ssh://` is not available yet.",
        "unix:///var/run/docker.sock",
        empty="",
    )
    yield option(
        "docker broker",
        formats.SWITCH,
        "off",
        "Let a process of its own hold Docker's socket, so that the front door need not: Snickers "
        "is started as root, and sheds that by `twistd --uid USER --gid GROUP`.",
        "on",
    )
    yield option(
        "awake limit",
        formats.integer(1, 1_000_000),
        "",
        "How many servers may be awake at once, paused ones included; when there are more, the "
        "longest idle is put to sleep, never one in use. Empty: no limit.",
        "20",
        empty=None,
    )
    yield option(
        "keep free",
        formats.size(2**20),
        "",
        "Put the longest idle server to sleep, one every five seconds, while less memory than "
        "this is available. Empty: never.",
        "512m",
        empty=None,
    )
    yield option(
        "commit after",
        formats.duration(1.0, never=True),
        "never",
        "Blue and red: how long a new team serves, without alarms, until the one before it ends by "
        "itself; `never`: when `snickers teams commit` says so.",
        "1h",
    )
    yield option(
        "workers",
        formats.WORKERS,
        "1",
        "How many processes carry the traffic; `auto`: as many as there are processors. With `1` "
        "the one process does it itself; with more, it is one of them and in charge of the rest. "
        "64 at the most. Whoever is free takes a connection, so with little to do one of them has "
        "most of it: that is as it should be.",
        "auto",
    )
    yield option(
        "proxy protocol from",
        addresses.TRUSTED,
        "",
        "The addresses and networks that speak HAProxy's PROXY protocol (v1 or v2) to the "
        "listeners, `unix` for those on unix sockets. From there the header is required, and the "
        "client is who it says; from anywhere else it is refused.",
        "10.0.0.0/8 192.0.2.7",
        empty=(),
    )
    yield option(
        "connection limit",
        formats.integer(1, 10_000_000),
        "10000",
        "Client connections open at once; more are refused.",
        "2000",
        attribute="settings.connections",
    )
    yield option(
        "connection limit per address",
        formats.integer(1, 10_000_000),
        "250",
        "Client connections open at once from one address; more are refused.",
        "100",
        attribute="settings.connections_per_address",
    )
    yield option(
        "handshake within",
        _DURATION,
        "10s",
        "How long a client may take from connecting to the end of the TLS handshake; the PROXY "
        "protocol's header, where one is required, comes out of the same time.",
        "5s",
    )
    yield option(
        "head within",
        _DURATION,
        "60s",
        "How long a client may take for a request's head: on a new connection until its first "
        "byte, and then from there to its last.",
        "20s",
    )
    yield option(
        "request line limit",
        formats.size(256),
        "8k",
        "The longest request line; longer ones get 414.",
        "16k",
    )
    yield option(
        "head limit",
        formats.size(1024),
        "32k",
        "The largest request head; larger ones get 431.",
        "64k",
    )
    yield option(
        "field limit",
        formats.integer(10, 10_000),
        "100",
        "The most fields of a request; more get 431.",
        "200",
    )
    yield option(
        "keep alive",
        _PATIENCE,
        "2m",
        "How long a client's connection is kept open while it asks for nothing.",
        "5m",
    )
    yield option(
        "progress within",
        _DURATION,
        "60s",
        "How long a body may stand still, either way, while somebody waits for more of it. A "
        "slow body that moves is never cut.",
        "2m",
    )
    yield option(
        "minimum rate",
        formats.size(),
        "100",
        "Bytes a second that a body must move at the least, on average over `progress within`, "
        "while somebody waits for more of it; slower ones are taken for an attack.",
        "1k",
    )
    yield option(
        "http2",
        formats.SWITCH,
        "on",
        "Speak HTTP/2 to clients that offer it.",
        "off",
    )
    yield option(
        "stream limit",
        formats.integer(1, 10_000),
        "128",
        "HTTP/2: requests open at once on one connection; more are refused.",
        "250",
    )
    yield option(
        "reset limit",
        formats.integer(1, 1_000_000),
        "100",
        "HTTP/2: requests that a client may cancel before their answer is complete, in any ten "
        "seconds on one connection; who cancels more is disconnected.",
        "500",
    )
    yield option(
        "control frame limit",
        formats.integer(10, 1_000_000),
        "1000",
        "HTTP/2: frames that ask for nothing but work (PING, SETTINGS, PRIORITY, empty DATA and "
        "the like), in any ten seconds on one connection; who sends more is disconnected.",
        "5000",
    )
    yield option(
        "waiting limit",
        formats.integer(1, 1000),
        "1000",
        "Requests that may wait for one site's server to wake or be found; more get 503.",
        "100",
    )
    yield option(
        "drain within",
        _PATIENCE,
        "30s",
        "How long open requests are given to finish when Snickers ends.",
        "10s",
    )
    yield option(
        "finish within",
        _PATIENCE,
        "1d",
        "Blue and red: how long a team that another one has taken over from, for good, may finish "
        "what it has open: downloads, uploads, event streams, WebSockets, passthrough. What is "
        "left when its team is started or deployed anew has `drain within` from then on.",
        "2h",
    )


def _acme() -> Iterable[Option]:
    yield option(
        "acme directory",
        addresses.url("https"),
        "https://acme-v02.api.letsencrypt.org/directory",
        "The certificate authority's ACME directory, for sites with `certificates = acme`.",
        "https://acme-staging-v02.api.letsencrypt.org/directory",
    )
    yield option(
        "acme fallback",
        addresses.url("https"),
        "",
        "The directory of another authority, which is asked when the first one is away, refuses, "
        "or has given as many certificates as it gives; empty: none.",
        "https://acme.example/directory",
        empty="",
    )
    yield option(
        "acme staging",
        addresses.url("https"),
        "",
        "The directory of the same authority's rehearsals: an order that has failed is tried there "
        "until it succeeds, since failures count against the limits of the real one. Empty: Let's "
        "Encrypt's where `acme directory` is Let's Encrypt's, else none.",
        "https://acme-staging-v02.api.letsencrypt.org/directory",
        empty="",
    )
    yield option(
        "acme email",
        formats.text("address", r"[!-~]+@[!-~]+", "admin@example.org"),
        "",
        "Whom the certificate authority may write to.",
        "admin@example.org",
        empty="",
    )
    yield option(
        "acme trust",
        formats.PATH,
        "",
        "A root certificate, besides the system's, for the TLS of the ACME directory itself.",
        "pebble.pem",
        empty="",
    )
    yield option(
        "acme profile",
        formats.text("name of a profile", r"[!-~]+", "tlsserver"),
        "",
        "Which of the authority's kinds of certificate is ordered, where it has several; empty: "
        "what it gives by itself.",
        "tlsserver",
        empty="",
    )
    yield option(
        "acme external account",
        formats.PATH,
        "",
        "A file with a line `KID KEY`, the key in base64url, by which an authority that wants "
        "so knows whose account it is. Nobody else may read it (`chmod 600`). For `acme "
        "directory`, not for the others.",
        "zerossl.key",
        empty="",
    )
    yield option(
        "acme dns hook",
        formats.PROGRAM,
        "",
        "A program that writes into the DNS, for names with `*` and `acme challenge = dns-01`: it "
        "is run as `HOOK add DOMAIN VALUE`, and later as `HOOK remove DOMAIN VALUE`, and sees to "
        "the TXT record DOMAIN (`_acme-challenge.` and a name).",
        "/usr/local/bin/dns-txt",
        empty=(),
    )
    yield option(
        "acme preflight",
        formats.SWITCH,
        "on",
        "Before an order, look whether the names lead here, whether their CAA records allow the "
        "authority, and whether a challenge would be answered. `off`: the authority is asked at "
        "once, as may be needed where this host cannot reach its own public address.",
        "off",
    )
    yield option(
        "acme resolver",
        formats.text("`ADDRESS:PORT`", r"(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}", "192.0.2.53:53"),
        "",
        "The DNS server that is asked by the preflight, and for whether what the hook has written "
        "is to be seen; empty: the system's.",
        "192.0.2.53:53",
        empty="",
    )
