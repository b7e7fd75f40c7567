"""Where the rooms meet: what is promised there is said, kept, and can cross a process."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import attrs
from attrs.exceptions import FrozenInstanceError
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementedBy, implementer
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyClass

import snickers
from snickers import interfaces
from snickers.config.values import Settings, Site, Static
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.certificates import Submitted, TakenIn
from snickers.interfaces.colleagues import NOTHING, Share
from snickers.interfaces.plane import Change
from snickers.interfaces.traffic import BOUNDS, NO_TRAFFIC, Traffic


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """Every module below *package*."""
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        yield importlib.import_module(found.name)


def meetings() -> Iterator[Any]:
    """Everything that a file of `snickers.interfaces` defines itself."""
    for module in modules(interfaces):
        for value in vars(module).values():
            if getattr(value, "__module__", "") == module.__name__:
                yield value


def unkept(kind: type) -> str:
    """Why *kind* does not implement what it says of ours; ``""``: it does."""
    for promised in implementedBy(kind):
        if promised.__module__.startswith("snickers."):
            try:
                verifyClass(promised, kind)
            except Exception as error:
                return f"{kind.__name__}: {error}"
    return ""


class InterfacesTests(SynchronousTestCase):
    def test_said(self) -> None:
        """Of every interface, and of all that it has, it is said what it does."""
        found = [each for each in meetings() if isinstance(each, InterfaceClass)]
        self.assertIn("IEngine", [each.__name__ for each in found])
        silent = [each.__name__ for each in found if not each.__doc__]
        for each in found:
            for name, what in each.namesAndDescriptions():
                if not what.__doc__:
                    silent.append(f"{each.__name__}.{name}")
        self.assertEqual(silent, [])

    def test_kept(self) -> None:
        """Whoever says to implement an interface has all its methods, with its arguments."""
        kinds = {
            value
            for module in modules(snickers)
            for value in vars(module).values()
            if isinstance(value, type) and value.__module__.startswith("snickers.")
        }
        self.assertEqual(list(filter(None, map(unkept, kinds))), [])
        kept = {promised.__name__ for kind in kinds for promised in implementedBy(kind)}
        self.assertTrue({"IEngine", "IPlane", "IHandler", "IRenewer", "IAlarm"} <= kept, kept)

    def test_broken(self) -> None:
        """Who lacks a method, or takes other arguments, is found."""

        @implementer(IAlarm)
        class Lacking:
            def raised(self, kind: str, site: str, message: str) -> None: ...

        @implementer(IAlarm)
        class Other(Lacking):
            def cleared(self, kind: str) -> None: ...

        @implementer(IAlarm)
        class Whole(Lacking):
            def cleared(self, kind: str, site: str) -> None: ...

        self.assertIn("cleared", unkept(Lacking))
        self.assertIn("cleared", unkept(Other))
        self.assertEqual(unkept(Whole), "")


class ValuesTests(SynchronousTestCase):
    def test_frozen(self) -> None:
        """What travels can be changed by nobody on the way."""
        values = [each for each in meetings() if isinstance(each, type) and attrs.has(each)]
        self.assertIn(Change, values)
        for each in values:
            held, name = each.__new__(each), attrs.fields(each)[0].name
            self.assertRaises(FrozenInstanceError, setattr, held, name, None)

    def test_secrets(self) -> None:
        """A key is in no line of a log that shows the value, nor is what may hold one."""
        for value in (
            Submitted(b"certificate", b"s3cret"),
            TakenIn(undone=(("key.pem", "s3cret", True),)),
        ):
            self.assertNotIn("s3cret", repr(value))

    def test_another_process(self) -> None:
        """What may cross a process comes out on the other side as it was."""
        site = Site("a.example", Static("/srv"))
        for value in (
            Change(Settings(workers=3), (site,), (), ("b.example",), certificates=("c.example",)),
            Share(1, 2, 3, {"source": "acme"}, Traffic(((200, 1),), seconds=0.5)),
        ):
            self.assertEqual(pickle.loads(pickle.dumps(value)), value)


def traffics() -> st.SearchStrategy[Traffic]:
    """Any traffic."""
    number = st.integers(0, 1 << 40)
    return st.builds(
        Traffic,
        st.dictionaries(st.integers(100, 599), number).map(lambda d: tuple(sorted(d.items()))),
        st.lists(number, min_size=len(BOUNDS) + 1, max_size=len(BOUNDS) + 1).map(tuple),
        st.integers(0, 1 << 30).map(float),
        number,
        number,
    )


class TrafficTests(SynchronousTestCase):
    def test_sum(self) -> None:
        """What two processes have counted is what they have counted together."""
        buckets = tuple(range(len(BOUNDS) + 1))
        one = Traffic(((200, 3), (404, 1)), buckets, 1.5, 10, 20)
        other = Traffic(((101, 1), (200, 2)), buckets, 0.25, 1, 2)
        self.assertEqual(
            one + other,
            Traffic(((101, 1), (200, 5), (404, 1)), tuple(2 * n for n in buckets), 1.75, 11, 22),
        )

    @given(traffics(), traffics(), traffics())
    def test_any_order(self, one: Traffic, two: Traffic, three: Traffic) -> None:
        """In whichever order processes are asked, the sum is the same; one without visitors adds
        nothing."""
        self.assertEqual((one + two) + three, three + (two + one))
        self.assertEqual(one + NO_TRAFFIC, one)
        self.assertEqual(NOTHING.traffic, NO_TRAFFIC)

    def test_other_bounds(self) -> None:
        """What was counted in other steps is not added up to nonsense."""
        self.assertRaises(ValueError, lambda: Traffic(buckets=(1,)) + NO_TRAFFIC)

    def test_bounds(self) -> None:
        """The steps rise, and there is one bucket more, for what took longer than all."""
        self.assertEqual(sorted(set(BOUNDS)), list(BOUNDS))
        self.assertEqual(len(NO_TRAFFIC.buckets), len(BOUNDS) + 1)
