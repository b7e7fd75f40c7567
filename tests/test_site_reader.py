"""One site: what it says, what it inherits, and each thing that can be wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from twisted.trial.unittest import SynchronousTestCase

from snickers.config.parse import parse
from snickers.config.values import (
    Configuration,
    Container,
    Lifecycle,
    Passthrough,
    Process,
    Proxy,
    Redirect,
    Site,
    Where,
)
from snickers.config.values import Static as StaticKind
from snickers.config.wrong import Wrong

USERS = "alice:$2y$04$......................" + "." * 31 + "\n"


def read(text: str, files: Mapping[str, str] = MappingProxyType({})) -> Configuration:
    """The configuration of a file with *text*."""
    return parse([("/etc/snickers/sites.ini", text)], files)


class GoodSiteTests(SynchronousTestCase):
    """Sites without a fault."""

    def site(self, text: str, files: Mapping[str, str] = MappingProxyType({})) -> Site:
        """The site ``a.example`` of *text*, which has no fault."""
        configuration = read(text, files)
        self.assertEqual([str(fault) for fault in configuration.faults], [])
        return configuration.sites["a.example"]

    def test_passthrough(self) -> None:
        """A site whose TLS is not opened says where its connections go, and how they begin."""
        text = "[a.example]\ntype = passthrough\nto = tcp:b:443\n"
        self.assertEqual(self.site(text).kind, Passthrough("tcp:b:443"))
        self.assertEqual(
            self.site(text + "proxy protocol = v2").kind, Passthrough("tcp:b:443", "v2")
        )

    def test_container(self) -> None:
        """A container with everything that can be said of one."""
        site = self.site(
            """[a.example]
