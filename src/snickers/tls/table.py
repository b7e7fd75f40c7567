"""What is known of the sites and their certificates, without looking.

Pure: a table in memory. A site has one row; a row has one entry for each certificate that was
asked for: the internal authority makes one for all names of a site, in folders each name may have
its own. Must never grow with what clients ask for, only with what is configured.
"""

from __future__ import annotations

from attrs import define, evolve, field

from snickers.config.values import Site
from snickers.tls.credentials import spoken
from snickers.tls.loader import Loaded

RETRY_LOOKS = 6
"""Looks until something at fault is tried again although its files have not changed."""


@define(eq=False)
class Entry:
    """One certificate."""

    name: str
    """The site's name, or that one of its names that may have a folder of its own."""
    last: Loaded = field(factory=Loaded)
    """The last load, in which the context is left out: only some are kept."""
    fault: str = ""
    """What was wrong with the last load, in words."""
    known: bool = False
    """Whether `last` tells of a certificate that may be in use."""
    stale: bool = False
    """The site has changed: load before use, but fall back to what is there."""
    rest: int = 0
    """Looks until the next try."""
    made: float = 0.0
    """When the context was made that is in use, in seconds of the steady clock."""

    def take(self, loaded: Loaded, kept: bool) -> None:
        """Take what was *loaded* without its context, or what is wrong with it.

        *kept*: where it has failed, a context of before goes on being used.
        """
        self.stale = False
        self.fault = loaded.fault
        self.rest = RETRY_LOOKS if loaded.fault else 0
        if loaded.context is not None:
            self.known = True
            self.last = evolve(loaded, context=None, fault="")
        elif kept:
            self.last = _looked_at(self.last, loaded)
        else:
            self.known = False
            self.last = loaded

    def due(self, now: float) -> bool:
        """Whether to load again though no file has changed; called once a look."""
        if self.fault:
            self.rest -= 1
            return self.rest <= 0
        return self.stale or now >= self.last.renew_at

    def words(self, now: float) -> set[str]:
        """Return what the owner should hear about it."""
        words = {self.fault} if self.fault else set()
        if self.known and now >= self.last.warn_at:
            end = f"{self.last.path}: the certificate"
            moment = spoken(self.last.not_after)
            if now >= self.last.not_after:
                words.add(f"{end} expired at {moment}: put a new one and its key there")
            elif not self.fault:
                words.add(f"{end} expires at {moment}: put a new one and its key there")
        return words


def _looked_at(before: Loaded, failed: Loaded) -> Loaded:
    """Return *before*, its files as the *failed* load found them."""
    return evolve(before, watched=failed.watched)


@define(eq=False)
class Row:
    """One site."""

    site: Site
    entries: dict[str, Entry] = field(factory=dict)
    """By name."""
    told: frozenset[str] = frozenset()
    """What its owner has heard and was not told to be over."""
    version: int = 0
    """Another one: what is being loaded was asked for by an older configuration."""
    _choices: dict[bytes, str] | None = field(default=None, init=False)
    """Made when somebody first asks for the site: most of thousands sleep."""
    _wildcards: bool = field(default=False, init=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that may have a certificate of their own, the site's first."""
        return (self.site.name,) if self.site.certificates == "internal" else self.site.names

    def _index(self) -> dict[bytes, str]:
        choices = {name.encode("ascii", "replace"): name for name in self.names}
        self._choices = choices
        self._wildcards = any(name.startswith("*") for name in self.names)
        return choices

    def choose(self, server_name: bytes) -> str:
        """Return the name whose certificate to show to one who asks for *server_name*."""
        choices = self._choices or self._index()
        found = choices.get(server_name)
        if found is None and self._wildcards:
            found = choices.get(b"*." + server_name.partition(b".")[2])
        return self.site.name if found is None else found

    def change(self, site: Site) -> tuple[bool, list[str]]:
        """Take the changed *site*.

        Return whether its names or their source changed at all, and the names whose entries
        are no more.
        """
        before, self.site = self.site, site
        if before.names == site.names and before.certificates == site.certificates:
            return False, []
        self._choices = None
        gone = [name for name in self.entries if name not in self.names]
        for name in gone:
            del self.entries[name]
        # Another name says nothing of what is shown for the others, unless one is made for all.
        if before.certificates != site.certificates or site.certificates == "internal":
            self.outdate()
        if before.certificates != site.certificates:
            for entry in self.entries.values():
                entry.fault = ""  # of where nobody looks any more
        return True, gone

    def outdate(self) -> None:
        """Have all its certificates loaded again before they are used."""
        self.version += 1
        for entry in self.entries.values():
            entry.stale = True

    def words(self, now: float) -> frozenset[str]:
        """Return what the owner should hear."""
        return frozenset().union(*(entry.words(now) for entry in self.entries.values()))
