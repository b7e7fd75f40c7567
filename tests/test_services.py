"""The file of services, as a site's section names it."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from snickers.config.services import Services, look

TEXT = "services: {web: {image: '${IMAGE}', volumes: ['${SNICKERS_DATA}/x:/x']}}"


def found(text: str = TEXT, own: tuple[str, ...] = (), service: str = "") -> Services:
    environment = {"IMAGE": "x", "TZ": "UTC"}
    return look("/c.yaml", text, service, "a.example", "/data/a", environment, own, ["/run/d"])


NOTHING = """
import sys
from snickers.config.parse import parse
import snickers.tap, snickers.containers.docker
site = "[a.example]\\ntype = container\\nimage = x\\n"
assert parse([("/s.ini", site)]).sites
sys.exit("yaml" in sys.modules)
"""


class ServicesTests(SynchronousTestCase):
    def test_nothing_loaded(self) -> None:
        """Where no site has such a file, what reads them is not even imported."""
        done = subprocess.run([sys.executable, "-c", NOTHING], check=False)
        self.assertEqual(done.returncode, 0)

    def test_good(self) -> None:
        """The only service answers, where none is named."""
        self.assertEqual(found(), Services("web"))
        self.assertEqual(found(own=("IMAGE",)), Services("web"))

    def test_faults(self) -> None:
        """What is wrong is told with the file, and of the option that it concerns."""
        self.assertEqual(found("x: 1").faults[0][0], "services")
        self.assertTrue(found("x: 1").faults[0][1].startswith("/c.yaml: it is no compose file"))
        (fault,) = found(TEXT.replace("SNICKERS_DATA}/x", "NOWHERE}/x")).faults
        self.assertEqual(fault[0], "services")
        self.assertIn("/c.yaml: line 1: ${NOWHERE} has no value", fault[1])
        (fault,) = found(service="www").faults
        self.assertIn("no service 'www'", fault[1])

    def test_unused(self) -> None:
        """A variable that the site itself sets and the file does not use would have no effect;
        one that all sites get may be of no use to this one."""
        ((option, words),) = found(own=("TZ",)).faults
        self.assertEqual(option, "env.TZ")
        self.assertIn("/c.yaml does not use it", words)
