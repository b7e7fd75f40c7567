"""How far a pull is, in words."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from snickers.containers.pulling import Pulling, advice


def downloading(layer: str, current: int, total: int):
    """Return what Docker says while it downloads a layer."""
    detail = {"current": current, "total": total}
    return {"status": "Downloading", "id": layer, "progressDetail": detail}


class AdviceTests(SynchronousTestCase):
    """`advice`, with words that Docker and its registries say."""

    def test_words(self) -> None:
        """Each kind of trouble has its own way out, the likely one first."""
        for fault, login, words in (
            ("write /var/lib/docker/x: no space left on device", "", "disk"),
            (
                'Get "https://r.example/v2/": dial tcp: lookup r.example: no such host',
                "",
                "reached",
            ),
            ("dial tcp 127.0.0.1:5000: connect: connection refused", "", "reached"),
            ("net/http: TLS handshake timeout", "", "reached"),
            ("manifest for r.example/x:1 not found: manifest unknown", "", "has no such image"),
            ("pull access denied, repository does not exist", "", "without a login"),
            ("no basic auth credentials", "", "(registry auth)"),
            ("unauthorized: authentication required", "/secret", "the login in /secret"),
            ("something new", "", "Is its name right"),
        ):
            self.assertIn(words, advice(fault, "r.example", login))


class PullingTests(SynchronousTestCase):
    """`Pulling`."""

    def hear(self, *events) -> Pulling:
        pulling = Pulling("lamp:7")
        for event in events:
            pulling.heard(event)
        return pulling

    def test_nothing_known(self) -> None:
        """At first there is nothing but the name."""
        pulling = self.hear({"status": "Pulling from lamp", "id": "7"})
        self.assertEqual(str(pulling), "pulling lamp:7")

    def test_progress(self) -> None:
        """Layers and bytes are counted together."""
        pulling = self.hear(
            {"status": "Pulling fs layer", "progressDetail": {}, "id": "a"},
            {"status": "Pulling fs layer", "progressDetail": {}, "id": "b"},
            {"status": "Already exists", "id": "c"},
            downloading("a", 50, 100),
            downloading("b", 100, 300),
        )
        self.assertEqual(str(pulling), "pulling lamp:7: 1 of 3 layers, 37 %")
        pulling.heard({"status": "Pull complete", "id": "a"})
        self.assertEqual(str(pulling), "pulling lamp:7: 2 of 3 layers, 37 %")

    def test_fault(self) -> None:
        """A failure is kept in Docker's words."""
        self.assertEqual(self.hear({"error": "no such host"}).fault, "no such host")
        self.assertEqual(self.hear({"status": "Waiting", "id": "a"}).fault, "")

    def test_odd_events(self) -> None:
        """Events without their fields are no failure."""
        self.assertEqual(
            str(self.hear({}, {"id": None, "progressDetail": None}, {"status": "Downloading"})),
            "pulling lamp:7",
        )
