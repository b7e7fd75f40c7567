"""Files and texts to one configuration: what holds, what is broken, and every fault in order."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.parse import Loaded, load, parse
from snickers.config.values import Configuration, Settings, Where

FIXED = settings(derandomize=True, deadline=None, max_examples=400)
GOOD = "type = static\nroot = /x\n"


def read(*texts: str) -> Configuration:
    """The configuration of the files ``a.ini``, ``b.ini`` and so on in /etc."""
    return parse([(f"/etc/{name}.ini", text) for name, text in zip("abcdef", texts, strict=False)])


def faults(configuration: Configuration) -> list[str]:
    """Its faults as they are printed, without the folder."""
    return [str(fault).removeprefix("/etc/") for fault in configuration.faults]


class ParseTests(SynchronousTestCase):
    """Texts."""

    def test_without_settings(self) -> None:
        """A site is enough; everything else has its default."""
        configuration = read(f"[a.example]\n{GOOD}")
        self.assertEqual(configuration.settings, Settings())
        self.assertEqual(list(configuration.sites), ["a.example"])
        self.assertEqual((configuration.faults, dict(configuration.broken)), ((), {}))

    def test_without_sites(self) -> None:
        """Settings are enough too."""
        self.assertEqual(read("[snickers]").settings, Settings())

    def test_empty(self) -> None:
        """A text that says nothing is a fault as a whole: nobody wants all sites to go."""
        for text in ("", "\n# nothing\n", "[defaults]\n", "[application x]\n"):
            configuration = read(text)
            self.assertIsNone(configuration.settings)
            self.assertEqual(
                faults(configuration),
                [
                    "a.ini:1: is empty: no site and no [snickers]; write at least one "
                    "[alice.example]"
                ],
            )
        self.assertIsNone(parse([]).settings)
        self.assertEqual(len(parse([]).faults), 1)

    def test_names_are_compared_as_one(self) -> None:
        """Case, alphabet and a dot at the end make no difference to a site's name."""
        configuration = read(f"[BÜCHER.example.]\n{GOOD}[ b.example ]\n{GOOD}")
        self.assertEqual(list(configuration.sites), ["xn--bcher-kva.example", "b.example"])

    def test_unknown_sections(self) -> None:
        """A section of no kind is a fault that names the nearest kind, and breaks nothing else."""
        for title, message in [
            ("snikers", "no such section; write [snickers], or a host name with a dot in it"),
            ("Snickers", "no such section; write [snickers]"),
            ("default", "no such section; write [defaults]"),
            ("DEFAULT", "no such section; write [defaults]"),
            ("SNICKERS", "no such section; write [snickers]"),
            ("Application lamp", "no such section; write [application lamp]"),
            ("APPLICATION", "needs a name: write [application lamp]"),
            ("Not A Host", "no section of the kind 'Not'; write [application A Host]"),
            ("virtual x.example", "its host name alone; write [x.example]"),
            ("application", "needs a name: write [application lamp]"),
            (
                "applications lamp",
                "no section of the kind 'applications'; write [application lamp]",
            ),
            ("site x.example", "a site's section is its host name alone; write [x.example]"),
            ("a_b.example", "'a_b.example' is not a host name"),
            ("127.0.0.1", "is an address, not a host name"),
            ("x:443", "the nearest known section is ["),
        ]:
            configuration = read(f"[{title}]\nx = 1\n[a.example]\n{GOOD}")
            (fault,) = faults(configuration)
            self.assertTrue(fault.startswith(f"a.ini:1: [{title}] "), fault)
            self.assertIn(message, fault)
            self.assertNotIn("nearest" if "." in title else "\0", fault)
            self.assertEqual(list(configuration.sites), ["a.example"])
            self.assertNotEqual(configuration.settings, None)

    def test_names_without_a_dot(self) -> None:
        """A host in one's own network may have a name without a dot."""
        sites = read(f"[localhost]\n{GOOD}[nas]\n{GOOD}[snack]\n{GOOD}").sites
        self.assertEqual(list(sites), ["localhost", "nas", "snack"])

    def test_order(self) -> None:
        """Faults are in the order of files and lines, whatever they are about."""
        configuration = read(
            "[b.example]\nx = 1\n[a.example]\ny = 1\n[snickers]\nz = 1\n",
            f"stray\n[c.example]\n{GOOD}foo = 1\n[c.example]\n",
        )
        places = [str(fault.where).removeprefix("/etc/") for fault in configuration.faults]
        expected = ["a.ini:1", "a.ini:2", "a.ini:3", "a.ini:4", "a.ini:6"]
        self.assertEqual(places, [*expected, "b.ini:1", "b.ini:5", "b.ini:6"])

    def test_fault_in_settings(self) -> None:
        """A fault in [snickers] leaves no settings, and the sites as they are."""
        configuration = read(f"[snickers]\nstat = /x\n[a.example]\n{GOOD}")
        self.assertIsNone(configuration.settings)
        self.assertEqual(list(configuration.sites), ["a.example"])
        self.assertEqual(
            faults(configuration),
            ["a.ini:2: [snickers] stat: there is no such option; the nearest is 'state'"],
        )

    def test_settings_once(self) -> None:
        """[snickers] is at most once in all files; a second one leaves no settings."""
        for title in ("snickers", " snickers "):
            configuration = read(f"[snickers]\n[a.example]\n{GOOD}", f"[{title}]\nstate = /x")
            self.assertIsNone(configuration.settings)
            (fault,) = faults(configuration)
            self.assertIn("already at /etc/a.ini:1", fault)

    def test_defaults_once(self) -> None:
        """A second [defaults] breaks the sites that both were meant for."""
        configuration = read("[defaults]\nhold = 1s", f"[defaults]\n[a.example]\n{GOOD}")
        self.assertEqual(list(configuration.broken), ["a.example"])
        self.assertEqual([fault.where for fault in configuration.faults], [Where("/etc/b.ini", 1)])

    def test_application_once(self) -> None:
        """A second application of one name breaks the sites that use it."""
        configuration = read(
            f"[application x]\n{GOOD}[b.example]\n{GOOD}",
            f"[application  x]\n{GOOD}[a.example]\napplication = x\n",
        )
        self.assertEqual(list(configuration.broken), ["a.example"])
        self.assertEqual(list(configuration.sites), ["b.example"])
        self.assertEqual([fault.where for fault in configuration.faults], [Where("/etc/b.ini", 1)])

    def test_site_once(self) -> None:
        """A site that is written twice is broken: nobody knows which one is meant."""
        for title in ("a.example", "A.example", "a.example."):
            configuration = read(f"[a.example]\n{GOOD}", f"[{title}]\n{GOOD}")
            self.assertEqual(list(configuration.broken), ["a.example"])
            (fault,) = faults(configuration)
            self.assertTrue(fault.startswith(f"b.ini:1: [{title}] "), fault)
            self.assertIn("already at /etc/a.ini:1", fault)

    def test_lines_not_understood(self) -> None:
        """A line that is not understood breaks its site, and tells that sites may be missing."""
        configuration = read(
            f"[a.example]\n{GOOD}what\n[b.example]\n{GOOD}", f"[c.example]\n{GOOD}"
        )
        self.assertEqual(list(configuration.sites), ["b.example", "c.example"])
        self.assertEqual(list(configuration.broken), ["a.example"])
        self.assertEqual(configuration.damaged, ("/etc/a.ini",))


