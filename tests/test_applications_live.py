"""Two applications of the catalogue, really run: woken, used, put to sleep with what they know, and
woken again to find it there. With a real Docker and a real Snickers, and images made here."""

from __future__ import annotations

import http.client
import os
import shutil
import sqlite3
import subprocess
import tarfile
from base64 import b64encode
from collections.abc import Sequence
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode

from docker.types import Mount
from twisted.trial.unittest import SkipTest, TestCase

from snickers.config.parse import parse
from snickers.containers import recipe
from snickers.containers.engine import owner_of
from tests import application_images, docker_setup
from tests.live_setup import SETTINGS, WITHIN, Snickers

CATALOGUE = Path(__file__).parent.parent / "etc" / "applications"

EVENT = """BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//example//test//EN\r
BEGIN:VEVENT\r
UID:chestnuts@example\r
DTSTAMP:20260102T030405Z\r
DTSTART:20260103T090000Z\r
DTEND:20260103T100000Z\r
SUMMARY:Roast the chestnuts\r
END:VEVENT\r
END:VCALENDAR\r
"""

FIND_EVENTS = """<?xml version="1.0"?>
<c:calendar-query xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav">
<d:prop><d:getetag/><c:calendar-data/></d:prop>
<c:filter><c:comp-filter name="VCALENDAR"><c:comp-filter name="VEVENT">
<c:time-range start="20260103T000000Z" end="20260104T000000Z"/>
</c:comp-filter></c:comp-filter></c:filter>
</c:calendar-query>
"""


