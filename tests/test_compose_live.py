"""A real Snickers and a site with a database: woken and put to sleep together, by its visitors."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import composition, recipe
from snickers.containers.engine import owner_of
from tests import docker_setup
from tests.live_setup import Snickers
from tests.test_compose import tool

WITHIN = 180.0
"""Seconds for any one step."""

SETTINGS = """
[snickers]
https = tcp:443
http = tcp:80
state = state
data = data
reload every = never
docker = {docker}
"""
SITE = """
[shop.localhost]
type = container
services = shop.yaml
service = web
pull = never
health = /index.html
hold = 180s
wake within = 180s
idle after = {idle}
stop within = 1s
env.GREETING = hello
"""
FILE = r"""
services:
  web:
    image: {image}
    depends_on: {{db: {{condition: service_healthy}}}}
    command:
      - sh
      - -c
      - |
        mkdir -p /www
        printf 'GET /goods HTTP/1.0\r\n\r\n' | nc db 5432 | sed '1,/^.$$/d' > /www/index.html
        exec httpd -f -p 80 -h /www
  db:
    image: {image}
    environment: [GREETING]
    volumes: ["./db:/srv"]
    command: >
      sh -c 'busybox rm -f /ready; echo the database begins; sleep 1;
      echo $$GREETING {goods} > /srv/goods; touch /ready; exec httpd -f -p 5432 -h /srv'
    healthcheck: {{test: [CMD, test, -e, /ready], interval: 1s, retries: 30}}
"""


def tools() -> list[str]:
    """Return the compose tools that run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "snickers-shop_localhost-" in line:
            found.append(line)
    return found


class ComposeLiveTests(SynchronousTestCase):
    def setUp(self) -> None:
        tool()
        self.image = docker_setup.image()
        self.settings = SETTINGS.format(docker=docker_setup.docker_url())

        def prepare(folder: Path) -> None:
            (folder / "shop.yaml").write_text(self.file("goods"))

        self.snickers = Snickers(self, SITE.format(idle="30m"), self.settings, prepare=prepare)
        self.owner = owner_of(str(self.snickers.folder / "state"))
        self.addCleanup(docker_setup.remove_all, self.owner)
        self.addCleanup(self.snickers.kill)

    def file(self, goods: str) -> str:
        return FILE.format(image=self.image, goods=goods)

    def containers(self) -> dict[str, Any]:
        """Those that run, by their services."""
        client = docker_setup.client()
        mine = {"label": f"{recipe.OWNER}={self.owner}"}
        found = [client.inspect_container(each["Id"]) for each in client.containers(filters=mine)]
        return {each["Config"]["Labels"][composition.SERVICE]: each for each in found}

    def until(self, holds: Callable[[], Any], words: str) -> Any:
        deadline = time.monotonic() + WITHIN
        while not (found := holds()):
            assert time.monotonic() < deadline, (words, self.snickers.log.read_text()[-3000:])
            time.sleep(0.1)
        return found

    def status(self) -> Any:
        return self.snickers.asked("status", "shop.localhost")

    def test_services(self) -> None:
        """A visitor wakes both, the database first; idle, both end; a database that is killed is
        told in ``status``, and the next visitor wakes both again; a changed file is a changed
        site."""
        snickers = self.snickers
        self.assertEqual(snickers.get("shop.localhost"), (200, b"hello goods\n"))
        made = self.containers()
        self.assertEqual(set(made), {"web", "db"})
        began = {name: each["State"]["StartedAt"] for name, each in made.items()}
        self.assertLess(began["db"], began["web"])
        kept = snickers.folder / "data" / "shop.localhost" / "db" / "goods"
        self.assertEqual(kept.read_text(), "hello goods\n")

        docker_setup.client().kill(made["db"]["Id"])
        # Its state is that for some seconds only, which a busy machine may take to answer.
        crashed = "Its service db ended with code 137 (SIGKILL)."
        self.until(lambda: self.status()["detail"] == crashed, "no crash is told")
        self.until(lambda: not self.containers(), "what is left runs on")
        words = snickers.command("status", "shop.localhost").stdout
        self.assertIn("Its service db ended", words)
        self.until(
            lambda: "db | the database begins" in self.status()["last_words"], "no last words"
        )
        self.until(lambda: snickers.get("shop.localhost")[0] == 200, "it does not come back")
        self.assertEqual(set(self.containers()), {"web", "db"})

        (snickers.folder / "shop.yaml").write_text(self.file("bargains"))
        done = snickers.reload(SITE.format(idle="30m"))
        path = str(snickers.folder / "shop.yaml")
        (changed,) = done["changed"]
        self.assertEqual(changed["options"], {"services": [path, f"{path} (another content)"]})
        self.until(
            lambda: snickers.get("shop.localhost") == (200, b"hello bargains\n"), "it is as before"
        )

        # The same servers, adopted: only when they sleep is another.
        adopted = {name: each["Id"] for name, each in self.containers().items()}
        snickers.reload(SITE.format(idle="1s"))
        self.until(lambda: not self.containers(), "it does not fall asleep")
        self.assertEqual(snickers.get("shop.localhost"), (200, b"hello bargains\n"))
        self.assertEqual({n: each["Id"] for n, each in self.containers().items()}, adopted)

    def test_killed_in_the_middle(self) -> None:
        """Killed while it starts them, Snickers takes the compose tool with it; the next one ends
        what was left, and a visitor wakes both."""
        snickers = self.snickers
        slow = self.file("goods").replace("sleep 1;", "sleep 4;")
        (snickers.folder / "shop.yaml").write_text(slow)
        snickers.reload(SITE.format(idle="30m"))
        with snickers.connect("shop.localhost") as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
            self.until(lambda: set(self.containers()) == {"db"}, "the database does not start")
            snickers.kill()
        self.until(lambda: not tools(), "the tool runs on")
        self.assertEqual(set(self.containers()), {"db"})

        def prepare(folder: Path) -> None:
            (folder / "shop.yaml").write_text(slow)
            (folder / "state").symlink_to(snickers.folder / "state")

        settings = self.settings.replace("data = data", f"data = {snickers.folder}/data")
        again = Snickers(self, SITE.format(idle="30m"), settings, prepare=prepare)
        self.addCleanup(again.kill)
        self.until(lambda: not self.containers(), "what is left runs on")
        self.assertEqual(again.get("shop.localhost"), (200, b"hello goods\n"))

    def test_at_fault(self) -> None:
        """A file that would take the site out of its bounds is refused by ``check``, with the
        line."""
        path = self.snickers.folder / "shop.yaml"
        path.write_text(self.file("goods") + "    privileged: true\n")
        done = self.snickers.command("check")
        self.assertEqual(done.returncode, 1)
        said = done.stdout + done.stderr
        number = len(path.read_text().splitlines())
        self.assertIn(f"services: {path}: line {number}: services.db.privileged: ", said)