class ClaimTests(SynchronousTestCase):
    """Names and ports that two sites claim."""

    def test_two_also(self) -> None:
        """Of two sites that claim a name, the later one is at fault."""
        configuration = read(
            f"[a.example]\n{GOOD}also = www.example\n[b.example]\n{GOOD}also = WWW.example\n"
        )
        self.assertEqual(list(configuration.sites), ["a.example"])
        self.assertEqual(
            faults(configuration),
            [
                "a.ini:8: [b.example] also: www.example is already the name of the site at "
                "/etc/a.ini:1"
            ],
        )

    def test_name_before_also(self) -> None:
        """A site's own name cannot be taken away by one that is written earlier, broken or not."""
        for rest in (GOOD, "type = nonsense"):
            configuration = read(f"[a.example]\n{GOOD}also = b.example\n[b.example]\n{rest}")
            self.assertNotIn("a.example", configuration.sites)
            self.assertIn(
                "a.ini:4: [a.example] also: b.example is already the name of the site at "
                "/etc/a.ini:5",
                faults(configuration),
            )
            self.assertEqual("b.example" in configuration.sites, rest == GOOD)

    def test_broken_sites_claim_nothing(self) -> None:
        """What a broken site claims besides its name is free."""
        configuration = read(
            f"[a.example]\n{GOOD}also = www.example\nx = 1\n[b.example]\n{GOOD}also = www.example\n"
        )
        self.assertEqual(list(configuration.sites), ["b.example"])

    def test_wildcards(self) -> None:
        """A wildcard and a name below it are two names."""
        text = f"[*.a.example]\n{GOOD}[www.a.example]\n{GOOD}also = *.b.example"
        self.assertEqual(read(text).faults, ())

    def test_ports(self) -> None:
        """Two processes cannot have one port, nor one of Snickers' own; free ones do not clash."""
        process = "type = process\ncommand = x\n"
        text = f"[snickers]\nhttp = tcp:8080\n[a.example]\n{process}port = 8001\n"
        text += f"[b.example]\n{process}port = 8001\n[c.example]\n{process}port = 8080\n"
        text += f"[d.example]\n{process}[e.example]\n{process}port = 0"
        configuration = read(text)
        self.assertEqual(list(configuration.sites), ["a.example", "d.example", "e.example"])
        self.assertEqual(
            faults(configuration),
            [
                "a.ini:10: [b.example] port: 8001 is already taken at /etc/a.ini:3; write another",
                "a.ini:14: [c.example] port: 8080 is already taken at /etc/a.ini:1; write another",
            ],
        )

    def test_default_site(self) -> None:
        """The default site must be one of the sites, by any of its names; it may be broken."""
        sites = f"[a.example]\n{GOOD}also = www.example\n[b.example]\n"
        for name in ("A.example", "www.example", "b.example"):
            configuration = read(f"[snickers]\ndefault site = {name}\n{sites}")
            self.assertIsNotNone(configuration.settings)
        configuration = read(f"[snickers]\ndefault site = c.example\n{sites}")
        self.assertIsNone(configuration.settings)
        self.assertIn(
            "a.ini:2: [snickers] default site: there is no site c.example; the nearest is "
            "b.example",
            faults(configuration),
        )
        self.assertIsNone(read("[snickers]\ndefault site = c.example").settings)


