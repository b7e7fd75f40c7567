"""The difference of two configurations, and what shall run of a faulty one."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.difference import Difference, changes, difference, merge
from snickers.config.parse import parse
from snickers.config.values import (
    Asleep,
    Configuration,
    Container,
    Fault,
    Lifecycle,
    Process,
    Redirect,
    Settings,
    Site,
    Where,
)

FIXED = settings(derandomize=True, deadline=None, max_examples=100)
NAMES = ("a.example", "b.example", "c.example", "*.d.example")


def redirect(name: str, to: str = "https://x.example", *also: str, file: str = "a.ini") -> Site:
    """A small site."""
    return Site(name, Redirect(to), also, where=Where(file, 1))


def configuration(*sites: Site, **more: object) -> Configuration:
    """A configuration of *sites*."""
    return Configuration(**{"settings": Settings(), "sites": {s.name: s for s in sites}, **more})


def fault(file: str = "a.ini") -> Fault:
    """Some fault."""
    return Fault(Where(file, 2), "a.example", "to", "wrong")


@st.composite
def configurations(draw: st.DrawFn, faulty: bool = True) -> Configuration:
    """A configuration as `parse` returns it: no name twice, broken sites have faults."""
    sites = {}
    broken = {}
    free = ["w.example", "x.example", "y.example"]
    for name in NAMES:
        state = draw(st.sampled_from(["", "good", "broken"] if faulty else ["", "good"]))
        file = draw(st.sampled_from(["a.ini", "b.ini"]))
        if state == "good":
            also = draw(st.lists(st.sampled_from(free), unique=True, max_size=2)) if free else []
            free = [one for one in free if one not in also]
            to = draw(st.sampled_from(["https://1.example", "https://2.example"]))
            sites[name] = redirect(name, to, *also, file=file)
        elif state == "broken":
            broken[name] = (fault(file),)
    damaged = draw(st.sampled_from([(), ("a.ini",), ("a.ini", "b.ini")])) if faulty else ()
    settings_at_fault = faulty and draw(st.booleans())
    faults = tuple(f for each in broken.values() for f in each)
    return Configuration(
        None if settings_at_fault else Settings(state=draw(st.sampled_from(["/a", "/b"]))),
        sites,
        broken,
        faults if faults or not settings_at_fault else (fault(),),
        damaged,
    )


def applied(sites: Mapping[str, Site], change: Difference) -> dict[str, Site]:
    """The sites after *change*, each of whose parts must fit them."""
    after = dict(sites)
    for site in change.removed:
        assert after.pop(site.name) == site
    for old, new in change.changed:
        assert after[old.name] == old
        assert old != new
        after[new.name] = new
    for site in change.added:
        assert site.name not in after
        after[site.name] = site
    return after


class DifferenceTests(SynchronousTestCase):
    def test_parts(self) -> None:
        """Sites are added, changed and removed; what is the same is in no part."""
        a, b, c = (redirect(name) for name in ("a.example", "b.example", "c.example"))
        changed = evolve(b, enabled=False)
        d = redirect("d.example")
        self.assertEqual(
            difference(configuration(a, b, c), configuration(a, changed, d)),
            Difference(added=(d,), changed=((b, changed),), removed=(c,)),
        )

    def test_first(self) -> None:
        """Against nothing, every site is added, and no setting has changed."""
        a = redirect("a.example")
        new = configuration(a, settings=Settings(state="/x"))
        self.assertEqual(difference(None, new), Difference(added=(a,)))

    def test_moved_lines(self) -> None:
        """A section that stands elsewhere is no difference."""
        old = configuration(redirect("a.example"))
        new = configuration(redirect("a.example", file="b.ini"))
        self.assertFalse(difference(old, new))

    def test_settings(self) -> None:
        """Settings are told as they are written; with a fault in them none is told."""
        old = parse([("a.ini", "[snickers]\nkeep alive = 90s\nhttp = tcp:8080")])
        new = parse([("a.ini", "[snickers]\nreload every = never\ndocker = tcp://h:1")])
        self.assertEqual(
            difference(old, new).settings,
            (
                ("http", "tcp:8080", "tcp:80"),
                ("reload every", "5s", "never"),
                ("docker", "", "tcp://h:1"),
                ("keep alive", "90s", "2m"),
            ),
        )
        self.assertEqual(difference(old, configuration(settings=None)).settings, ())

    def test_truth(self) -> None:
        """A difference is true if there is one."""
        a = redirect("a.example")
        for some in [
            Difference(added=(a,)),
            Difference(changed=((a, a),)),
            Difference(removed=(a,)),
            Difference(settings=(("state", "/a", "/b"),)),
        ]:
            self.assertTrue(some)
        self.assertFalse(Difference())

    @FIXED
    @given(configurations(), configurations())
    def test_applied(self, old: Configuration, new: Configuration) -> None:
        """A difference applied to the old sites gives the new ones."""
        self.assertEqual(applied(old.sites, difference(old, new)), dict(new.sites))
        self.assertEqual(applied({}, difference(None, new)), dict(new.sites))

    @FIXED
    @given(configurations())
    def test_same(self, one: Configuration) -> None:
        """A configuration does not differ from itself, nor from an equal one."""
        self.assertEqual(difference(one, one), Difference())
        self.assertEqual(difference(one, evolve(one, sites=dict(one.sites))), Difference())


class ChangesTests(SynchronousTestCase):
    """What is told of one site's change."""

    def test_options(self) -> None:
        """Options are told in the words of the INI."""
        old = Site("a.example", Container("x:1", life=Lifecycle(idle_after=60.0)))
        kind = Container("x:2", memory=2**20, read_only=True, life=Lifecycle(hold=0.25))
        new = Site("a.example", kind, also=("b.example", "c.example"), enabled=False)
        self.assertEqual(
            sorted(changes(old, new)),
            [
                ("also", "", "b.example c.example"),
                ("enabled", "on", "off"),
                ("hold", "2s", "250ms"),
                ("idle after", "1m", "30m"),
                ("image", "x:1", "x:2"),
                ("memory", "1g", "1m"),
                ("read only", "off", "on"),
            ],
        )

    def test_another_type(self) -> None:
        """With another type, what only one of them has is empty for the other."""
        old = Site("a.example", Redirect("https://x.example"))
        new = Site("a.example", Process(("run", "a b")))
        told = {option: (was, now) for option, was, now in changes(old, new)}
        self.assertEqual(told["type"], ("redirect", "process"))
        self.assertEqual(told["to"], ("https://x.example", ""))
        self.assertEqual(told["command"], ("", "run 'a b'"))
        self.assertEqual(told["health"], ("", "tcp"))

    def test_secrets(self) -> None:
        """Variables are named, and their values are told to nobody."""
        variables = (("A", "secret-1"), ("B", "secret-2"), ("C", "same"), ("D", ""))
        old = Site("a.example", Container("x", environment=variables))
        variables = (("A", "secret-3"), ("C", "same"), ("D", ""), ("E", "secret-4"))
        new = Site("a.example", Container("x", environment=variables))
        told = changes(old, new)
        self.assertEqual([option for option, _, _ in told], ["env.A", "env.B", "env.E"])
        self.assertNotIn("secret", repr(told))
        for _, was, now in told:
            self.assertNotEqual(was, now)

    def test_content(self) -> None:
        """A file whose content alone is another is said to be so."""
        old = evolve(redirect("a.example"), kind=Container("x"))
        one, other = (
            evolve(old, asleep=(Asleep("/robots.txt", file="/r", content=content),))
            for content in (b"a", b"b")
        )
        self.assertEqual(changes(old, one), (("answers asleep", "", "/robots.txt /r"),))
        self.assertEqual(
            changes(one, other),
            (("answers asleep", "/robots.txt /r", "/robots.txt /r (another content)"),),
        )
        self.assertEqual(changes(one, one), ())
        one, other = (
            evolve(old, kind=Container(services="/c.yaml", composition=text)) for text in "ab"
        )
        told = (("services", "/c.yaml", "/c.yaml (another content)"),)
        self.assertEqual(changes(one, other), told)
        moved = evolve(old, kind=Container(services="/d.yaml", composition="b"))
        self.assertEqual(changes(one, moved), (("services", "/c.yaml", "/d.yaml"),))

    def test_fields(self) -> None:
        """Added fields are told by name and value, and one that is removed as such."""
        old = Site("a.example", Redirect("https://x.example"), headers=(("A", "1"), ("B", "1")))
        new = Site("a.example", Redirect("https://x.example"), headers=(("B", "2"), ("C", "")))
        self.assertEqual(
            changes(old, new),
            (("header.A", "1", ""), ("header.B", "1", "2"), ("header.C", "", "(removed)")),
        )

    @FIXED
    @given(configurations(faulty=False), configurations(faulty=False))
    def test_any(self, old: Configuration, new: Configuration) -> None:
        """Whatever differs is told."""
        for before, after in difference(old, new).changed:
            self.assertTrue(changes(before, after))
            self.assertEqual(changes(before, before), ())


