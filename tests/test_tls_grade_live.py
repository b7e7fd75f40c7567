"""What strangers who look for weaknesses find in a real Snickers: ``testssl.sh`` and ``sslyze``.

The first finds what is wrong with the handshake, the headers and old attacks; the second tries
each suite of each version, and compares with Mozilla's recommendation. The grade is that of
testssl.sh where it gives one (from 3.2 on), and reckoned from what it found by the same guide
(SSL Labs' Server Rating Guide, 2009q) where it does not.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live_setup import SETTINGS, Snickers

HOST = "grade.localhost"
SITE = f"""
default site = {HOST}

[{HOST}]
type = static
root = files
hsts = 365d
header.X-Content-Type-Options = nosniff
header.X-Frame-Options = DENY
header.Content-Security-Policy = default-src 'self'
header.Referrer-Policy = no-referrer
"""
"""With a default site, since testssl.sh asks without a name for some of what it looks at."""

LOOKED_FOR = ("--protocols", "--server-preference", "--server-defaults", "--headers")
LOOKED_FOR += ("--vulnerable",)
"""What the grade needs. Suites and groups are left to sslyze, which tries them all in a second."""
ALL = 240.0
"""Seconds for one of the tools on a busy machine; both together take some 30 on an idle one."""

BY_NATURE = {
    "engine_problem": "the OpenSSL that testssl.sh was given knows no ciphers of GOST",
    "cert_revocation": "the internal authority revokes nothing: it makes a new root",
    "sessionresumption_ticket": "its client may be gone before its ticket has come (TLS 1.3); "
    "sslyze looks at it too",
}
"""What is not ours to mend, and why."""

HALF_A_YEAR = 15552000
"""Seconds that HSTS must hold for an A+."""
FORWARD = re.compile("TLS_(AES|CHACHA20)_|ECDHE-")
"""Suites whose keys are exchanged anew for each connection."""


def strength(suite: str) -> int:
    """Return the bits of *suite*'s key, by OpenSSL's name of it."""
    return 256 if "AES256" in suite or "AES_256" in suite or "CHACHA20" in suite else 128


def grade(found: Mapping[str, str]) -> str:
    """Return the grade of the guide for what testssl.sh *found*: its findings by their ids.

    Only the best grades are told apart: for all that are worse the answer is ``B``.
    """
    if "overall_grade" in found:
        return found["overall_grade"]
    versions = [name for name in ("TLS1_2", "TLS1_3") if found[name].startswith("offered")]
    old = [name for name in ("SSLv2", "SSLv3", "TLS1", "TLS1_1") if found[name] != "not offered"]
    suites = [
        suite
        for name, text in found.items()
        if name.startswith("cipherorder_")
        for suite in text.split()
    ]
    key = re.fullmatch(r"(EC|RSA) (\d+) bits", found["cert_keySize"])
    if old or not versions or not suites or key is None:
        return "B"
    if not all(FORWARD.match(suite) for suite in suites):
        return "B"
    # An elliptic curve's 256 bits count as 3,072 of RSA, between the 90 and the 100 of the guide.
    least = 256 if key[1] == "EC" else 2048
    exchange = 90 if int(key[2]) >= least else 0
    bits = [100 if strength(suite) == 256 else 80 for suite in suites]
    score = 0.3 * 100 + 0.3 * exchange + 0.4 * (max(bits) + min(bits)) / 2
    if score < 80:
        return "B"
    if "TLS1_3" not in versions:
        return "A-"
    lasts = re.search(r"=(\d+) seconds", found.get("HSTS_time", ""))
    return "A+" if lasts and int(lasts[1]) >= HALF_A_YEAR else "A"


def unclean(findings: Sequence[Mapping[str, str]]) -> list[str]:
    """Return what of testssl.sh's *findings* is worse than informing, but what is by nature."""
    return [
        f"{each['id']}: {each['severity']}: {each['finding']}"
        for each in findings
        if each["severity"] not in ("OK", "INFO") and each["id"] not in BY_NATURE
    ]


def need(what: str, *programs: str) -> str:
    """Return the path of the first of *programs*, or skip where all are missing and may be."""
    for program in programs:
        path = shutil.which(program)
        if path is not None:
            return path
    if not os.environ.get("SNICKERS_REQUIRE_ALL"):
        raise SkipTest(f"{programs[0]} is not installed: {what}")
    return programs[0]


