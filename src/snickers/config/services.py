"""The file of ``services`` of a site of several containers, as its section names it.

Pure. It must never be loaded where no site has one: what reads YAML takes some megabytes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from attrs import frozen

from snickers.composefile import DATA, SITE, File, NotCompose


@frozen
class Services:
    """What a file of services says."""

    service: str
    """Which of them answers visitors."""
    faults: tuple[tuple[str, str], ...] = ()
    """What is wrong: the option of the site's section that it concerns, and words."""


def look(
    path: str,
    text: str,
    service: str,
    site: str,
    data: str,
    environment: Mapping[str, str],
    own: Collection[str],
    sockets: Collection[str],
) -> Services:
    """Return what the file at *path*, which is *text*, says for *site*.

    :param service: the one that answers; empty: the only one.
    :param data: the site's own folder.
    :param environment: the values of variables.
    :param own: those of them that the site's own section, or its application, names one by one.
    :param sockets: Docker's own.
    """
    try:
        file = File(text)
    except NotCompose as problem:
        return Services(service, (("services", f"{path}: {problem}"),))
    variables = {**environment, SITE: site, DATA: data}
    faults = [
        ("services", f"{path}: {words}") for words in file.faults(service, variables, [*sockets])
    ]
    faults += [
        (
            f"env.{name}",
            f"{path} does not use it; write there which service gets it: environment: [{name}]",
        )
        for name in sorted(frozenset(own) - file.uses())
    ]
    return Services(service or next(iter(file.services), ""), tuple(faults))