class MergeTests(SynchronousTestCase):
    """What shall run."""

    def test_first(self) -> None:
        """Where nothing runs, what was read shall run as far as it goes."""
        fresh = configuration(broken={"a.example": (fault(),)}, faults=(fault(),))
        self.assertIs(merge(None, fresh), fresh)

    def test_broken(self) -> None:
        """A broken site stays as it was, and stays told as broken; others follow what was read."""
        a, b, c = (redirect(name) for name in ("a.example", "b.example", "c.example"))
        newer = evolve(b, enabled=False)
        fresh = configuration(newer, broken={"a.example": (fault(),)}, faults=(fault(),))
        goal = merge(configuration(a, b, c), fresh)
        self.assertEqual(dict(goal.sites), {"a.example": a, "b.example": newer})
        self.assertEqual((goal.broken, goal.faults), (fresh.broken, fresh.faults))

    def test_never_good(self) -> None:
        """A broken site that never ran is only told."""
        fresh = configuration(broken={"a.example": (fault(),)}, faults=(fault(),))
        self.assertEqual(dict(merge(configuration(), fresh).sites), {})

    def test_settings(self) -> None:
        """A fault in the settings leaves everything as it was, and is told."""
        running = configuration(redirect("a.example"), broken={"b.example": (fault(),)})
        fresh = configuration(redirect("c.example"), settings=None, faults=(fault("z.ini"),))
        goal = merge(running, fresh)
        self.assertEqual(goal, evolve(running, faults=fresh.faults))

    def test_damaged(self) -> None:
        """No site disappears because the file it was in cannot be read wholly."""
        a, b = redirect("a.example"), redirect("b.example", file="b.ini")
        running = configuration(a, b, broken={"c.example": (fault("a.ini"),)})
        fresh = configuration(damaged=("a.ini",), faults=(fault(),))
        goal = merge(running, fresh)
        self.assertEqual(list(goal.sites), ["a.example"])
        self.assertEqual(list(goal.broken), ["c.example"])

    def test_names_given_away(self) -> None:
        """What stays no longer answers to a name that another site has now."""
        a = redirect("a.example", "https://x.example", "x.example", "y.example")
        b = redirect("b.example", "https://x.example", "x.example")
        goal = merge(configuration(a), configuration(b, broken={"a.example": (fault(),)}))
        self.assertEqual(goal.sites["a.example"].also, ("y.example",))
        b = redirect("b.example", "https://x.example", "a.example")
        goal = merge(configuration(a), configuration(b, damaged=("a.ini",)))
        self.assertEqual(list(goal.sites), ["b.example"])

    @FIXED
    @given(configurations(), configurations())
    def test_no_good_site_is_lost(self, running: Configuration, fresh: Configuration) -> None:
        """Every good site runs; a broken one that ran does so still; no name is had twice."""
        goal = merge(running, fresh)
        if fresh.settings is None:
            self.assertEqual((goal.sites, goal.settings), (running.sites, running.settings))
            return
        for name, site in fresh.sites.items():
            self.assertIs(goal.sites[name], site)
        for name in fresh.broken:
            self.assertIn(name, goal.broken)
            self.assertEqual(name in goal.sites, name in running.sites)
        for name, site in running.sites.items():
            if name not in fresh.sites and (
                name in fresh.broken or site.where.file in fresh.damaged
            ):
                self.assertEqual(goal.sites[name].kind, site.kind)
        names = [name for site in goal.sites.values() for name in site.names]
        self.assertEqual(len(set(names)), len(names))
        self.assertEqual(goal.settings, fresh.settings)

    @FIXED
    @given(st.one_of(st.none(), configurations()), configurations(faulty=False))
    def test_without_fault(self, running: Configuration | None, fresh: Configuration) -> None:
        """What has no fault runs as it was read, whatever ran before."""
        self.assertIs(merge(running, fresh), fresh)

    @FIXED
    @given(configurations(faulty=False), configurations(), configurations(faulty=False))
    def test_healed(self, first: Configuration, bad: Configuration, last: Configuration) -> None:
        """Once everything is right again, nothing is left of the time between."""
        self.assertIs(merge(merge(first, bad), last), last)
