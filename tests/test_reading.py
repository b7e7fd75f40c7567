"""Reading options one by one, and what is said of those that do not exist."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from snickers.config import formats, ini
from snickers.config.option import SETTINGS, Option
from snickers.config.options import SCOPES, SITE_OPTIONS
from snickers.config.reading import Layer, nearest, not_yet


def layer(text: str, file: str = "/etc/snickers/sites.ini") -> Layer:
    """The layer of the only section of *text*."""
    (section,) = ini.read(text, file).sections
    return Layer(section)


class LayerTests(SynchronousTestCase):
    def test_relative_to_its_file(self) -> None:
        """A path begins at the folder of the file it is written in."""
        root = SCOPES["static"].named["root"]
        value = layer("[a]\nroot = www", "/srv/conf/a.ini").read(root, "root")
        self.assertEqual(value, ("/srv/conf/www", None))

    def test_for_each_site(self) -> None:
        """What has braces is read anew for each site that inherits it."""
        root = SCOPES["static"].named["root"]
        shared = layer("[defaults]\nroot = {data}/{host}")
        values = [shared.read(root, "root", host, "/d/" + host)[0] for host in ("a.x", "b.x")]
        self.assertEqual(values, ["/d/a.x/a.x", "/d/b.x/b.x"])

    def test_meanings(self) -> None:
        """One text may mean different things to different types."""
        shared = layer("[defaults]\nport = 0")
        port = [
            shared.read(SCOPES[kind].named["port"], "port") for kind in ("process", "container")
        ]
        self.assertEqual(port[0], (0, None))
        self.assertIsNone(port[1][0])
        self.assertEqual(
            str(port[1][1]),
            "/etc/snickers/sites.ini:2: [defaults] port: 0 is out of range; write a number from 1 "
            "to 65535",
        )

    def test_not_yet(self) -> None:
        """What is not available yet may have its default, and a wrong value is told first."""
        wheels = Option(
            "wheels", (SETTINGS,), formats.integer(1, 9), "4", "Wheels.", "3", later=True
        )
        _, fault = layer("[snickers]\nwheels = 4").read(wheels, "wheels")
        self.assertIsNone(fault)
        for text, words in [
            ("3", "not available yet in this version; remove it or leave it at its default (4)"),
            ("x", "'x'"),
        ]:
            _, fault = layer(f"[snickers]\nwheels = {text}").read(wheels, "wheels")
            self.assertIn(words, fault.message)
        snapshot = SCOPES["container"].named["snapshot"]
        self.assertEqual(not_yet(snapshot), "not available yet in this version; remove it")

    def test_added_fields(self) -> None:
        """A field for answers may be empty; its name must be one that is the owner's to set."""
        header = SCOPES["static"].find("header.X")
        for text in ("", "1"):
            self.assertEqual(
                layer(f"[a]\nheader.X = {text}").read(header, "header.X"), (text, None)
            )
        (framing, odd) = layer("[a]\nheader.Content-Length = 1\nheader.a b = 1").unknown(
            SITE_OPTIONS
        )
        self.assertIn("cannot be changed here", framing.message)
        self.assertIn("is no name of a field", odd.message)

    def test_unknown(self) -> None:
        """An unknown option is told with the nearest one; names in parts are looked into."""
        faults = layer(
            "[a]\nidel after = 1\n"
            "env.A_b = 1\nenv.1 = 2\nenv. = 3\nheader.X-Y = 4\nenvx.Y = 5\nenv = 6"
        ).unknown(SITE_OPTIONS)
        self.assertEqual(
            [(fault.option, fault.message) for fault in faults],
            [
                ("idel after", "there is no such option; the nearest is 'idle after'"),
                ("env.1", "'1' is no name of a variable; write letters, digits and '_'"),
                ("env.", "a name is missing behind 'env.'; write env.NAME = VALUE"),
                ("envx.y", "there is no such option; the nearest is 'env.NAME'"),
                ("env", "a name is missing behind 'env'; write env.NAME = VALUE"),
            ],
        )

    def test_like_nothing(self) -> None:
        """What is like none of the type's options is not told that it was to be one of them."""
        own = SCOPES["container"].names
        for name in ("mem_limit", "ram"):
            (fault,) = layer(f"[a]\n{name} = 1").unknown(SITE_OPTIONS, own)
            self.assertIn("nor one of a name like it; docs/configuration.md", fault.message)

    def test_in_the_wrong_place(self) -> None:
        """An option of [snickers] in a site, and the other way round, is told where to go."""
        (fault,) = layer("[a]\nreload every = 1s").unknown(SITE_OPTIONS)
        self.assertEqual(fault.message, "an option of [snickers]; write it there")
        for name in ("idle after", "env.X"):
            (fault,) = layer(f"[snickers]\n{name} = 1s").unknown(SCOPES["snickers"].named)
            self.assertEqual(
                fault.message, "an option of sites; write it in a site's section or in [defaults]"
            )

    def test_foreign(self) -> None:
        """An option of other types is told with those types."""
        faults = layer("[a]\nroot = /x\nmemory = 1g\nenv.A = 1\nnonsense = 1").foreign(
            SCOPES["static"]
        )
        self.assertEqual(
            [(fault.option, fault.message) for fault in faults],
            [
                ("memory", "not an option of type static, but of container"),
                ("env.A", "not an option of type static, but of container, process"),
            ],
        )

    def test_nearest(self) -> None:
        """There is always a nearest name."""
        self.assertEqual(nearest("imgae", ["image", "port"]), "image")
        self.assertIn(nearest("", ["image", "port"]), ["image", "port"])
        self.assertIn(nearest("зз", ["image", "port"]), ["image", "port"])
