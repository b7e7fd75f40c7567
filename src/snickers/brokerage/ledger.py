"""What the configuration declares, as the broker has read it: the only source of what it does.

Pure. It must never take anything from the front: the front's expectations are compared with what is
here, and where they differ it is this that counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from snickers.config.difference import merge
from snickers.config.values import Configuration, Container, Site
from snickers.interfaces.engine import Declared


class Ledger:
    """The containers of the last good configuration."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    def renew(self, fresh: Configuration) -> None:
        """Take what was read: as with the front, a site at fault keeps its last good version."""
        self._configuration = merge(self._configuration, fresh)

    def _site(self, name: str) -> Site | None:
        site = self._configuration.sites.get(name)
        return site if site is not None and site.enabled else None

    def declared(self, name: str) -> Declared | None:
        """Return what is to run for the site *name*; ``None``: no container."""
        site = self._site(name)
        if site is None or not isinstance(site.kind, Container):
            return None
        return Declared(site.name, site.kind, site.data)

    def commands(self, name: str) -> Sequence[tuple[str, ...]]:
        """Return the commands that may be run inside of the container of the site *name*."""
        declared = self.declared(name)
        if declared is None:
            return ()
        life = declared.kind.life
        return [command for command in (life.snapshot, life.veto) if command]

    def sources(self, name: str) -> Sequence[str]:
        """Return the paths of this host that the container of the site *name* is given."""
        declared = self.declared(name)
        if declared is None or not isinstance(declared.kind, Container):
            return ()
        if declared.kind.services:
            return self._of_services(declared)
        volumes = [volume.partition(":")[0] for volume in declared.kind.volumes]
        own = [declared.data] if declared.kind.data else []
        return [*own, *(source for source in volumes if source.startswith("/"))]

    def _of_services(self, declared: Declared) -> Sequence[str]:
        # Not before: it takes some megabytes, which others shall not pay.
        from snickers import composefile

        assert isinstance(declared.kind, Container)
        variables = {
            **dict(declared.kind.environment),
            composefile.SITE: declared.site,
            composefile.DATA: declared.data,
        }
        document, _ = composefile.filled(
            composefile.File(declared.kind.composition).document, variables
        )
        given = composefile.binds(document, declared.data)
        return [declared.data, *dict.fromkeys(path for _, path, _ in given)]
