"""What a person is told who tries Snickers."""

from __future__ import annotations

import shlex

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import (
    Configuration,
    Container,
    Fault,
    Lifecycle,
    Listen,
    Passthrough,
    Process,
    Proxy,
    Redirect,
    Settings,
    Site,
    Static,
    Where,
)
from snickers.welcome import welcome

HELLO = Site("hello.localhost", Static("/srv/hello"))
WWW = Site("www.localhost", Redirect("https://hello.localhost:8443"))
NOTES = Site("notes.localhost", Process(("./notes.py",)))


def told(*sites: Site, listen: Listen | None = None, http_port: int | None = 8080) -> str:
    """The text for *sites* without colours."""
    listens = (listen or Listen("tcp", "127.0.0.1", 8443),)
    configuration = Configuration(Settings(https=listens), {site.name: site for site in sites})
    return welcome(configuration, 8443, http_port, "var/ca.pem", False)


def curl(text: str) -> list[str]:
    """The words of the curl line, as a shell splits them."""
    return shlex.split(next(line for line in text.splitlines() if line.startswith("  curl ")))


class WelcomeTests(SynchronousTestCase):
    """The text."""

    def test_addresses(self) -> None:
        """Every enabled site has its address with the bound port, and what it is."""
        off = evolve(HELLO, name="off.localhost", enabled=False)
        text = told(HELLO, WWW, NOTES, off)
        self.assertIn("serves 3 sites", text)
        self.assertIn("  https://hello.localhost:8443/  a folder of files\n", text)
        self.assertIn("  https://www.localhost:8443/    sends visitors to https://hello", text)
        self.assertIn("  https://notes.localhost:8443/  an application of its own, started", text)
        self.assertNotIn("off.localhost", text)

    def test_kinds(self) -> None:
        """Containers are named by their image, proxies by their servers."""
        awake = Container("lamp:7", life=Lifecycle(wake="always"))
        text = told(Site("a.localhost", awake), Site("b.localhost", Proxy(("http://[::1]:1",))))
        self.assertIn("/  a container of lamp:7\n", text)
        several = Container(services="/c.yaml", life=Lifecycle(wake="always"))
        self.assertIn("/  the services of /c.yaml\n", told(Site("c.localhost", several)))
        self.assertIn("/  answered by http://[::1]:1\n", text)

    def test_unopened(self) -> None:
        """A site whose TLS is not opened says whither it goes; its certificate is not ours."""
        text = told(Site("a.localhost", Passthrough("tcp:box:443")))
        self.assertIn("/  carried unopened to box:443\n", text)
        self.assertNotIn("var/ca.pem", text)

    def test_curl(self) -> None:
        """The curl line trusts the authority, needs no DNS, and asks for a page."""
        self.assertEqual(
            curl(told(WWW, HELLO)),
            [
                *("curl", "--cacert", "var/ca.pem"),
                *("--resolve", "hello.localhost:8443:127.0.0.1"),
                "https://hello.localhost:8443/",
            ],
        )

    def test_pasted(self) -> None:
        """A folder with a space in its name survives the shell."""
        text = welcome(Configuration(Settings(), {"a.localhost": HELLO}), 1, None, "a b/ca", False)
        self.assertEqual(curl(text)[2], "a b/ca")

    def test_usual_port(self) -> None:
        """The port that browsers take anyway is not written."""
        text = welcome(Configuration(Settings(), {"a.localhost": HELLO}), 443, None, "ca", False)
        self.assertIn("  https://hello.localhost/  a", text)
        self.assertIn("hello.localhost:443:127.0.0.1", text)

    def test_reached(self) -> None:
        """Curl goes to the address that is listened on."""
        for listen, address in (
            (Listen("tcp", "", 8443), "127.0.0.1"),
            (Listen("tcp", "127.0.0.2", 8443), "127.0.0.2"),
            (Listen("tcp6", "::", 8443), "[::1]"),
            (Listen("tcp6", "fe80::1", 8443), "[fe80::1]"),
            (Listen("unix", "/run/https", 0), "127.0.0.1"),
        ):
            words = curl(told(HELLO, listen=listen))
            self.assertEqual(words[4], f"hello.localhost:8443:{address}")

    def test_own_certificates(self) -> None:
        """Where no site has an internal certificate, there is no authority to trust."""
        text = told(evolve(HELLO, certificates="files"))
        self.assertNotIn("var/ca.pem", text)
        self.assertEqual(curl(text)[1], "--resolve")

    def test_plain_http(self) -> None:
        """The plain port is named where there is one."""
        self.assertIn("port 8080", told(HELLO))
        self.assertNotIn("lain http", told(HELLO, http_port=None))

    def test_nothing_to_ask_for(self) -> None:
        """Wildcards have no address that curl could ask for, and there may be no site at all."""
        self.assertNotIn("curl", told(evolve(HELLO, name="*.localhost")))
        self.assertEqual(told(), "Snickers runs, and has no site yet.\n\n")

    def test_at_fault(self) -> None:
        """A site at fault is named."""
        fault = Fault(Where("a.ini", 3), "bad.localhost", "", "has no type")
        broken = Configuration(Settings(), {}, {"bad.localhost": (fault,)}, (fault,))
        self.assertIn("bad.localhost: at fault", welcome(broken, 8443, None, "ca", False))

    def test_colour(self) -> None:
        """Escapes come only where they are asked for."""
        configuration = Configuration(Settings(), {"hello.localhost": HELLO})
        self.assertIn("\x1b[1mhttps://", welcome(configuration, 8443, None, "ca", True))
        self.assertNotIn("\x1b", welcome(configuration, 8443, None, "ca", False))