LINES = st.sampled_from(
    [
        *(
            "[snickers]",
            "[defaults]",
            "[application x]",
            "[a.example]",
            "[b.example]",
            "[*.c.example]",
        ),
        *(
            "[bad name]",
            "[snikers]",
            "type = static",
            "type = container",
            "type = process",
            "type =",
        ),
        *("type = nonsense", "root = /x", "root =", "image = x", "command = x y", "command = '"),
        *(
            "to = http://x",
            "to = https://y",
            "application = x",
            "application = y",
            "also = b.example",
        ),
        *(
            "also = {host} www.{host}",
            "env.A = {data}",
            "env. = 1",
            "env file = x.env",
            "header.X = 1",
        ),
        *("hold = 1s", "hold = soon", "memory = 64m", "memory = 1", "https = tcp:443 tcp:443", "x"),
        *("http = tcp:80", "default site = a.example", "include = /nowhere/*.ini", "workers = 2"),
        *(
            "volumes = /run:/run",
            "port = 80",
            "port = 443",
            "  more",
            "= 1",
            "",
            "# c",
            "hold = 1s ; c",
        ),
    ]
)


class AnythingTests(SynchronousTestCase):
    """Whatever the text."""

    @FIXED
    @given(st.lists(st.lists(LINES, max_size=14).map("\n".join), max_size=3))
    def test_invariants(self, texts: list[str]) -> None:
        """It is read without raising; what is said of it fits together."""
        configuration = read(*texts)
        self.assertFalse(set(configuration.sites) & set(configuration.broken))
        self.assertEqual(len(set(configuration.faults)), len(configuration.faults))
        for name, broken in configuration.broken.items():
            self.assertTrue(broken, name)
            places = {(fault.where, fault.option) for fault in configuration.faults}
            self.assertTrue(all((fault.where, fault.option) in places for fault in broken))
        if not configuration.faults:
            self.assertIsNotNone(configuration.settings)
        names = [name for site in configuration.sites.values() for name in site.names]
        self.assertEqual(len(set(names)), len(names))
        for fault in configuration.faults:
            self.assertTrue(fault.message)
            self.assertEqual(len(str(fault).splitlines()), 1)

    @FIXED
    @given(st.text(max_size=80))
    def test_any_text(self, text: str) -> None:
        """Any text at all is read without raising."""
        parse([("a.ini", text)])
        parse([("a.ini", "[a.example]\n" + text)])


