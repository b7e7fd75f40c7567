"""Files of names and passwords."""

from __future__ import annotations

import bcrypt
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.htpasswd import MOST_TEXT, read_htpasswd

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()


class HtpasswdTests(SynchronousTestCase):
    def test_users(self) -> None:
        """Names, in UTF-8, with hashes of all three marks; comments and empty lines are none."""
        text = "# staff\n\n" + "".join(
            f"{name}:$2{mark}${HASH[4:]}\n"
            for name, mark in zip(["a", "ü", "c d"], "aby", strict=True)
        )
        read = read_htpasswd(text)
        self.assertEqual(read.faults, ())
        self.assertEqual(list(read.users), [b"a", "ü".encode(), b"c d"])
        self.assertEqual(read.users[b"a"], b"$2a$" + HASH[4:].encode())

    def test_faults(self) -> None:
        """Each faulty line is told by its number and what is wrong, and not by what it says."""
        for line, words in [
            ("bob", "is not NAME:HASH"),
            (f":{HASH}", "has no proper name"),
            ("bob:$apr1$secret$x", "is hashed with MD5, and only bcrypt is taken"),
            ("bob:{SHA}secret", "is hashed with SHA-1"),
            ("bob:secret", "is not hashed with bcrypt"),
            (f"bob:{HASH}x", "is not hashed with bcrypt"),
            (f"bob:{HASH[:28]}z{HASH[29:]}", "is not hashed with bcrypt"),
            (f"bob:$2y$16${HASH[7:]}", "has the cost 16"),
            (f"bob:$2y$03${HASH[7:]}", "has the cost 03".replace("03", "3")),
            (f"a:{HASH}", "is about the same user as line 1"),
        ]:
            (fault,) = read_htpasswd(f"a:{HASH}\n{line}").faults
            self.assertTrue(fault.startswith(f"line 2 {words}"), fault)
            self.assertNotIn("secret", fault)

    def test_nobody(self) -> None:
        """A file that names nobody is a fault, and so is one without an end."""
        self.assertIn("names nobody", read_htpasswd("# x\n").faults[0])
        self.assertIn("is larger", read_htpasswd("#" * (MOST_TEXT + 1)).faults[0])

    @settings(derandomize=True, deadline=None, max_examples=100)
    @given(st.text(st.sampled_from(":$2aby045./\nx#\0 é"), max_size=200))
    def test_anything(self, text: str) -> None:
        """Whatever the text: every user has a hash that can be checked, else there is a fault."""
        read = read_htpasswd(text)
        self.assertTrue(read.users or read.faults)
        for hashed in read.users.values():
            bcrypt.checkpw(b"x", hashed)
