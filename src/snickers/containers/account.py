"""Whom ``user = NAME[:GROUP]`` means on this host, and whether Snickers can start his processes."""

from __future__ import annotations

import grp
import os
import pwd

from attrs import frozen

from snickers.containers.engine import EngineFailed


@frozen
class Account:
    """Who a server runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def account(said: str) -> Account | None:
    """Return who ``user = NAME[:GROUP]`` means; ``None``: whoever Snickers is."""
    if not said:
        return None
    name, _, group = said.partition(":")
    try:
        known = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        known = None
    if known is None and not name.isdecimal():
        raise EngineFailed(
            f"user = {said}: this host has no user {name}. Make it, or name another."
        )
    if known is None and not group:
        raise EngineFailed(f"user = {said}: this host has no such user; give {name}:GROUP.")
    try:
        if not group:
            assert known is not None
            gid = known.pw_gid
        else:
            gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise EngineFailed(f"user = {said}: this host has no group {group}.") from None
    if known is None:
        user = Account(int(name), gid, (gid,))
    else:
        user = Account(known.pw_uid, gid, tuple(os.getgrouplist(known.pw_name, gid)))
    if os.geteuid() == 0:
        return user
    if user.uid == os.geteuid() and user.gid == os.getegid():
        return None
    raise EngineFailed(
        f"user = {said}: only root can start a server as another user, and Snickers is not root. "
        "Leave user out, or run Snickers as root."
    )