class LoadTests(SynchronousTestCase):
    """Files and folders."""

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)

    def write(self, name: str, text: str) -> str:
        """Write a file and return its path."""
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def load(self, name: str = "") -> Loaded:
        """Load a file of the folder, or the folder; its stamp is current."""
        loaded = load(os.path.join(self.folder, name) if name else self.folder)
        self.assertEqual(loaded.stamp.current(), loaded.stamp)
        return loaded

    def faults(self, loaded: Loaded) -> list[str]:
        """Its faults as they are printed, without the folder."""
        return [str(f).replace(self.folder + "/", "") for f in loaded.configuration.faults]

    def test_file(self) -> None:
        """A file is read as it is; paths are relative to it."""
        self.write("sites.ini", "[a.example]\ntype = static\nroot = www\n")
        configuration = self.load("sites.ini").configuration
        self.assertEqual(configuration.faults, ())
        self.assertEqual(configuration.sites["a.example"].kind.root, self.folder + "/www")

    def test_folder(self) -> None:
        """A folder's files are read in name order, together."""
        self.write("20.ini", "[a.example]\napplication = x\n")
        self.write("10.ini", f"[application x]\n{GOOD}[b.example]\napplication = x\n")
        self.write("30.txt", "nonsense")
        configuration = self.load().configuration
        self.assertEqual(configuration.faults, ())
        self.assertEqual(list(configuration.sites), ["b.example", "a.example"])

    def test_an_address_for_a_name(self) -> None:
        """Who writes an address where a name belongs is told the name."""
        for title in ("https://neu.localhost", "http://neu.localhost:8443/page"):
            (fault,) = parse([("a.ini", f"[{title}]\ntype = static\nroot = /x\n")]).faults
            self.assertEqual(fault.where, Where("a.ini", 1))
            self.assertIn(f"leave {title.partition(':')[0]}:// out and write [neu", fault.message)
            self.assertTrue(fault.message.endswith("[neu.localhost]"))

    def test_nothing_to_read(self) -> None:
        """What is not there, or is nothing to read, is a fault of no line, and no exception."""
        self.write("not-utf8.ini", "")
        with open(os.path.join(self.folder, "not-utf8.ini"), "wb") as file:
            file.write(b"[a.example]\n\xff")
        os.mkdir(os.path.join(self.folder, "empty"))
        self.write("folder/a.ini/x", "")
        for name, message in [
            ("missing.ini", "missing.ini: cannot be read: No such file or directory"),
            ("not-utf8.ini", "not-utf8.ini: is not UTF-8: see line 2; save it as UTF-8"),
            ("empty", "empty: the folder has no *.ini file; add one, such as sites.ini"),
            ("folder", "folder/a.ini: is a folder, not a file"),
        ]:
            loaded = self.load(name)
            self.assertIsNone(loaded.configuration.settings)
            self.assertEqual(self.faults(loaded), [message])

    def test_one_unreadable_file(self) -> None:
        """A file of several that cannot be read harms no site of the others."""
        self.write("a.ini", f"[a.example]\n{GOOD}")
        os.mkdir(os.path.join(self.folder, "b.ini"))
        loaded = self.load()
        self.assertEqual(list(loaded.configuration.sites), ["a.example"])
        self.assertIsNotNone(loaded.configuration.settings)
        self.assertEqual(loaded.configuration.damaged, (self.folder + "/b.ini",))

    def test_include(self) -> None:
        """Included files are read in name order, where they are included; so are their paths."""
        self.write(
            "sites.ini", f"[snickers]\ninclude = sites.d/*.ini more.ini\n[z.example]\n{GOOD}"
        )
        self.write("more.ini", f"[c.example]\n{GOOD}")
        self.write("sites.d/2.ini", f"[b.example]\n{GOOD}")
        self.write("sites.d/1.ini", "[a.example]\ntype = static\nroot = www")
        loaded = self.load("sites.ini")
        self.assertEqual(self.faults(loaded), [])
        sites = loaded.configuration.sites
        self.assertEqual(list(sites), ["z.example", "a.example", "b.example", "c.example"])
        self.assertEqual(sites["a.example"].kind.root, self.folder + "/sites.d/www")

    def test_include_nothing(self) -> None:
        """A pattern that matches nothing is no fault; a plain path that is missing is one."""
        self.write("sites.ini", "[snickers]\ninclude = sites.d/*.ini\n")
        self.assertEqual(self.faults(self.load("sites.ini")), [])
        self.write("sites.ini", f"[snickers]\ninclude = a.ini\n[a.example]\n{GOOD}")
        loaded = self.load("sites.ini")
        self.assertIsNone(loaded.configuration.settings)
        self.assertEqual(
            self.faults(loaded),
            [
                "sites.ini:2: [snickers] include: a.ini does not exist; write the path of a file, "
                "or one with '*'"
            ],
        )

    def test_include_loop(self) -> None:
        """A file that includes itself, or one that is read already, says so and ends."""
        self.write("a.ini", f"[a.example]\n{GOOD}")
        self.write("sites.ini", "[snickers]\ninclude = a.ini ./sites.ini a.ini\n")
        loaded = self.load("sites.ini")
        self.assertIsNone(loaded.configuration.settings)
        self.assertEqual(
            self.faults(loaded),
            [
                f"sites.ini:2: [snickers] include: {name} is read already; a file can be included "
                "once"
                for name in ("sites.ini", "a.ini")
            ],
        )

    def test_include_pattern_of_itself(self) -> None:
        """A pattern that matches the file itself as well means the others."""
        self.write("a.ini", f"[a.example]\n{GOOD}")
        self.write("sites.ini", "[snickers]\ninclude = *.ini\n")
        for name in ("sites.ini", ""):
            loaded = self.load(name)
            self.assertEqual(self.faults(loaded), [])
            self.assertEqual(list(loaded.configuration.sites), ["a.example"])

    def test_include_only_once(self) -> None:
        """A second [snickers] in an included file is a fault, and its include is not followed."""
        self.write("sites.ini", "[snickers]\ninclude = a.ini")
        self.write("a.ini", f"[snickers]\ninclude = sites.ini b.ini\n[a.example]\n{GOOD}")
        self.write("b.ini", "nonsense")
        loaded = self.load("sites.ini")
        self.assertEqual(
            self.faults(loaded),
            [
                "a.ini:1: [snickers] this section is already at sites.ini:1; write "
                "everything in one of the two"
            ],
        )

    def test_env_file(self) -> None:
        """A site's variables are read from its file, which is watched like the others."""
        self.write("a.env", "A=1\r\n")
        self.write("sites.ini", "[a.example]\ntype = process\ncommand = x\nenv file = a.env")
        loaded = self.load("sites.ini")
        self.assertEqual(loaded.configuration.sites["a.example"].kind.environment, (("A", "1"),))
        self.write("a.env", "A=22\n")
        self.assertNotEqual(loaded.stamp.current(), loaded.stamp)

    def test_missing_files_are_watched(self) -> None:
        """What was missing and comes later is a change: faults heal by themselves."""
        self.write(
            "sites.ini", "[snickers]\ninclude = a.ini b/*.ini\n[a.example]\ntype = process\n"
        )
        for name in ("a.ini", "b/c.ini", "sites.ini"):
            stamp = self.load("sites.ini").stamp
            self.write(name, f"[{name[0]}.example]\n{GOOD}")
            self.assertNotEqual(stamp.current(), stamp, name)
