"""A network for each site."""

from __future__ import annotations

from attrs import evolve

from snickers.config.values import Container
from snickers.containers import networks
from snickers.containers.dockerapi import Refused
from snickers.containers.dockerd import Dockerd
from snickers.containers.errand import Errand
from tests.docker_fake import FakeApi
from tests.dockerd_case import ALICE, NAME, SITE, DockerdTestCase


class NetworkTests(DockerdTestCase):
    """What network a container joins."""

    def subnet(self) -> str:
        return self.docker.nets[NAME[1:] + ".me"]["IPAM"]["Config"][0]["Subnet"]

    def test_own(self) -> None:
        """Each site has a network of its own, a small one out of the pool, kept while it sleeps."""
        self.start()
        self.talk().start(evolve(ALICE, site="bob.example"), "new", Errand())
        self.dockerd.stop(SITE, 1, Errand())
        self.start()
        subnets = [net["IPAM"]["Config"][0]["Subnet"] for net in self.docker.nets.values()]
        self.assertEqual(subnets, ["10.213.0.0/28", "10.213.0.16/28"])

    def test_taken(self) -> None:
        """What other networks of Docker or routes of this host have is not taken."""
        self.dockerd._api.local = True
        self.patch(
            networks,
            "_routes",
            lambda: "head\neth0\t1000D50A\t0\t1\t0\t0\t0\tF0FFFFFF\n",
        )
        self.dockerd._api.make_network("other", "10.213.0.0/28", {})
        self.start()
        self.assertEqual(self.subnet(), "10.213.0.32/28")

    def test_internal(self) -> None:
        """Networks lead elsewhere unless they are not to."""
        self.start()
        apart = Dockerd(FakeApi(self.docker), "apart", "10.213.0.0/16", internal=True)
        apart.start(evolve(ALICE, site="bob.example"), "new", Errand())
        self.assertEqual([net["Internal"] for net in self.docker.nets.values()], [False, True])

    def test_internal_from_now_on(self) -> None:
        """One that is to lead nowhere is not the one that did not when it was made, nor the other
        way round; each is found again."""
        own = self.dockerd.networks.own
        open_, closed = own(SITE, "back"), own(SITE, "back", internal=True)
        self.assertEqual(
            [self.docker.nets[name]["Internal"] for name in (open_, closed)], [False, True]
        )
        self.assertEqual(own(SITE, "back"), open_)
        self.assertEqual(own(SITE, "back", internal=True), closed)

    def test_race(self) -> None:
        """A network that somebody takes at the same moment is left to them."""
        self.docker.refusals["make_network"] = [Refused(403, "Pool overlaps")] * 2
        self.start()
        self.assertEqual(self.subnet(), "10.213.0.32/28")

    def test_many_at_once(self) -> None:
        """Sites that are woken at the same moment choose one after the other: what one finds free
        is still free when it asks for it, however many there are."""
        held = []

        class Turn:
            """A lock that says when it is held."""

            now = False

            def __enter__(self) -> None:
                self.now = True

            def __exit__(self, *_: object) -> None:
                self.now = False

        turn = Turn()
        self.patch(networks, "Lock", lambda: turn)
        dockerd = self.talk()
        api = dockerd._api
        make, list_ = api.make_network, api.networks
        self.patch(api, "make_network", lambda *args: (held.append(turn.now), make(*args))[1])
        self.patch(
            api,
            "networks",
            lambda labels: (labels or held.append(turn.now), list_(labels))[1],
        )
        dockerd.networks.own(SITE)
        self.assertEqual(held, [True, True])
        self.assertFalse(turn.now)

    def test_none_left(self) -> None:
        """When all are refused it is said, with what to do."""
        self.docker.refusals["make_network"] = [Refused(403, "Pool overlaps")] * 9
        self.assertIn("10.213.0.0/16: Pool overlaps", self.fails())

    def test_name_taken(self) -> None:
        """A network of somebody else with the same name is no hindrance."""
        self.dockerd._api.make_network(NAME[1:] + ".me", "10.213.0.0/28", {})
        self.start()
        self.start()
        self.assertEqual(len(self.docker.nets), 2)

    def test_configured(self) -> None:
        """A configured network is joined and not made, nor removed."""
        self.dockerd._api.make_network("shared", "10.9.0.0/24", {})
        self.start(declared=evolve(ALICE, kind=Container("lamp:7", network="shared")))
        self.assertEqual(self.alone()["HostConfig"]["NetworkMode"], "shared")
        self.dockerd.remove(SITE, Errand())
        self.assertEqual(list(self.docker.nets), ["shared"])

    def test_configured_missing(self) -> None:
        """A configured network that is not there fails in words."""
        self.assertIn("network = shared", self.fails(network="shared"))

    def test_host(self) -> None:
        """In the host's own network the address is the host's."""
        self.dockerd._api.make_network("host", "10.9.0.0/24", {})
        declared = evolve(ALICE, kind=Container("lamp:7", network="host", port=8080))
        self.assertEqual(self.start(declared=declared).instance.address, ("127.0.0.1", 8080))
