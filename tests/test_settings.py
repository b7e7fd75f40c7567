"""``[snickers]``: its values, its defaults, and two listeners on one address."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from snickers.config import ini
from snickers.config.settings import Whole, read_settings
from snickers.config.values import Listen, Settings, Where
from snickers.config.wrong import Wrong

FILES = {"/etc/root.pem": "-----BEGIN CERTIFICATE-----\n", "/etc/text": "no root"}


def read(path: str) -> str:
    if path not in FILES:
        raise Wrong("cannot be read: No such file or directory")
    return FILES[path]


def whole(options: str) -> Whole:
    """What a section with *options* says."""
    (section,) = ini.read("[snickers]\n" + options, "/etc/snickers.ini").sections
    return read_settings(section, read)


class SettingsTests(SynchronousTestCase):
    def test_nothing_said(self) -> None:
        """Without the section, and with an empty one, everything has its default."""
        self.assertEqual(read_settings(None, read).settings, Settings())
        self.assertEqual(whole("").settings, Settings())
        self.assertEqual(whole("").certificates, "internal")

    def test_everything_said(self) -> None:
        """Every option goes where it belongs."""
        said = whole(
            """
https = tcp:8443
http = tcp:8080
state = state
data = /srv/data
include = a.ini
reload every = never
certificates = files
certificate directory = certs
default site = Alice.example
alarm command = ./tell me
docker = tcp://10.0.0.1:2375
connection limit = 10
connection limit per address = 5
handshake within = 1s
head within = 2s
keep alive = 3s
progress within = 4s
drain within = 0s
"""
        )
        self.assertEqual(said.faults, ())
        self.assertEqual(
            said.settings,
            Settings(
                https=(Listen("tcp", "", 8443),),
                http=(Listen("tcp", "", 8080),),
                state="/etc/state",
                data="/srv/data",
                reload_every=float("inf"),
                certificate_directory="/etc/certs",
                default_site="alice.example",
                alarm_command=("/etc/tell", "me"),
                docker="tcp://10.0.0.1:2375",
                connections=10,
                connections_per_address=5,
                handshake_within=1.0,
                head_within=2.0,
                keep_alive=3.0,
                progress_within=4.0,
                drain_within=0.0,
            ),
        )
        self.assertEqual((said.certificates, said.include), ("files", ("/etc/a.ini",)))
        self.assertEqual(said.settings.where, Where("/etc/snickers.ini", 1))

    def test_no_plain_http(self) -> None:
        """An empty ``http`` listens nowhere; https must be somewhere."""
        said = whole("http =\n")
        self.assertEqual((said.faults, said.settings.http), ((), ()))
        (fault,) = whole("https =\n").faults
        self.assertEqual(fault.option, "https")

    def test_faults(self) -> None:
        """Every option at fault is told, those of sites too, and the others are read."""
        said = whole("https = 443\nport = 80\ncertificates = acne\nstate = /s\nheader.X = 1")
        self.assertEqual(
            sorted(f.option for f in said.faults), ["certificates", "header.X", "https", "port"]
        )
        self.assertEqual(said.settings.state, "/s")

    def test_acme_trust(self) -> None:
        """A file of roots has some: else no certificate could ever be ordered."""
        self.assertEqual(whole("acme trust = root.pem").faults, ())
        for path, words in (
            ("/etc/text", "has no certificate in PEM"),
            ("/etc/gone", "cannot be read: No such file or directory; name the file of the root"),
        ):
            (fault,) = whole(f"acme trust = {path}").faults
            self.assertIn(f"/etc/snickers.ini:2: [snickers] acme trust: {path} {words}", str(fault))

    def test_clashes(self) -> None:
        """An address that is listened on twice is a fault of the later option."""
        for options, option in [
            ("https = tcp:443 tcp:443", "https"),
            ("http = tcp:443", "http"),
            ("https = tcp:443:interface=127.0.0.1\nhttp = tcp:443", "http"),
            ("https = unix:/a\nhttp = unix:/a", "http"),
            ("https = tcp:443\nmetrics = tcp:443:interface=127.0.0.1", "metrics"),
        ]:
            (fault,) = whole(options).faults
            self.assertEqual(fault.option, option)
            self.assertIn("is listened on twice; keep one of the two", fault.message)

    def test_copies_among_sites(self) -> None:
        """Copies cannot be kept where the sites' own folders are: they would contain themselves."""
        for folder in ("/srv/d", "/srv/d/", "/srv/d/copies"):
            (fault,) = whole(f"data = /srv/d\nsnapshots directory = {folder}").faults
            self.assertEqual((fault.option, fault.where.line), ("snapshots directory", 3))
            self.assertIn("is in data (/srv/d)", fault.message)
        for folder in ("/srv", "/srv/d2", "/backup"):
            said = whole(f"data = /srv/d\nsnapshots directory = {folder}")
            self.assertEqual(said.faults, ())

    def test_next_to_nothing_free(self) -> None:
        """Who forgets the unit is told, rather than never heard."""
        (fault,) = whole("keep free = 512").faults
        self.assertIn("512 is too small; the least is 1m", fault.message)

    def test_no_clashes(self) -> None:
        """Other families, other addresses and free ports do not clash."""
        for options in [
            "https = tcp:443 tcp6:443",
            "https = tcp:443:interface=127.0.0.1 tcp:443:interface=127.0.0.2",
            "https = tcp:0 tcp:0",
            "https = unix:/a unix:/b",
        ]:
            self.assertEqual(whole(options).faults, ())
