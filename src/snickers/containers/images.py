"""What images' names mean to Docker now, and how it comes by those that are not here.

Everything blocks, for threads. Must never pull what the configuration says is not to be pulled, and
never have who waits for a server wait for a registry while any image is here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from attrs import frozen

from snickers.config.values import Container
from snickers.containers import recipe, registry
from snickers.containers.dockerapi import Api, Refused
from snickers.containers.engine import EngineFailed
from snickers.containers.errand import Errand, Seen
from snickers.containers.pulling import Pulling, advice

PROGRESS_EVERY = 0.5
"""Seconds between two words about a pull, of which Docker says something for each 64 KiB."""


@frozen
class Image:
    """What an image's name means now."""

    id: str
    entrypoint: tuple[str, ...]
    digest: str = ""
    """Its name and digest as its registry has it; empty: no registry is known to have it."""


class Images:
    """The images of one Docker."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def find(self, name: str) -> Image | None:
        """Return what *name* means here, ``None``: nothing."""
        found = self._api.image(name)
        if found is None:
            return None
        return Image(
            found["Id"],
            tuple((found.get("Config") or {}).get("Entrypoint") or ()),
            recipe.digest(name, found.get("RepoDigests") or ()),
        )

    def meant(self, kind: Container, known: str, errand: Errand) -> Image:
        """Return what ``kind.image`` means here, pulled when it is not and may be.

        :param known: the image of a container that is there; it needs no image any more.
        """
        errand.began = True
        found = self.find(kind.image)
        if found is None and not known and kind.pull != "never":
            self.pull(kind, errand)
            found = self.find(kind.image)
        else:
            # Visitors wait: whether there is a newer one is looked at meanwhile.
            errand.stale = kind.pull == "always"
        if found is None and not known:
            raise EngineFailed(
                f"image = {kind.image}: it is not here, and pull = {kind.pull}. Pull or build it, "
                "or let pull = missing."
            )
        return found or Image(known, ())

    def exact(self, wanted: str, before: Sequence[Seen]) -> Image | None:
        """Return the image that is called exactly so, if a container of the site is of it."""
        for seen in before:
            if wanted and seen.instance.image == wanted:
                found = self.find(seen.image)
                digest = wanted if "@" in wanted else ""
                return Image(seen.image, () if found is None else found.entrypoint, digest)
        return None

    def made_here(self, kind: Container) -> bool:
        """Return whether no registry is known to have the image; one asked for its name could have
        a stranger's."""
        found = self.find(kind.image) if kind.pull == "missing" else None
        return found is not None and not found.digest

    def pull(self, kind: Container, errand: Errand) -> None:
        """Have here what ``kind.image`` means in its registry now; *errand* hears how far that is.

        Raises `EngineFailed` with what can be done about it.
        """
        image, login, path = kind.image, None, kind.registry_auth
        if path:
            login = registry.login(registry.read(path), image, path)
        pulling, said = Pulling(image), time.monotonic()
        errand.say(str(pulling))
        try:
            with errand.hold(self._api.pull(image, login)) as events:
                for event in events:
                    errand.check()
                    pulling.heard(event)
                    if time.monotonic() - said >= PROGRESS_EVERY:
                        said = time.monotonic()
                        errand.say(str(pulling))
        except Refused as error:
            pulling.fault = error.why
        errand.check()
        if pulling.fault:
            raise EngineFailed(
                f"image = {image}: it cannot be pulled: {pulling.fault.rstrip('.')}. "
                + advice(pulling.fault, registry.registry_of(image), path)
            )
