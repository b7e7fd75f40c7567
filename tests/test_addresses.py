"""Addresses: endpoints, URLs, upstreams, engines and networks as they are written."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint, serverFromString
from twisted.internet.testing import MemoryReactor

from snickers.config import addresses
from snickers.config.values import Listen
from snickers.config.wrong import NotYet, Wrong
from tests.format_case import HERE, FormatCase

FIXED = settings(derandomize=True, deadline=None, max_examples=300)


class AddressTests(FormatCase):
    """Each kind of address."""

    def test_endpoints(self) -> None:
        """Endpoints are Twisted's strings for tcp, tcp6 and unix."""
        self.reads(
            addresses.ENDPOINTS,
            {
                "tcp:443": (Listen("tcp", "", 443),),
                "tcp:port=0:interface=127.0.0.1": (Listen("tcp", "127.0.0.1", 0),),
                "tcp:443 tcp6:443\nunix:/run/s": (
                    Listen("tcp", "", 443),
                    Listen("tcp6", "", 443),
                    Listen("unix", "/run/s", 0),
                ),
                r"tcp6:443:interface=\:\:1:backlog=50": (Listen("tcp6", "::1", 443, 50),),
                "unix:s.sock": (Listen("unix", "/etc/snickers/s.sock", 0),),
                r"unix:/a\:b": (Listen("unix", "/a:b", 0),),
            },
        )
        self.refuses(addresses.ENDPOINTS, "is not an endpoint", "443", "ssl:443", ":443", "\\")
        self.refuses(addresses.ENDPOINTS, "not a port", "tcp:", "tcp:x", "tcp:65536", "tcp:-1")
        self.refuses(
            addresses.ENDPOINTS, "not understood", "tcp:443:1", "tcp:443:mode=7", "tcp6:1::1"
        )
        self.refuses(addresses.ENDPOINTS, "no path", "unix:")
        self.refuses(addresses.ENDPOINTS, "not an address of this host", "tcp:1:interface=eth0")
        self.refuses(addresses.ENDPOINTS, "is an address for tcp6", r"tcp:1:interface=\:\:1")
        self.refuses(addresses.ENDPOINTS, "is an address for tcp:", "tcp6:1:interface=127.0.0.1")

    def test_endpoints_as_twisted_reads_them(self) -> None:
        """What is shown means to Twisted what it means here."""
        reactor = MemoryReactor()
        for listen in [Listen("tcp", "127.0.0.1", 8443, 50), Listen("tcp6", "::1", 443, 70)]:
            endpoint = serverFromString(reactor, addresses.show_endpoint(listen))
            family = TCP4ServerEndpoint if listen.family == "tcp" else TCP6ServerEndpoint
            self.assertIsInstance(endpoint, family)
            self.assertEqual(
                (endpoint._port, endpoint._interface, endpoint._backlog),
                (listen.port, listen.interface, listen.backlog),
            )

    @FIXED
    @given(
        st.lists(
            st.sampled_from(["tcp", "tcp6", "unix", *":=\\", "80", "interface", "/a"]), max_size=9
        )
    )
    def test_any_endpoint(self, pieces: list[str]) -> None:
        """Any string is refused in words, or shows as one that reads the same."""
        text = "".join(pieces)
        try:
            value = addresses.ENDPOINTS.read(text, HERE)
        except Wrong as wrong:
            self.assertTrue(str(wrong))
        else:
            shown = addresses.ENDPOINTS.show(value)
            self.assertEqual(addresses.ENDPOINTS.read(shown, HERE), value)

    def test_urls(self) -> None:
        """URLs have one of some schemes and a host; the host is in A-labels."""
        read = addresses.url("http", "https")
        self.reads(
            read,
            {
                "HTTPS://Www.Example": "https://www.example",
                "http://[::1]:8080/x?y#z": "http://[::1]:8080/x?y#z",
                "http://127.0.0.1/": "http://127.0.0.1/",
                "https://{host}/a": "https://alice.example/a",
                "http://bücher.example:080": "http://xn--bcher-kva.example:80",
            },
        )
        self.refuses(read, "is not a URL of the form", "x", "ftp://a.example", "http://", "http:/a")
        self.refuses(read, "is not a URL of the form", "http://u@a.example", "http://a b")
        self.refuses(read, "not a host name", "http://a_b/", "http://-/")
        self.refuses(read, "is an address", "http://1.2.3/")
        self.refuses(read, "not an IPv6", "http://[1.2]/")
        self.refuses(read, "not a port", "http://a:65536/")
        self.refuses(read, "port 0", "http://a:0/")
        self.refuses(read, "ASCII", "http://a.example/ä")

    def test_upstreams(self) -> None:
        """An upstream is an http or https URL without a path, or a unix socket."""
        self.reads(
            addresses.UPSTREAMS,
            {
                "http://127.0.0.1:3000": ("http://127.0.0.1:3000",),
                "HTTP://Inner.example/": ("http://inner.example",),
                "unix:/run/x": ("unix:/run/x",),
                "unix:///run/x": ("unix:/run/x",),
                "unix:x.sock": ("unix:/etc/snickers/x.sock",),
                "unix:{data}/x": ("unix:/data/alice.example/x",),
            },
        )
        self.refuses(addresses.UPSTREAMS, "has a path", "http://a.example/x", "http://a.example/?x")
        self.refuses(addresses.UPSTREAMS, "write http://HOST:PORT", "127.0.0.1:3000", "tcp:a:1")
        self.refuses(addresses.UPSTREAMS, "has no path", "unix:")
        self.reads(
            addresses.UPSTREAMS,
            {
                "https://A.example http://b": ("https://a.example", "http://b"),
                "https://[::1]:443 http://a:443": ("https://[::1]", "http://a:443"),
            },
        )
        self.refuses(addresses.UPSTREAMS, "twice", "http://a http://A", "http://a:80 http://a")

    def test_verify(self) -> None:
        """Whose certificate is expected: a name or an address, in one spelling, or nobody's."""
        self.reads(
            addresses.VERIFY,
            {
                "off": "off",
                "OFF": "off",
                "Inner.Example.": "inner.example",
                "bücher.example": "xn--bcher-kva.example",
                "10.0.0.7": "10.0.0.7",
                "[2001:DB8::0:1]": "2001:db8::1",
            },
        )
        self.refuses(addresses.VERIFY, "is not a host name", "a_b", "*.a.example", "a b", "a..b")

    def test_passthrough(self) -> None:
        """A passthrough goes to a host and a port."""
        self.reads(addresses.PASSTHROUGH, {"tcp:A:443": "tcp:a:443", "tcp:[::1]:1": "tcp:[::1]:1"})
        self.refuses(addresses.PASSTHROUGH, "tcp:HOST:PORT", "a:443", "tcp:a", "tcp:a:0")

    def test_engine(self) -> None:
        """Docker's engine is at a unix socket or a TCP port."""
        self.reads(
            addresses.ENGINE,
            {
                "unix:///var/run/docker.sock": "unix:///var/run/docker.sock",
                "tcp://10.0.0.1:2375": "tcp://10.0.0.1:2375",
            },
        )
        self.refuses(
            addresses.ENGINE, "is not an engine", "/var/run/docker.sock", "unix://x", "tcp://a"
        )
        self.assertRaises(NotYet, addresses.ENGINE.read, "ssh://me@there", HERE)

    def test_networks(self) -> None:
        """Addresses and networks, each in one spelling."""
        value = ("192.0.2.7/32", "10.0.0.0/8", "2001:db8::/32")
        self.reads(addresses.NETWORKS, {"192.0.2.7 10.0.0.0/8 2001:DB8::/32": value})
        self.refuses(addresses.NETWORKS, "no network", "10.0.0.1/8", "a", "10.0.0.0/33")

    def test_trusted(self) -> None:
        """Those who speak the PROXY protocol are addresses, networks, and unix sockets."""
        value = ("10.0.0.0/8", "unix")
        self.reads(addresses.TRUSTED, {"10.0.0.0/8 unix": value, "unix 10.0.0.0/8": value})
        self.refuses(addresses.TRUSTED, "no network", "unix:/path", "a")
