"""Compose files: what is read of them, and what each refusal says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers import composefile
from snickers.composefile import File, NotCompose, ambiguous, filled, mounts, objections, understood

GOOD = """\
services:
  web:
    image: wordpress:6
    environment:
      PASSWORD: ${PASSWORD}
      TITLE: ${TITLE:-a site}
    depends_on: [db]
  db:
    image: mariadb:11
    environment: [ROOT_PASSWORD, "MODE=fast"]
    volumes:
      - ./db:/var/lib/mysql
      - cache:/cache
volumes:
  cache:
"""
VARIABLES = {"PASSWORD": "x", "ROOT_PASSWORD": "y", "SNICKERS_DATA": "/data/a.example"}
SOCKETS = ["/run/docker.sock", "/srv/docker.sock"]


def faults(text: str, service: str = "web", **more: str) -> list[str]:
    """What is wrong with a file of *text*."""
    return list(File(text).faults(service, {**VARIABLES, **more}, SOCKETS))


def said(service: str, top: str = "") -> list[str]:
    """What is wrong with a file whose only service says *service*, a line of YAML."""
    return faults(f"services:\n  web:\n    image: x\n    {service}\n{top}")


class FileTests(SynchronousTestCase):
    """A file as it is written."""

    def test_good(self) -> None:
        """One that is right has services and no fault."""
        file = File(GOOD)
        self.assertEqual(file.services, ["web", "db"])
        self.assertEqual(faults(GOOD), [])

    def test_no_file(self) -> None:
        """What is no compose file is told where it begins to be none."""
        for text, words in (
            ("services:\n  web: [", "line 2: it is not YAML: "),
            ("", "it has no `services:`"),
            ("- a", "it has no `services:`"),
            ("services: {}", "it has no `services:`"),
            ("services:\n  web:\n", "line 2: services.web says nothing"),
            ("services:\n  a b: {image: x}", "'a b' is no name of a service"),
            ("a: \x00", "it is not YAML: "),
            ("services: !!python/object:os.system {}", "it is not YAML: "),
            ("[" * 5000, "nested too deeply"),
        ):
            problem = self.assertRaises(NotCompose, File, text)
            self.assertIn(words, str(problem))

    def test_line(self) -> None:
        """What is wrong is told with the line of the nearest key that is written."""
        file = File(GOOD)
        self.assertEqual(file.line(("services", "db", "volumes")), 11)
        self.assertEqual(file.line(("services", "db", "nothing", "more")), 8)
        self.assertEqual(file.line(("nothing",)), 1)

    def test_profiles(self) -> None:
        """A service of a profile is not started."""
        text = GOOD + "  \n" + "x-more: 1\n"
        text = text.replace("    image: mariadb:11", "    image: mariadb:11\n    profiles: [tools]")
        self.assertEqual(File(text).services, ["web"])
        self.assertEqual(faults(text, ""), [])

    def test_answering(self) -> None:
        """Which one answers must be known, be there, and have an address."""
        self.assertEqual(
            faults(GOOD, ""),
            ["which service answers visitors? write service = NAME, one of db, web"],
        )
        self.assertEqual(faults(GOOD, "www"), ["it has no service 'www', but db, web"])
        self.assertEqual(
            said("network_mode: none"),
            [
                "line 4: web answers visitors, so it needs an address of its own; remove "
                "network_mode"
            ],
        )

    def test_variables(self) -> None:
        """A variable without a value is a fault where it is first used; a default is a value."""
        del_password = GOOD.replace("${TITLE:-a site}", "$TITLE")
        self.assertEqual(
            faults(del_password),
            [
                "line 6: ${TITLE} has no value; write env.TITLE = VALUE, or ${TITLE:-VALUE} in the "
                "file"
            ],
        )
        self.assertEqual(faults(del_password, TITLE=""), [])

    def test_uses(self) -> None:
        """A file uses the variables in its texts, and those it hands on by their name."""
        self.assertEqual(File(GOOD).uses(), frozenset({"PASSWORD", "TITLE", "ROOT_PASSWORD"}))
        self.assertEqual(File("services: {a: {environment: {B: }}}").uses(), frozenset({"B"}))

    def test_merged(self) -> None:
        """What is said by a merge counts as what is said in place."""
        text = "x: &x\n  privileged: true\nservices:\n  web:\n    <<: *x\n    image: a\n"
        (fault,) = faults(text)
        self.assertIn("line 4: services.web.privileged: whoever has that is root", fault)

    def test_large(self) -> None:
        """A file far larger than anybody writes is refused before it is read; many parts that are
        all at fault, or have variables, take no longer than as many lines do."""
        text = "services: {web: {image: x, command: '%s'}}" % ("a" * composefile.MOST_TEXT)
        problem = self.assertRaises(NotCompose, File, text)
        self.assertIn("it is larger than 512 KiB", str(problem))
        many = "".join(f"  s{n}: {{image: x, pid: host}}\n" for n in range(1000))
        found = faults("services:\n" + many, "s0")
        self.assertEqual((len(found), found[-1][:25]), (1000, "line 1001: services.s999."))

    def test_merged_stays(self) -> None:
        """A merge does not move what stands beside it to another line."""
        text = "x: &x\n  pid: host\nservices:\n  web:\n    <<: *x\n    image: a\n    pid: host\n"
        self.assertIn("line 7: services.web.pid", faults(text)[0])

    def test_of_the_tool(self) -> None:
        """A variable that the tool has for itself is refused wherever it is used: what a site says
        of it would not count, or would steer the tool."""
        for line in (
            "command: ${HOME}",
            "command: ${HOME:-x}",
            "environment: [PATH]",
            "environment: {LD_X: }",
            "command: $OPENSSL_CONF",
        ):
            (fault,) = faults(f"services:\n  web:\n    image: x\n    {line}\n", LD_X="")
            self.assertIn("line 4: ", fault)
            self.assertIn("is a variable of the compose tool's own", fault)
        self.assertEqual(said("command: $$HOME"), [])
        self.assertEqual(said("environment: {HOME: /srv}"), [])

    def test_other_files(self) -> None:
        """What could have the tool read another file is refused, even where its variables leave
        nothing of it here."""
        for line in ("env_file: '${X:+/etc/shadow}'", "extends: {file: '${X:-}', service: b}"):
            found = said(line)
            self.assertIn("a change of that file would not be noticed", found[0])
            self.assertTrue(found[0].startswith("line 4: services.web."), found)
        (fault,) = said("command: x", "include: '${X:+y.yaml}'")
        self.assertIn("line 5: include: a change of that file", fault)

    def test_filled_before(self) -> None:
        """A refusal looks at what variables stand for."""
        text = "services: {web: {image: x, privileged: false, pid: '${P:-host}'}}"
        self.assertIn("host: it would see and end", faults(text)[0])


class ObjectionTests(SynchronousTestCase):
    """What no site may have, and in which words it is refused."""

    def test_refused(self) -> None:
        """Each is told with its line and what would be right."""
        for service, words in (
            ("ports: ['80:80']", "ports: nothing is published past Snickers"),
            ("container_name: web", "container_name: several servers"),
            ("privileged: true", "privileged: whoever has that is root on this host"),
            ("devices: [/dev/sda]", "devices: devices of this host"),
            ("device_cgroup_rules: ['c 1:3 mr']", "device_cgroup_rules: devices of this host"),
            ("cgroup_parent: x", "cgroup_parent: it would be out of the limits"),
            ("annotations: {run.oci.x: y}", "annotations: they tell the program that runs"),
            ("external_links: [x]", "external_links: containers of others"),
            ("volumes_from: ['container:x']", "volumes_from: containers of others"),
            ("env_file: .env", "env_file: a change of that file would not be noticed"),
            ("label_file: x", "label_file: a change of that file would not be noticed"),
            ("extends: {file: x, service: y}", "extends: a change of that file"),
            ("provider: {type: x}", "provider: that is a program of this host"),
            ("use_api_socket: true", "use_api_socket: that is Docker's own socket"),
            ("pid: host", "pid: host: it would see and end what others run"),
            ("ipc: 'container:x'", "ipc: container:x: it would see"),
            ("userns_mode: host", "userns_mode: host"),
            ("cap_add: [cap_all]", "cap_add: ALL: whoever has that is root"),
            ("security_opt: ['seccomp:unconfined']", "security_opt: seccomp:unconfined: it takes"),
            ("security_opt: ['label:disable']", "security_opt: label:disable: it takes"),
            (
                "cap_add: [CAP_NET_RAV]",
                "cap_add: 'NET_RAV' is no capability of Linux; write NET_RAW",
            ),
            ("cap_add: [cap_sys_admin]", "cap_add: SYS_ADMIN: whoever has that is root"),
            ("cap_add: [BPF]", "cap_add: BPF: whoever has that is root on this host"),
            ("cap_drop: [ALLL]", "cap_drop: 'ALLL' is no capability"),
            ("scale: 2", "scale: there is one container of each"),
            ("deploy: {replicas: 3}", "deploy.replicas: there is one container of each"),
            ("volumes: ['/run:/x']", "volumes: /run holds Docker's own socket"),
            ("volumes: ['/srv/../srv/docker.sock:/x:ro']", "holds Docker's own socket"),
            ("volumes: [{type: bind, source: /, target: /x}]", "/ holds Docker's own socket"),
            ("volumes: ['//run/docker.sock:/x']", "/run/docker.sock holds Docker's own socket"),
            ("volumes: ['/proc/self/cwd/run:/x']", "is a door to all processes of this host"),
            ("volumes: ['/sys:/x']", "/sys steers the kernel of this host"),
            ("security_opt: ['seccomp:./all.json']", "a change of that file would not be noticed"),
            ("security_opt: ['label:type:spc_t']", "it takes away what keeps a container in"),
            ("oom_kill_disable: true", "oom_kill_disable: when memory is short others"),
            ("oom_score_adj: -500", "oom_score_adj: when memory is short others"),
            ("post_start: [{command: x, privileged: true}]", "post_start: privileged"),
            ("networks: {default: {ipv4_address: 10.0.0.1}}", "addresses are as they come"),
        ):
            found = said(service)
            self.assertTrue(found, service)
            self.assertTrue(found[0].startswith("line 4: services.web"), found)
            self.assertIn(words, found[0])

    def test_swap(self) -> None:
        """There is no swap beyond the memory; who says just that says nothing new."""
        for swap in ("-1", "0", "3g"):
            (fault,) = said(f"memswap_limit: {swap}\n    mem_limit: 2g")
            self.assertIn(f"line 4: services.web.memswap_limit: {swap}: there is no swap", fault)
        self.assertEqual(said("memswap_limit: 2g\n    mem_limit: 2g"), [])
        deploy = "deploy: {resources: {limits: {memory: 2g}}}"
        self.assertEqual(said(f"memswap_limit: 2g\n    {deploy}"), [])

    def test_logs(self) -> None:
        """Logs on this host are bounded; those that go elsewhere are not ours."""
        for wrong in (
            *(
                "{options: {max-size: 100g}}",
                "{options: {max-size: -1}}",
                "{options: {max-size: x}}",
            ),
            "{driver: json-file, options: {max-size: 50m, max-file: 3}}",
            "{driver: local, options: {max-file: '10'}}",
            "{options: {max-file: 0}}",
            "{options: {max-size: '0'}}",
        ):
            (fault,) = said(f"logging: {wrong}")
            self.assertIn("line 4: services.web.logging: a log of ", fault)
            self.assertIn("no more than 100m in all", fault)
        for driver in ("journald", "syslog"):
            (fault,) = said(f"logging: {{driver: {driver}}}")
            self.assertIn(f"logging: driver: {driver}: this host's own log", fault)
        for fine in (
            *("{}", "{driver: local}", "{driver: none}", "{driver: json-file}"),
            "{options: {max-size: 33m, max-file: '3'}}",
            "{options: {max-size: 512k, labels: x}}",
            "{options: {max-size: '1000000'}}",
            "{driver: fluentd, options: {fluentd-address: '10.0.0.9'}}",
            "{driver: syslog, options: {syslog-address: 'udp://10.0.0.9:514'}}",
        ):
            self.assertEqual(said(f"logging: {fine}"), [], fine)

    def test_no_new_privileges(self) -> None:
        """New privileges are not to be had, in no way of writing it."""
        for wrong in ("no-new-privileges:false", "no-new-privileges=0", "no-new-privileges:F"):
            (fault,) = said(f"security_opt: ['{wrong}']")
            self.assertIn(f"security_opt: {wrong}: with it a setuid program", fault)
        for fine in ("no-new-privileges:true", "no-new-privileges", "no-new-privileges=true"):
            self.assertEqual(said(f"security_opt: ['{fine}']"), [])

    def test_dropped(self) -> None:
        """Whatever there is may be taken away."""
        self.assertEqual(said("cap_drop: [SYS_ADMIN, CHOWN, ALL]"), [])

    def test_privileged(self) -> None:
        """Who is refused all privileges is not sent to where the same is to be had by name."""
        (fault,) = said("privileged: true")
        self.assertNotIn("cap_add", fault)

    def test_modes(self) -> None:
        """No network that others are in; none at all, or that of another service, is all right."""
        for mode in ("host", "bridge", "container:x"):
            found = list(
                objections({"services": {"a": {"image": "x", "network_mode": mode}}}, [], "/")
            )
            self.assertIn("in a network with others", str(found[0]))
        for mode in ("none", "service:b"):
            found = list(
                objections({"services": {"a": {"image": "x", "network_mode": mode}}}, [], "/")
            )
            self.assertEqual(found, [])

    def test_builds(self) -> None:
        """An image must have a name; that it could be built is no fault."""
        self.assertIn("builds no images", faults("services: {web: {build: .}}")[0])
        self.assertIn("it has no image", faults("services: {web: {command: x}}")[0])
        self.assertEqual(faults("services: {web: {build: ., image: x}}"), [])

    def test_top(self) -> None:
        """Networks of others, fixed ones, other files, and volumes that are the socket."""
        for top, words in (
            ("networks: {back: {external: true}}", "networks.back: a network that others are in"),
            ("networks: {default: {name: x}}", "networks.default: a network that others are in"),
            ("networks: {back: {driver: macvlan}}", "networks.back.driver: Snickers makes the"),
            ("networks: {back: {ipam: {config: [{subnet: 10.0.0.0/8}]}}}", "networks.back.ipam"),
            ("include: [x.yaml]", "include: a change of that file"),
            ("volumes: {v: {driver_opts: {device: /run, o: bind}}}", "volumes.v.driver_opts: /run"),
            (
                "volumes: {v: {driver_opts: {device: //run, o: bind}}}",
                "volumes.v.driver_opts: /run",
            ),
            (
                "volumes: {v: {driver_opts: {device: run/docker.sock, o: 'ro,rbind'}}}",
                "volumes.v.driver_opts: device: run/docker.sock is not a whole path",
            ),
            (
                "volumes: {v: {driver_opts: {type: proc, device: proc}}}",
                "volumes.v.driver_opts: type: proc is neither a folder",
            ),
            (
                "volumes: {v: {driver_opts: {type: ext4, device: /dev/sda1}}}",
                "volumes.v.driver_opts: type: ext4 is neither a folder",
            ),
            (
                "volumes: {v: {driver_opts: {type: overlay, device: x, o: 'lowerdir=/run:/etc'}}}",
                "volumes.v.driver_opts: type: overlay is neither a folder",
            ),
            ("secrets: {s: {file: /run/docker.sock}}", "secrets.s.file: /run/docker.sock"),
        ):
            (fault,) = said("command: x", top)
            self.assertIn(f"line 5: {words}", fault)
        self.assertEqual(said("command: x", "networks: {back: {internal: true}, front: }"), [])
        for fine in (
            "{driver_opts: {type: nfs, o: 'addr=10.0.0.9,rw', device: ':/exports'}}",
            "{driver_opts: {type: cifs, device: //files/run}}",
            "{driver_opts: {type: tmpfs, device: tmpfs, o: size=9m}}",
            "{driver_opts: {type: none, o: bind, device: /data/a.example/db}}",
            "{driver: plugin, driver_opts: {type: anything}}",
        ):
            self.assertEqual(said("command: x", f"volumes: {{v: {fine}}}"), [], fine)

    def test_as_the_tool_says_it(self) -> None:
        """Names that the tool has made of the project's are nobody else's."""
        networks = {"default": {"name": "p_default", "ipam": {}}, "x": {"name": "q_x"}}
        document = {"services": {"a": {"image": "x"}}, "networks": networks}
        (objection,) = objections(document, [], "/", "p")
        self.assertEqual(objection.path, ("networks", "x"))

    def test_aliases(self) -> None:
        """Aliases may repeat what stands elsewhere, and stand for no more than a file can be, nor
        for what they stand in."""
        shared = "x-a: &a {image: x}\nservices:\n  web: *a\n"
        self.assertEqual(faults(shared), [])
        problem = self.assertRaises(NotCompose, File, "services: &a\n  web: {image: x, pid: *a}\n")
        self.assertEqual(str(problem), "line 1: what begins here holds an alias of itself")
        lines = ["x-a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        for n in range(9):
            lines.append(f"x-a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]")
        text = "\n".join([*lines, "services:", "  web: {image: x, pid: *a9}"])
        problem = self.assertRaises(NotCompose, File, text)
        self.assertIn("line 5: with its aliases", str(problem))

    def test_nested(self) -> None:
        """A folder within one that is given away to be written to is refused, wherever: what can
        write to the outer one could put a link in the place of the inner one."""
        text = "services: {web: {image: x, volumes: [%s]}, db: {image: x, volumes: ['./db:/db']}}"
        (fault,) = faults(text % "'.:/all'")
        self.assertIn("/data/a.example/db is in /data/a.example, which is given away", fault)
        for fine in ("'.:/all:ro'", "'./www:/www'", "'./db:/same'", "'/data/a.example/d:/d'"):
            self.assertEqual(faults(text % fine), [])

    def test_led_out(self) -> None:
        """A relative path stays in the site's own folder, wherever it is said; a whole one is meant
        as it is."""
        for source in ("..", "../bob.example", "./a/../../b", "./a/${UP:-..}/../b"):
            (fault,) = said(f"volumes: ['{source}:/x']")
            self.assertIn("line 4: services.web.volumes: ", fault)
            self.assertIn("leads out of the site's own folder", fault)
        for source in ("${N:-${M:-..}}/b", "./${N:-${M:-..}}"):
            (fault,) = said(f"volumes: ['{source}:/x']")
            self.assertIn("where a variable within another one's default leads", fault)
        (fault,) = said("volumes: [{type: bind, source: ../b, target: /x}]")
        self.assertIn("../b leads out of the site's own folder", fault)
        (fault,) = said("command: x", "secrets: {s: {file: ../s}}")
        self.assertIn("line 5: secrets.s.file: ../s leads out", fault)
        for fine in (".:/x", "./a/../b:/x", "/srv/x:/x", "${SNICKERS_DATA}/x:/x", "named:/x"):
            self.assertEqual(said(f"volumes: ['{fine}']"), [], fine)


class PartsTests(SynchronousTestCase):
    """What the parts of it do."""

    def test_filled(self) -> None:
        """Variables are filled in as the compose specification says."""
        variables = {"A": "1", "E": ""}
        for text, value, lacking in (
            ("$A ${A} $$A a$", "1 1 $A a$", []),
            ("${N}$N", "", ["N"]),
            ("${N:-d} ${N-d} ${E:-d} ${E-d}.", "d d d .", []),
            ("${A:+y}${N:+y}${E:+y}${E+z}", "yz", []),
            ("${N:?must be}", "", ["N"]),
            ("${N:-${A}}", "${N:-1}", []),
        ):
            self.assertEqual(filled({"x": [text]}, variables), ({"x": [value]}, lacking))

    def test_aside(self) -> None:
        """Variables are renamed wherever they are used, and nothing else is."""
        text = "$A ${A} ${A:-x} $$A $$$A $AB ${AB} A: $B $"
        self.assertEqual(
            composefile.aside(text, ["A"]),
            "$SNICKERS_ASIDE_A ${SNICKERS_ASIDE_A} ${SNICKERS_ASIDE_A:-x} $$A $$$SNICKERS_ASIDE_A "
            "$AB ${AB} A: $B $",
        )
        self.assertEqual(composefile.aside(text, []), text)

    def test_handed_on(self) -> None:
        """Who gets a variable by its name gets its value, in either form; who has said another one,
        or gets none, is left alone."""
        values = {"A": "1$", "C": "3"}
        for environment, expected in (
            ({"A": None, "B": None, "C": "x"}, {"A": "1$$", "B": None, "C": "x"}),
            (["A", "B", "C=x=y"], {"A": "1$$", "B": None, "C": "x=y"}),
            (["C=x"], ["C=x"]),
            (None, None),
        ):
            resolved = {"services": {"a": {"environment": environment}}, "x": 1}
            found = composefile.handed_on(resolved, values)
            self.assertEqual(found, {"services": {"a": {"environment": expected}}, "x": 1})

    @given(st.text())
    def test_any(self, text: str) -> None:
        """Whatever a file says, it is read or refused in words."""
        try:
            list(File(text).faults("", {}, []))
        except NotCompose as problem:
            self.assertTrue(str(problem))

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        [
                            *("volumes", "ports", "deploy", "networks", "extends", "build", "pid"),
                            *(
                                "cap_add",
                                "security_opt",
                                "source",
                                "replicas",
                                "post_start",
                                "scale",
                            ),
                            *("environment", "volumes_from", "network_mode", "ipam", "driver_opts"),
                        ]
                    ),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=12,
        )
    )
    def test_any_service(self, service: object) -> None:
        """Whatever stands where something else should, nothing raises but in words."""
        import json

        try:
            text = json.dumps(
                {"services": {"web": service}, "volumes": service, "networks": service}
            )
            list(File(text).faults("web", {}, []))
        except NotCompose as problem:
            self.assertTrue(str(problem))

    def test_ambiguous(self) -> None:
        """A text that the tool would read anew as one with a variable is found, however deep; what
        is escaped is none."""
        for text in ("/${X-../run}:/s", "a$b", "$$$x", "$"):
            self.assertEqual(ambiguous({"services": {"a": {"volumes": [1, text]}}}), text)
        self.assertEqual(ambiguous({"a": ["$$x", "b", "$$$$"], "b": None}), "")

    def test_mounts(self) -> None:
        """Both forms are understood."""
        said = {
            "volumes": [
                *("./a:/a", "/b:/b:ro", "c:/c:rw", "/anonymous", "~/d:/d:z,ro"),
                {"type": "bind", "source": "/e", "target": "/e", "read_only": True},
                {"type": "volume", "source": "/g", "target": "/g"},
                {"type": "tmpfs", "target": "/f"},
            ]
        }
        self.assertEqual(
            [(mount.kind, mount.source, mount.read_only) for mount in mounts(said)],
            [
                ("bind", "./a", False),
                ("bind", "/b", True),
                ("volume", "c", False),
                ("bind", "~/d", True),
                ("bind", "/e", True),
                ("bind", "/g", False),
                ("tmpfs", "", False),
            ],
        )

    def test_understood(self) -> None:
        """An answer of the tool that is none is refused."""
        self.assertEqual(understood('{"services": {"a": {}}}'), {"services": {"a": {}}})
        for text in ("", "[]", "services: []", "services: {a: 1}", "{"):
            self.assertRaises(NotCompose, understood, text)
        self.assertEqual(composefile.SITE, "SNICKERS_SITE")