class GradeLiveTests(SynchronousTestCase):
    """One Snickers with HSTS on, its authority known to the tools."""

    def setUp(self) -> None:
        self.snickers = Snickers(self, SITE, SETTINGS)
        files = self.snickers.folder / "files"
        files.mkdir()
        (files / "index.html").write_text("<!doctype html><title>graded</title>\n")
        self.assertEqual(self.snickers.get(HOST)[0], 200)
        self.authority = str(self.snickers.folder / "state" / "internal" / "ca.pem")

    def run_tool(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.snickers.folder,
            # How long testssl.sh sleeps for the network, each time; here there is none.
            env={**os.environ, "USLEEP_SND": "0.01", "USLEEP_REC": "0.02"},
            timeout=ALL,
            check=False,
        )

    def test_testssl(self) -> None:
        """testssl.sh finds nothing to object to, and the grade is A+."""
        testssl = need("the package testssl.sh", "testssl", "testssl.sh")
        told = self.snickers.folder / "told.json"
        done = self.run_tool(
            *(testssl, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none"),
            *("--ip", "127.0.0.1", "--add-ca", self.authority, "--jsonfile", str(told)),
            *("--openssl", need("the package openssl", "openssl"), *LOOKED_FOR),
            f"{HOST}:{self.snickers.https}",
        )
        self.assertTrue(told.exists(), done.stdout + done.stderr)
        findings = json.loads(told.read_text())
        self.assertEqual(unclean(findings), [], done.stdout)
        found = {each["id"]: each["finding"] for each in findings}
        self.assertEqual(grade(found), "A+", done.stdout)
        # That it has looked, and not only said nothing.
        self.assertIn("supported", found["secure_renego"])
        for looked_at in ("secure_client_renego", "CRIME_TLS", "ticketbleed", "heartbleed"):
            self.assertTrue(found[looked_at].startswith("not vulnerable"), looked_at)
        self.assertEqual(found["cipher_order"], "server")
        self.assertTrue(found["cert_chain_of_trust"].startswith("passed"))

    def test_sslyze(self) -> None:
        """What Mozilla recommends, by sslyze: old versions and suites refused, no early data, no
        renegotiation, no compression."""
        sslyze = need("pip install sslyze, in an environment of its own", "sslyze")
        told = self.snickers.folder / "told.json"
        done = self.run_tool(
            *(sslyze, "--certinfo_ca_file", self.authority, "--json_out", str(told)),
            *("--mozilla_config", "intermediate", "--early_data", "--resum"),
            f"{HOST}:{self.snickers.https}{{127.0.0.1}}",
        )
        self.assertIn("OK - Compliant", done.stdout, done.stdout + done.stderr)
        self.assertEqual(done.returncode, 0)
        (scanned,) = json.loads(told.read_text())["server_scan_results"]
        results: Mapping[str, Any] = scanned["scan_result"]
        wrong = [name for name, each in results.items() if each["status"].startswith("ERROR")]
        self.assertEqual(wrong, [])

        def of(name: str) -> Any:
            return results[name]["result"]

        for version in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
            self.assertEqual(of(f"{version}_cipher_suites")["accepted_cipher_suites"], [])
        for version in ("tls_1_2", "tls_1_3"):
            accepted = of(f"{version}_cipher_suites")["accepted_cipher_suites"]
            self.assertEqual(len(accepted), 3)
            for each in accepted:
                self.assertTrue(each["ephemeral_key"], each)
        self.assertFalse(of("tls_compression")["supports_compression"])
        self.assertFalse(of("tls_1_3_early_data")["supports_early_data"])
        renegotiation = of("session_renegotiation")
        self.assertTrue(renegotiation["supports_secure_renegotiation"])
        self.assertFalse(renegotiation["is_vulnerable_to_client_renegotiation_dos"])
        self.assertTrue(of("tls_extended_master_secret")["supports_ems_extension"])
        resumed = of("session_resumption")["tls_ticket_resumption_result"]
        self.assertEqual(resumed, "FULLY_SUPPORTED")
        curves = {each["name"] for each in of("elliptic_curves")["supported_curves"]}
        self.assertEqual(curves, {"X25519", "secp256r1", "secp384r1"})


class GradeTests(SynchronousTestCase):
    """The reckoning finds what it looks for."""

    GOOD = {
        **dict.fromkeys(("SSLv2", "SSLv3", "TLS1", "TLS1_1"), "not offered"),
        "TLS1_2": "offered",
        "TLS1_3": "offered with final",
        "cipherorder_TLSv1_2": "ECDHE-ECDSA-AES256-GCM-SHA384 ECDHE-ECDSA-AES128-GCM-SHA256",
        "cipherorder_TLSv1_3": "TLS_AES_128_GCM_SHA256 TLS_CHACHA20_POLY1305_SHA256",
        "cert_keySize": "EC 256 bits",
        "HSTS_time": "365 days (=31536000 seconds) > 15552000 seconds",
    }

    def test_best(self) -> None:
        """All that the guide asks for."""
        self.assertEqual(grade(self.GOOD), "A+")
        self.assertEqual(grade({**self.GOOD, "cert_keySize": "RSA 2048 bits"}), "A+")

    def test_worse(self) -> None:
        """Whatever lacks costs the best grade."""
        for change, found in (
            ({"HSTS_time": "30 days (=2592000 seconds) < 15552000 seconds"}, "A"),
            ({"HSTS_time": "not offered"}, "A"),
            ({"TLS1_3": "not offered"}, "A-"),
            ({"TLS1_1": "offered (deprecated)"}, "B"),
            ({"TLS1_2": "not offered", "TLS1_3": "not offered"}, "B"),
            ({"cipherorder_TLSv1_2": "ECDHE-ECDSA-AES256-GCM-SHA384 AES128-GCM-SHA256"}, "B"),
            ({"cert_keySize": "RSA 1024 bits"}, "B"),
            ({"cert_keySize": "unknown"}, "B"),
            ({"overall_grade": "T"}, "T"),
        ):
            self.assertEqual(grade({**self.GOOD, **change}), found, str(change))

    def test_unclean(self) -> None:
        """What is worse than informing is named, unless it is by nature."""
        findings = [
            {"id": "a", "severity": "OK", "finding": "well"},
            {"id": "b", "severity": "LOW", "finding": "hm"},
            {"id": "cert_revocation", "severity": "HIGH", "finding": "--"},
        ]
        self.assertEqual(unclean(findings), ["b: LOW: hm"])

    def test_needed(self) -> None:
        """A tool that lacks leaves the test out, and fails it where nothing may be left out."""
        self.patch(os, "environ", {"PATH": str(Path(self.mktemp()).absolute())})
        self.assertRaises(SkipTest, need, "somewhere", "no-such-tool")
        os.environ["SNICKERS_REQUIRE_ALL"] = "1"
        self.assertEqual(need("somewhere", "no-such-tool"), "no-such-tool")
