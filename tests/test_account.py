"""Whom a configuration's user means, without root and with it."""

from __future__ import annotations

import grp
import os
import pwd

from twisted.trial.unittest import SynchronousTestCase

from snickers.containers.account import Account, account
from snickers.containers.engine import EngineFailed

USERS = {"lamp": (1234, 50), "root": (0, 0)}
GROUPS = {"staff": 50, "www": 33}
MEMBER = {"lamp": [33], "root": []}


class AccountTests(SynchronousTestCase):
    """`account`, on a host with a user ``lamp``."""

    def setUp(self) -> None:
        def user(name: str):
            uid, gid = USERS[name]
            return pwd.struct_passwd((name, "x", uid, gid, "", "/", "/bin/sh"))

        def user_of(number: int):
            names = [name for name, (uid, _) in USERS.items() if uid == number]
            if not names:
                raise KeyError(number)
            return user(names[0])

        def group(name: str):
            return grp.struct_group((name, "x", GROUPS[name], []))

        self.patch(pwd, "getpwnam", user)
        self.patch(pwd, "getpwuid", user_of)
        self.patch(grp, "getgrnam", group)
        self.patch(os, "getgrouplist", lambda name, gid: [gid, *MEMBER[name]])
        self.be(0, 0)

    def be(self, uid: int, gid: int) -> None:
        """Let Snickers run as this user."""
        self.patch(os, "geteuid", lambda: uid)
        self.patch(os, "getegid", lambda: gid)

    def fails(self, said: str) -> str:
        words = str(self.assertRaises(EngineFailed, account, said))
        self.assertTrue(words.startswith(f"user = {said}: "))
        return words

    def test_nobody(self) -> None:
        """Where nothing is said it is whoever Snickers is."""
        self.assertIsNone(account(""))

    def test_forms(self) -> None:
        """Names and numbers mean the same; a known user has all of the user's groups."""
        for said in ("lamp", "1234", "lamp:staff", "1234:50"):
            self.assertEqual(account(said), Account(1234, 50, (50, 33)))

    def test_other_group(self) -> None:
        """Another group takes the place of the user's own."""
        self.assertEqual(account("lamp:www"), Account(1234, 33, (33, 33)))
        self.assertEqual(account("lamp:7"), Account(1234, 7, (7, 33)))

    def test_unknown_number(self) -> None:
        """A number that has no name needs a group, and has only that."""
        self.assertEqual(account("4321:7"), Account(4321, 7, (7,)))
        self.assertIn("give 4321:GROUP", self.fails("4321"))

    def test_unknown(self) -> None:
        """Names that are not there are named."""
        self.assertIn("no user nobody-such", self.fails("nobody-such"))
        self.assertIn("no user nobody-such", self.fails("nobody-such:7"))
        self.assertIn("no group such", self.fails("lamp:such"))

    def test_without_root(self) -> None:
        """Without root nobody else can be meant; who Snickers is need not become anybody."""
        self.be(1234, 50)
        self.assertIsNone(account("lamp"))
        self.assertIsNone(account("1234:50"))
        self.assertIn("only root", self.fails("lamp:www"))
        self.assertIn("only root", self.fails("root"))