type = container
also = www.a.example A.example
certificates = files
answer within = 7s
image = registry.example/lamp:7@sha256:00
command = run 'a b'
port = 8080
data = /data
volumes = ./x:/x:ro cache:/c
env.TITLE = Hello {host}
env.ADMIN =
user = 1000:1000
memory = 64m
cpus = 0.5
pids = 9
read only = on
capabilities = CHOWN
network = backend
pull = never
wake = always
health = /up
wake within = 1s
hold = 0
idle after = never
stop within = 2s
drain within = 3s
"""
        )
        life = Lifecycle(
            wake="always",
            health="/up",
            wake_within=1.0,
            hold=0.0,
            idle_after=float("inf"),
            stop_within=2.0,
            drain_within=3.0,
        )
        kind = Container(
            image="registry.example/lamp:7@sha256:00",
            command=("run", "a b"),
            port=8080,
            data="/data",
            volumes=("/etc/snickers/x:/x:ro", "cache:/c"),
            environment=(("ADMIN", ""), ("TITLE", "Hello a.example")),
            user="1000:1000",
            memory=64 * 2**20,
            cpus=0.5,
            pids=9,
            read_only=True,
            capabilities=("CHOWN",),
            network="backend",
            pull="never",
            life=life,
        )
        self.assertEqual(
            site,
            Site(
                "a.example",
                kind,
                also=("www.a.example",),
                certificates="files",
                answer_within=7.0,
                data="/data/domains/a.example",
            ),
        )
        self.assertEqual(site.where, Where("/etc/snickers/sites.ini", 1))

    def test_services(self) -> None:
        """A site of several containers is its file, which answers, and the site's own options;
        what the defaults say for sites of one container is none of its business."""
        text = "services:\n  web: {image: x, environment: [TITLE]}\n"
        site = self.site(
            "[defaults]\npull = always\nuser = www-data\nenv.TZ = UTC\n[a.example]\n"
            "type = container\nservices = {host}.yaml\nport = 81\nenv.TITLE = {host}\n",
            {"/etc/snickers/a.example.yaml": text},
        )
        assert isinstance(site.kind, Container)
        self.assertEqual(site.kind.services, "/etc/snickers/a.example.yaml")
        self.assertEqual((site.kind.service, site.kind.composition), ("web", text))
        self.assertEqual((site.kind.port, site.kind.pull), (81, "missing"))
        self.assertEqual(site.kind.environment, (("TITLE", "a.example"), ("TZ", "UTC")))

    def test_services_of_many(self) -> None:
        """Sites that have one file share its text."""
        site = "type = container\nservices = c.yaml\n"
        configuration = read(
            f"[a.example]\n{site}[b.example]\n{site}",
            {"/etc/snickers/c.yaml": "services: {web: {image: 'x:${SNICKERS_SITE}'}}"},
        )
        one, other = (site.kind for site in configuration.sites.values())
        assert isinstance(one, Container)
        assert isinstance(other, Container)
        self.assertIs(one.composition, other.composition)

    def test_defaults_of_every_type(self) -> None:
        """What must be given is enough; the rest is as the values have it."""
        data = "/data/domains/a.example"
        for options, kind in [
            ("type = container\nimage = x", Container("x")),
            ("type = process\ncommand = x", Process(("x",))),
            ("type = static\nroot = {data}", StaticKind(data)),
            ("type = redirect\nto = https://b.example", Redirect("https://b.example")),
            ("type = proxy\nto = unix:x", Proxy(("unix:/etc/snickers/x",))),
        ]:
            self.assertEqual(
                self.site(f"[a.example]\n{options}"), Site("a.example", kind, data=data)
            )

    def test_precedence(self) -> None:
        """The site's own option comes first, then its application's, then the defaults'."""
        text = """[defaults]
idle after = 1h
hold = 1s
stop within = 1s
env.A = defaults
env.B = defaults
env.C = defaults
[application lamp]
type = container
image = lamp
hold = 2s
stop within = 2s
env.B = lamp
env.C = lamp
[a.example]
application = lamp
stop within = 3s
env.C = site
"""
        site = self.site(text)
        life = site.life
        self.assertEqual((life.idle_after, life.hold, life.stop_within), (3600.0, 2.0, 3.0))
        self.assertEqual(site.kind.environment, (("A", "defaults"), ("B", "lamp"), ("C", "site")))

    def test_type_of_its_own(self) -> None:
        """A site may have another type than the defaults say."""
        text = "[defaults]\ntype = container\nimage = x\n[a.example]\ntype = static\nroot = /x"
        self.assertEqual(self.site(text).kind, StaticKind("/x"))

    def test_defaults_serve_all_types(self) -> None:
        """An option in the defaults that the site's type does not have is not used."""
        text = "[defaults]\nmemory = 1g\nenv.A = 1\nroot = /x\n[a.example]\ntype = static"
        self.assertEqual(self.site(text).kind, StaticKind("/x"))

    def test_application_of_the_defaults(self) -> None:
        """The defaults may name the application."""
        text = (
            "[defaults]\napplication = x\n[application x]\ntype = static\nroot = /x\n[a.example]"
            "\n[b.example]\napplication =\ntype = static\nroot = /y"
        )
        self.assertEqual(self.site(text).kind, StaticKind("/x"))
        self.assertEqual(read(text).sites["b.example"].kind, StaticKind("/y"))

    def test_undone(self) -> None:
        """An empty value undoes what is inherited, where empty is the default."""
        text = "[defaults]\nmemory = 64m\nalso = www.{host}\n[a.example]\ntype = container\n"
        text += "image = x\nmemory =\nalso ="
        site = self.site(text)
        self.assertEqual((site.kind.memory, site.also), (None, ()))

    def test_folders_of_the_data(self) -> None:
        """The site's folder is below the one that [snickers] names."""
        text = "[snickers]\ndata = data\n[a.example]\ntype = static\nroot = {data}/www"
        site = self.site(text)
        self.assertEqual(site.data, "/etc/snickers/data/a.example")
        self.assertEqual(site.kind.root, "/etc/snickers/data/a.example/www")

    def test_certificates(self) -> None:
        """Without a word of its own a site has the certificates that [snickers] says."""
        text = (
            "[snickers]\ncertificates = files\n[defaults]\ntype = static\nroot = /x\n[a.example]\n"
        )
        self.assertEqual(self.site(text).certificates, "files")
        self.assertEqual(self.site(text + "certificates = internal").certificates, "internal")

    def test_env_file(self) -> None:
        """Variables come from a file too; one that is written in the INI wins."""
        text = "[a.example]\ntype = process\ncommand = x\nenv file = {host}.env\nenv.A = ini"
        file = "# secret\n\nA=file\nB=  'b' # = x\nC=\n"
        site = self.site(text, {"/etc/snickers/a.example.env": file})
        self.assertEqual(site.kind.environment, (("A", "ini"), ("B", "  'b' # = x"), ("C", "")))

    def test_policies(self) -> None:
        """Who may come in, how much they send, and what they get."""
        text = """[a.example]
type = static
root = /x
hsts = 365d
allow from = 192.0.2.7 2001:db8::/32
max body = 10m
basic auth = {host}.htpasswd
header.X-Frame-Options = DENY
header.Server =
"""
        site = self.site(text, {"/etc/snickers/a.example.htpasswd": USERS})
        self.assertEqual(site.hsts, 365 * 86400)
        self.assertEqual(site.allow_from, ("192.0.2.7/32", "2001:db8::/32"))
        self.assertEqual(site.max_body, 10 * 2**20)
        self.assertEqual(site.basic_auth, "/etc/snickers/a.example.htpasswd")
        self.assertEqual(site.headers, (("Server", ""), ("X-Frame-Options", "DENY")))

    def test_nearest_field_wins(self) -> None:
        """A field of the site comes before its application's and the defaults', in any case."""
        text = """[defaults]
header.x-a = 1
header.X-B = {host}
header.X-C = 1
[application x]
type = static
root = /x
header.X-A = 2
header.x-b = 2
[a.example]
application = x
header.X-a = 3
"""
        self.assertEqual(self.site(text).headers, (("X-a", "3"), ("x-b", "2"), ("X-C", "1")))

    def test_disabled(self) -> None:
        """A site that is not enabled is kept."""
        text = "[a.example]\ntype = static\nroot = /x\nenabled = off"
        self.assertFalse(self.site(text).enabled)

    def test_health_of_servers(self) -> None:
        """Nobody looks unless a path is given."""
        text = "[a.example]\ntype = proxy\nto = http://b\n"
        for line, health in (("", "off"), ("health =", "off"), ("health = /up", "/up")):
            self.assertEqual(self.site(text + line).kind.health, health)