class Form(HTMLParser):
    """Gathers the fields of the form with the id *wanted*, as a browser would send them."""

    def __init__(self, wanted: str, page: str) -> None:
        super().__init__()
        self._wanted = wanted
        self._inside = False
        self._area = ""
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._inside = given.get("id") == self._wanted
        elif self._inside and tag == "textarea":
            self._area = given["name"]
            self.fields[self._area] = ""
        elif self._inside and tag == "input" and given.get("type") == "hidden":
            self.fields[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._area = ""
        elif tag == "form":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._area:
            self.fields[self._area] += data


class RootTestCase(TestCase):
    """Is left out where no folder can be given to the user of an application."""

    def setUp(self) -> None:
        if os.geteuid():
            raise SkipTest("Only root can give a folder to another user.")


class ApplicationTestCase(RootTestCase):
    """Has a Snickers that uses the catalogue, with one site."""

    host = "site.example"

    def begin(self, application: str, image: str) -> None:
        """Start Snickers with a site of *application*, of which only the image is another one."""
        self.snickers: Snickers | None = None
        self.addCleanup(self.clean)
        text = f"""
include = {CATALOGUE}/*.ini

[{self.host}]
application = {application}
image = {image}
pull = never
"""
        settings = SETTINGS.replace("unix:///nonexistent", docker_setup.docker_url())
        self.snickers = Snickers(self, text, settings)
        self.data = self.snickers.folder / "data" / self.host

    def clean(self) -> None:
        """Remove what Snickers has made; it has ended by now."""
        if self.snickers is not None:
            docker_setup.remove_all(self.owner)

    @property
    def owner(self) -> str:
        """What tells the containers of this Snickers from others'."""
        return owner_of(str(self.snickers.folder / "state"))

    def ask(
        self, method: str, path: str, body: str = "", **fields: str
    ) -> tuple[http.client.HTTPResponse, str]:
        """Make a request as a visitor does; return the answer and its text."""
        connection = http.client.HTTPConnection(self.host, timeout=WITHIN)
        connection.sock = self.snickers.connect(self.host)
        self.addCleanup(connection.close)
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        connection.request(method, path, body.encode() or None, named)
        answer = connection.getresponse()
        return answer, answer.read().decode()

    def state(self) -> str:
        """Return the state of the site, as its owner is told."""
        (site,) = self.snickers.asked("status")["sites"]
        return site["state"]

    def sleep(self) -> dict[str, bytes]:
        """Put the site to sleep; return the files that its snapshot has packed."""
        self.assertEqual(self.state(), "awake")
        # By its owner: tests beside this one have sites of the same name.
        owned = {"label": f"{recipe.OWNER}={self.owner}"}
        (container,) = docker_setup.client().containers(filters=owned)
        memory = docker_setup.client().stats(container["Id"], stream=False)["memory_stats"]
        print(
            "MEMORY",
            self.id(),
            memory["usage"] / 2**20,
            memory.get("stats", {}).get("anon", 0) / 2**20,
        )
        self.assertLess(memory["usage"], memory["limit"] / 2)
        self.assertFalse((self.data / "snapshot.tar.gz").exists())
        done = self.snickers.command("sleep", self.host)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(self.state(), "asleep")
        self.assertFalse((self.data / "snapshot.new").exists())
        with tarfile.open(self.data / "snapshot.tar.gz") as archive:
            files = [member for member in archive if member.isfile()]
            return {member.name: archive.extractfile(member).read() for member in files}


class RadicaleTests(ApplicationTestCase):
    """``etc/applications/radicale.ini``."""

    def test_calendar(self) -> None:
        """An event that was written by CalDAV is in the snapshot, and there after a sleep."""
        openssl = shutil.which("openssl")
        self.begin("radicale", application_images.radicale())
        hashed = subprocess.check_output([openssl, "passwd", "-5", "roasted"], text=True).strip()
        self.data.mkdir(parents=True)
        os.chown(self.data, 1000, 1000)
        (self.data / "users").write_text(f"alice:{hashed}\n")
        alice = {"Authorization": "Basic " + b64encode(b"alice:roasted").decode()}
        event = "/alice/chestnuts/event.ics"

        # The page is for everybody, and what alice has is not.
        answer, page = self.ask("GET", "/.web/")
        self.assertEqual(answer.status, 200)
        self.assertIn("Radicale", page)
        self.assertEqual(self.ask("PROPFIND", "/alice/", Depth="0")[0].status, 401)

        self.assertEqual(self.ask("MKCALENDAR", "/alice/chestnuts/", **alice)[0].status, 201)
        answer, _ = self.ask("PUT", event, EVENT, Content_Type="text/calendar", **alice)
        self.assertEqual(answer.status, 201)

        kept = self.sleep()
        self.assertIn(b"Roast the chestnuts", kept["collections/collection-root" + event])

        answer, found = self.ask("REPORT", "/alice/chestnuts/", FIND_EVENTS, Depth="1", **alice)
        self.assertEqual(answer.status, 207)
        self.assertIn("SUMMARY:Roast the chestnuts", found)
        self.assertEqual(self.ask("GET", event, **alice)[1].count("UID:chestnuts@example"), 1)
        self.assertEqual(self.state(), "awake")


class DokuWikiTests(ApplicationTestCase):
    """``etc/applications/dokuwiki.ini``."""

    def send(self, path: str, form: dict[str, str], **fields: str) -> http.client.HTTPResponse:
        """Send a form as a browser does; return the answer."""
        kind = "application/x-www-form-urlencoded"
        return self.ask("POST", path, urlencode(form), Content_Type=kind, **fields)[0]

    def install(self) -> None:
        """Fill in the form of the first visit: who is the owner, and that all may read."""
        owner = {"superuser": "alice", "fullname": "Alice", "email": "alice@site.example"}
        password = {"password": "roasted", "confirm": "roasted"}
        form = {"title": "Notes", "acl": "1", "policy": "1", "license": "0", **owner, **password}
        named = {f"d[{name}]": value for name, value in form.items()}
        self.assertEqual(self.send("/install.php", {**named, "submit": ""}).status, 200)

    def log_in(self) -> str:
        """Return the cookies of one who is known as the owner."""
        jar = {}
        answer, page = self.ask("GET", "/doku.php?id=start&do=login")
        fields = Form("dw__login", page).fields | {"u": "alice", "p": "roasted"}
        for _ in range(2):
            for cookie in answer.headers.get_all("Set-Cookie", []):
                name, _, value = cookie.partition(";")[0].partition("=")
                jar[name] = value
            cookies = "; ".join(f"{name}={value}" for name, value in jar.items())
            if "u" in fields:
                answer = self.send("/doku.php?id=start", fields, Cookie=cookies)
                fields = {}
        return cookies

    def test_page(self) -> None:
        """A page that was edited by its form is in the snapshot, and there after a sleep."""
        self.begin("dokuwiki", application_images.dokuwiki())
        self.install()
        session = self.log_in()

        edit = "/doku.php?" + urlencode({"id": "chestnuts", "do": "edit"})
        self.assertNotIn("do[save]", self.ask("GET", edit)[1])
        answer, page = self.ask("GET", edit, Cookie=session)
        self.assertIn("do[save]", page)
        fields = Form("dw__editform", page).fields
        self.assertTrue(fields["sectok"])
        fields |= {"wikitext": "====== Roasting ======\n\nWell **slit** first.\n", "do[save]": "1"}
        answer = self.send("/doku.php?id=chestnuts", fields, Cookie=session)
        self.assertIn(answer.status, (302, 303))
        # The wiki knows by what name and how its visitor has come.
        self.assertTrue(answer.headers["Location"].startswith(f"https://{self.host}/"))

        kept = self.sleep()
        self.assertEqual(
            kept["data/pages/chestnuts.txt"], b"====== Roasting ======\n\nWell **slit** first.\n"
        )
        self.assertIn(b"alice:", kept["conf/users.auth.php"])
        self.assertEqual([name for name in kept if name.startswith("data/cache/")], [])

        answer, page = self.ask("GET", "/doku.php?id=chestnuts")
        self.assertEqual(answer.status, 200)
        self.assertIn("Well <strong>slit</strong> first.", page)
        self.assertEqual(self.state(), "awake")


class PhpTests(RootTestCase):
    """What is said of applications that were not run, as far as PHP alone can show it."""

    def run_inside(self, command: Sequence[str], user: str, *mounts: tuple[Path, str]) -> str:
        """Run *command* in a container of PHP's, with nothing but *mounts*; return its id."""
        client = docker_setup.client()
        mounted = [Mount(inside, str(outside), "bind") for outside, inside in mounts]
        host = client.create_host_config(
            network_mode="none", cap_drop=["ALL"], mounts=mounted, init=True
        )
        image = application_images.dokuwiki()
        made = client.create_container(
            image, entrypoint=list(command), user=user, host_config=host
        )["Id"]
        self.addCleanup(client.remove_container, made, force=True)
        client.start(made)
        return made

    def snapshot(self, application: str, folder: Path) -> None:
        """Run the snapshot command of *application*, whose site has the folder *folder*."""
        text = (CATALOGUE / f"{application}.ini").read_text()
        site = f"[{application}.example]\napplication = {application}\n"
        (found,) = parse([("/sites.ini", site), ("/application.ini", text)]).sites.values()
        made = self.run_inside(found.kind.life.snapshot, found.kind.user, (folder, found.kind.data))
        ended = docker_setup.client().wait(made, timeout=WITHIN)
        self.assertEqual((ended["StatusCode"], docker_setup.client().logs(made)), (0, b""))

    def look(self, application: str, database: str) -> None:
        """See that the snapshot command of *application* copies a database that is in use."""
        folder = Path(self.mktemp()).absolute()
        path = folder / database
        path.parent.mkdir(parents=True)
        for each in (folder, *path.parent.parents, path.parent):
            if each.is_relative_to(folder):
                os.chown(each, 33, 33)
        # Before there is one there is nothing to copy, and nothing wrong.
        self.snapshot(application, folder)
        self.assertEqual(os.listdir(path.parent), [])

        for mode in ("wal", "delete"):
            with closing(sqlite3.connect(path)) as used:
                used.execute(f"pragma journal_mode = {mode}")
                used.execute("create table if not exists chestnuts (kind)")
                used.execute("insert into chestnuts values ('sweet')")
                used.commit()
                for each in path.parent.iterdir():
                    os.chown(each, 33, 33)
                used.execute("insert into chestnuts values ('not finished')")
                if mode == "delete":
                    used.rollback()
                self.snapshot(application, folder)
            copy = path.with_name(path.name + ".snapshot")
            with closing(sqlite3.connect(copy)) as copied:
                self.assertEqual(copied.execute("pragma integrity_check").fetchall(), [("ok",)])
                rows = copied.execute("select kind from chestnuts").fetchall()
            self.assertEqual(rows, [("sweet",)] * (1 if mode == "wal" else 2))
            self.assertFalse(path.with_name(path.name + ".new").exists())

    def test_nextcloud(self) -> None:
        """Nextcloud's database is copied whole while it is used, without what is unfinished."""
        self.look("nextcloud", "data/nextcloud.db")

    def test_wordpress(self) -> None:
        """So is that of WordPress."""
        self.look("wordpress", "wp-content/database/.ht.sqlite")

    def test_port_80(self) -> None:
        """Who is not root and has no capability can listen on port 80, as those two do."""
        serve = ["php", "-S", "0.0.0.0:80", "-t", "/tmp"]
        made = self.run_inside(serve, "33:33")
        said = b""
        for piece in docker_setup.client().logs(made, stream=True, follow=True):
            said += piece
            if b"started" in said:
                return
        self.fail(said.decode())