class BadSiteTests(SynchronousTestCase):
    """Each thing that can be wrong with a site."""

    def faults(self, text: str, files: Mapping[str, str] = MappingProxyType({})) -> list[str]:
        """The faults of *text*, in which the site ``a.example`` is broken."""
        configuration = read(text, files)
        self.assertIn("a.example", configuration.broken)
        self.assertNotIn("a.example", configuration.sites)
        for fault in configuration.broken["a.example"]:
            self.assertIn(fault.section, [*text.replace("[", "]").split("]")])
        return [
            str(fault).removeprefix("/etc/snickers/sites.ini:") for fault in configuration.faults
        ]

    def test_no_type(self) -> None:
        """A site needs a type; without one only unknown options are told besides."""
        self.assertEqual(
            self.faults("[a.example]\nroot = /x\nlisTng = 1"),
            [
                "1: [a.example] type: is missing; write type = container, process, static, "
                "redirect, proxy or passthrough",
                "3: [a.example] listng: there is no such option; the nearest is 'listing'",
            ],
        )

    def test_wrong_type(self) -> None:
        """An unknown type is told with those that there are."""
        self.assertEqual(
            self.faults("[a.example]\ntype = sttic"),
            [
                "2: [a.example] type: 'sttic' is unknown; write container, process, static, "
                "redirect, proxy or passthrough"
            ],
        )

    def test_nearest_of_the_type(self) -> None:
        """An option of the site's own type is named first; another one's with its type."""
        text = "[a.example]\ntype = container\nimage = i\n"
        self.assertEqual(
            self.faults(text + "lisen = 5\nporto = 80\nrot = /\n"),
            [
                "4: [a.example] lisen: there is no such option; the nearest is 'listing', of type "
                "static",
                "5: [a.example] porto: there is no such option; the nearest is 'port'",
                "6: [a.example] rot: there is no such option; the nearest is 'root', of type "
                "static",
            ],
        )

    def test_redirect_to_itself(self) -> None:
        """A redirect to a name of the site itself would never end."""
        text = "[snickers]\nhttps = tcp:8443\n[a.example]\ntype = redirect\nalso = b.example\nto = "
        for to in ("https://a.example", "http://b.example/x", "https://a.example:8443"):
            self.assertIn("is a name of this site itself", self.faults(text + to)[0])
        for to in ("https://c.example", "https://a.example:9443", "http://a.example:3000"):
            self.assertEqual(read(text + to).faults, ())

    def test_variables_without_a_shell(self) -> None:
        """What only a shell would fill in is told, with what would be right."""
        text = "[a.example]\ntype = process\ncommand = "
        self.assertEqual(
            self.faults(text + "serve --port $PORT"),
            [
                "3: [a.example] command: no shell runs it, so $PORT stays as it is written; "
                "write sh -c 'exec serve --port $PORT'"
            ],
        )
        for command in ("serve --listen=$HOST:80", "serve 'a b' http://0:${PORT}"):
            (fault,) = self.faults(text + command)
            self.assertIn("no shell runs it", fault)
        for command in (
            "sh -c 'exec serve $PORT'",
            "bash -lc 'serve $PORT'",
            "env -S 'serve ${PORT}'",
            "serve $PORTAL",
            "serve a$PORT",
        ):
            self.assertEqual(read(text + command).faults, ())

    def test_pause_after_sleep(self) -> None:
        """A pause that comes after sleep is told, unless a nearer section wants sleep first."""
        site = "[a.example]\ntype = container\nimage = i\n"
        self.assertEqual(
            self.faults(site + "pause after = 1h"),
            [
                "4: [a.example] pause after: 1h is not less than idle after (30m), and what sleeps "
                "is not paused; write less, or a longer idle after"
            ],
        )
        self.assertEqual(len(self.faults(site + "idle after = 5m\npause after = 5m")), 1)
        shared = "[defaults]\nidle after = 1h\n"
        self.assertEqual(len(self.faults(shared + site + "pause after = 2h")), 1)
        for text in (
            site + "pause after = 5m",
            site + "idle after = never\npause after = 1h",
            site + "idle after = 1m\npause after = never",
            "[defaults]\npause after = 5m\n" + site + "idle after = 1m",
        ):
            self.assertEqual(read(text).faults, ())

    def test_passthrough(self) -> None:
        """Where connections go must be said; how they begin is one of three."""
        text = "[a.example]\ntype = passthrough\nto = tcp:b:443\n"
        self.assertEqual(
            self.faults(text + "proxy protocol = v3"),
            ["4: [a.example] proxy protocol: 'v3' is unknown; write off, v1 or v2"],
        )
        self.assertEqual(
            self.faults("[a.example]\ntype = passthrough"),
            ["1: [a.example] to: is missing; write one such as to = tcp:10.0.0.7:443"],
        )

    def test_parallel(self) -> None:
        """Two servers at once need two ports, and nothing of the old one's data can be put back."""
        text = "[a.example]\nupdate = parallel\n"
        process = text + "type = process\ncommand = serve\n"
        container = text + "type = container\nimage = lamp\n"
        for good in (process, container, container + "port = 8080\nnetwork = shared\n"):
            self.assertEqual(read(good).faults, ())
        for bad, words in (
            (process + "port = 8080\n", "2: [a.example] update: two servers cannot listen on one"),
            (container + "network = host\n", "2: [a.example] update: with network = host two"),
            (
                container + "copy before update = on\n",
                "5: [a.example] copy before update: with update = parallel the old server goes on",
            ),
        ):
            (fault,) = self.faults(bad)
            self.assertTrue(fault.startswith(words), fault)

    def test_missing(self) -> None:
        """What must be given and is not is told with an example."""
        self.assertEqual(
            self.faults("[a.example]\ntype = container"),
            [
                "1: [a.example] image: is missing; write one such as image = "
                "registry.example/lamp:7, or a compose file: services = compose.yaml"
            ],
        )
        self.assertEqual(
            self.faults("[a.example]\ntype = container\nimage = a b"),
            [
                "3: [a.example] image: 'a b' is not a valid image; write one such as "
                "registry.example/lamp:7, in small letters"
            ],
        )

    def test_image_names(self) -> None:
        """An image's name that Docker would refuse is a fault; every one that it takes is none."""
        text = "[a.example]\ntype = container\nimage = "
        for name in (
            "lamp",
            "lamp:7.0-Beta_1",
            "library/lamp__x.y--z",
            "localhost/lamp",
            "Registry.example:5000/a/b/lamp:7@sha256:00ff",
            "127.0.0.1:5000/lamp",
            "sha256:00ff",
        ):
            self.assertEqual(read(text + name).faults, (), name)
        for name in (
            "Lamp:7",
            "a/Lamp",
            "lamp:",
            "lamp:-1",
            "a//b",
            "/lamp",
            "lamp-",
            "a..b",
            "a@b",
        ):
            self.assertIn("is not a valid image", "".join(self.faults(text + name)), name)

    def test_services(self) -> None:
        """A site has one image or a file of services; what is wrong with the file is told with its
        line; an option that each service has in the file is not the site's."""
        head = "[a.example]\ntype = container\n"
        files = {"/etc/snickers/c.yaml": "services:\n  web:\n    image: x\n    ports: ['80:80']\n"}
        for text, words in (
            ("image = x\nservice = web", "service: says which of several answers"),
            ("image = x\nservices = c.yaml", "image: is of a site of one container"),
            ("services = d.yaml", "services: /etc/snickers/d.yaml cannot be read"),
            ("services = c.yaml", "services: /etc/snickers/c.yaml: line 4: services.web.ports: "),
            ("services = c.yaml\nnetwork = host", "network: host is for a site of one container"),
            ("services = c.yaml\npull = always", "pull: always is of a site of one container"),
            ("services = c.yaml\nenv.A = 1", "env.A: /etc/snickers/c.yaml does not use it"),
            *(
                (f"services = c.yaml\n{option} = {value}", f"{option}: is of a site of one")
                for option, value in (
                    *(("command", "x"), ("data", "/d"), ("volumes", "a:/a"), ("user", "x")),
                    *(("read only", "on"), ("registry auth", "/x")),
                )
            ),
        ):
            faults = self.faults(head + text, files)
            self.assertTrue(any(words in fault for fault in faults), (text, faults))

    def test_another_types_option(self) -> None:
        """An option of another type is a fault, in the site as in its application."""
        text = "[application x]\ntype = static\nroot = /x\nmemory = 1g\n[a.example]\n"
        text += "application = x\nport = 1"
        self.assertEqual(
            self.faults(text),
            [
                "4: [application x] memory: not an option of type static, but of container",
                "7: [a.example] port: not an option of type static, but of container, process",
            ],
        )

    def test_unknown_application(self) -> None:
        """An application that does not exist is told with the nearest one, and nothing else is."""
        self.assertEqual(
            self.faults(
                "[application lamp]\ntype = static\nroot = /x\n[a.example]\napplication = lmp"
            ),
            ["5: [a.example] application: there is no [application lmp]; the nearest is 'lamp'"],
        )

    def test_application_at_fault(self) -> None:
        """What is wrong with an application is told once, and breaks each site that uses it."""
        text = "[application x]\ntype = static\nroot = /x\nlistin = on\nlisting = maybe\n"
        text += "[a.example]\napplication = x\n[b.example]\napplication = x\n[c.example]\n"
        text += "type = static\nroot = /x"
        self.assertEqual(
            self.faults(text),
            [
                "4: [application x] listin: there is no such option; the nearest is 'listing'",
                "5: [application x] listing: 'maybe' is neither on nor off; write one of the two",
            ],
        )
        configuration = read(text)
        self.assertEqual(list(configuration.broken), ["a.example", "b.example"])
        self.assertEqual(len(configuration.broken["b.example"]), 2)
        self.assertEqual(list(configuration.sites), ["c.example"])

    def test_defaults_at_fault(self) -> None:
        """A wrong value in the defaults breaks the sites that take it over, and no other."""
        text = "[defaults]\nlisting = maybe\n[a.example]\ntype = static\nroot = /x\n"
        text += "[b.example]\ntype = static\nroot = /x\nlisting = on\n[c.example]\n"
        text += "type = proxy\nto = http://x"
        self.assertEqual(
            self.faults(text),
            ["2: [defaults] listing: 'maybe' is neither on nor off; write one of the two"],
        )
        self.assertEqual(list(read(text).sites), ["b.example", "c.example"])

    def test_defaults_misspelt(self) -> None:
        """An option in the defaults that does not exist was meant for every site."""
        text = "[defaults]\nidel after = 1h\n[a.example]\ntype = static\nroot = /x"
        self.assertEqual(
            self.faults(text),
            ["2: [defaults] idel after: there is no such option; the nearest is 'idle after'"],
        )

    def test_inherited_for_one_site(self) -> None:
        """What an application makes of one site's name may be wrong for that one alone."""
        text = "[application x]\ntype = static\nroot = /x\nalso = www.{host}\n"
        text += "".join(f"[{n}.example]\napplication = x\n" for n in ("a", "*.b", "*.c"))
        configuration = read(text + "also =\n")
        self.assertEqual(list(configuration.sites), ["a.example", "*.c.example"])
        self.assertEqual(list(configuration.broken), ["*.b.example"])
        self.assertEqual([fault.where.line for fault in configuration.faults], [4])

    def test_nested_applications(self) -> None:
        """An application cannot be built on another one."""
        text = "[application x]\napplication = y\n[application y]\ntype = static\nroot = /x\n"
        self.assertEqual(
            self.faults(text + "[a.example]\napplication = x\ntype = static\nroot = /x"),
            ["2: [application x] application: an application cannot be built on another one"],
        )

    def test_unused_application(self) -> None:
        """An application that nobody uses is looked at all the same."""
        text = "[application x]\nmemory = much\nport = 99999\n[b.example]\ntype = static\nroot = /x"
        configuration = read(text)
        self.assertEqual([fault.option for fault in configuration.faults], ["memory", "port"])
        self.assertEqual(list(configuration.sites), ["b.example"])

    def test_env_file(self) -> None:
        """A file that is missing or not understood is told, and nothing of what is in it."""
        text = "[a.example]\ntype = process\ncommand = x\nenv file = x.env"
        self.assertEqual(
            self.faults(text),
            [
                "4: [a.example] env file: /etc/snickers/x.env cannot be read: No such file or "
                "directory"
            ],
        )
        self.assertEqual(
            self.faults(text, {"/etc/snickers/x.env": "A=1\nsecret\n=secret\nb c=secret\n"}),
            [
                f"4: [a.example] env file: line {line} of /etc/snickers/x.env is not of the form "
                "NAME=VALUE"
                for line in (2, 3, 4)
            ],
        )

    def test_users(self) -> None:
        """A file of users is looked into, once, and no hash of it is told."""
        text = "[a.example]\ntype = static\nroot = /x\nbasic auth = x.users\n"
        where = "4: [a.example] basic auth: /etc/snickers/x.users"
        self.assertEqual(self.faults(text), [f"{where} cannot be read: No such file or directory"])
        (fault,) = self.faults(text, {"/etc/snickers/x.users": f"{USERS}bob:$apr1$secret\n"})
        self.assertTrue(fault.startswith(f"{where} line 2 is hashed with MD5"), fault)
        self.assertNotIn("secret", fault)

    def test_trusted(self) -> None:
        """A file of roots is looked into; what is for https alone is a fault without any."""
        text = "[a.example]\ntype = proxy\nto = https://b\ntrust = ca.pem\n"
        where = "4: [a.example] trust: /etc/snickers/ca.pem"
        self.assertEqual(self.faults(text), [f"{where} cannot be read: No such file or directory"])
        (fault,) = self.faults(text, {"/etc/snickers/ca.pem": "hello"})
        self.assertEqual(fault, f"{where} has no certificate in PEM (-----BEGIN CERTIFICATE-----)")
        pem = {"/etc/snickers/ca.pem": "a\n-----BEGIN CERTIFICATE-----\n"}
        self.assertEqual(read(text, pem).faults, ())
        plain = text.replace("https", "http") + "verify = b.example\n"
        words = "is for servers behind https://, and there is none in to"
        self.assertEqual(
            self.faults(plain),
            [f"4: [a.example] trust: {words}", f"5: [a.example] verify: {words}"],
        )
        # From the defaults they may come to everybody.
        shared = "[defaults]\ntrust = ca.pem\n[a.example]\ntype = proxy\nto = http://b\n"
        self.assertEqual(read(shared, {}).faults, ())

    def test_fields(self) -> None:
        """A field that frames, or whose value could end its line, is a fault."""
        text = "[a.example]\ntype = static\nroot = /x\n"
        for line, words in [
            ("header.transfer-encoding = chunked", "it cannot be changed here"),
            ("header.Date =", "it cannot be changed here"),
            ("header.X = a\n  Y: b", "one value is expected"),
            ("header.X = a\x0bb", "a control character"),
            ("header.X = ä", "only ASCII"),
            ("header.X:Y = 1", "is no name of a field"),
        ]:
            (fault,) = self.faults(text + line)
            self.assertIn(words, fault)

    def test_redirect_with_query(self) -> None:
        """The path of a request cannot be put behind a query."""
        text = "[a.example]\ntype = redirect\nto = https://b.example/?x=1\n"
        self.assertEqual(
            self.faults(text),
            ["3: [a.example] to: leaves no place for a request's path; write keep path = off"],
        )
        self.assertEqual(read(text + "keep path = off").faults, ())

    def test_capabilities(self) -> None:
        """A capability that there is not is refused, with the right name; ``CAP_`` may stand before
        it, in any case."""
        text = "[a.example]\ntype = container\nimage = x\ncapabilities = "
        (fault,) = self.faults(text + "net_raw CHWON")
        self.assertIn("capabilities: 'CHWON' is no capability of Linux; write CHOWN", fault)
        (fault,) = self.faults(text + "ALL")
        self.assertIn("name those that it needs", fault)
        self.assertEqual(read(text + "cap_net_raw CHOWN").faults, ())
        (fault,) = self.faults(text + "cap_sys_admin")
        self.assertIn("SYS_ADMIN: whoever has that is root on this host", fault)

    def test_login_missing(self) -> None:
        """A file of a login that is not there is a fault; one that cannot be read here is none, as
        another process may read it."""
        text = "[a.example]\ntype = container\nimage = x\nregistry auth = login\n"
        (fault,) = self.faults(text)
        self.assertIn("registry auth: /etc/snickers/login cannot be read", fault)
        self.assertIn("write a line USER:PASSWORD into it", fault)
        self.assertEqual(read(text, {"/etc/snickers/login": "a:b"}).faults, ())

        class Forbidden(dict[str, str]):
            """Files that are there, and that nobody may read."""

            def __contains__(self, path: object) -> bool:
                return True

            def __missing__(self, path: str) -> str:
                raise Wrong("cannot be read: Permission denied")

        self.assertEqual(read(text, Forbidden()).faults, ())

    def test_dockers_socket(self) -> None:
        """No site's container may reach Docker's own socket, nor a folder that holds it."""
        sources = ["/var/run/docker.sock", "/var/run", "/run/", "/", "/x/engine.sock", "/x", "//x"]
        for source in [*sources, "/run/containerd"]:
            text = "[snickers]\ndocker = unix:///x/engine.sock\n[a.example]\n"
            text += "type = container\nimage = x\n"
            (fault,) = self.faults(text + f"volumes = {source}:/y")
            self.assertIn("holds Docker's own socket", fault)
        text = "[a.example]\ntype = container\nimage = x\nvolumes = /proc/1/cwd/etc:/y"
        (fault,) = self.faults(text)
        self.assertIn("is a door to all processes of this host", fault)
        text = "[a.example]\ntype = container\nimage = x\nvolumes = /var/run/x:/y run:/z /sys:/s:ro"
        self.assertEqual(read(text).faults, ())

    def test_nested_volumes(self) -> None:
        """A folder within another one that can be written to is refused: who writes there could
        put a link in its place."""
        head = "[snickers]\ndata = /d\n[a.example]\ntype = container\nimage = x\n"
        inside = f"volumes = {'/d/a.example/sub'}:/s"
        (fault,) = self.faults(head + "data = /data\n" + inside)
        self.assertIn("volumes: /d/a.example/sub is in /d/a.example, which is given away", fault)
        self.assertEqual(read(head + inside).faults, ())
        (fault,) = self.faults(head + "volumes = /srv/x:/x /srv/x/y:/y:ro")
        self.assertIn("/srv/x/y is in /srv/x, which is given away to be written to", fault)
        for right in ("/srv/x:/x:ro /srv/x/y:/y", "srv:/x /srv/y:/y", "/srv/x:/x /srv/x:/y"):
            self.assertEqual(read(head + f"volumes = {right}").faults, ())

    def test_all_at_once(self) -> None:
        """Every fault of a site is found, whatever comes first."""
        text = "[a.example]\ntype = container\nwhat\nport = 0\nmemory = 1\nhold = never\n"
        text += "root = /x\nfoo = 1"
        self.assertEqual([fault.split(":")[0] for fault in self.faults(text)], ["1", *"345678"])
