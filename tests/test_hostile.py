"""What hostile input and faults get, and which test shows it: the table of ``docs/security.md``.

Each row names what arrives, in the page's words, and the tests that would fail if it were not
answered as the page says. Nothing is tested here but that the page, the table and the tests agree.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from unittest import TestCase as UnitTestCase

from twisted.trial.unittest import SynchronousTestCase

PAGE = Path(__file__).parent.parent / "docs" / "security.md"

ROWS: dict[str, tuple[str, ...]] = {
    # HTTP/1
    "Content-Length with Transfer-Encoding, in either order": (
        "request.codings",
        "differential.refused",
    ),
    "a Transfer-Encoding that does not end in one `chunked`, or in HTTP/1.0": (
        "request.codings",
        "differential.refused",
    ),
    "a Content-Length twice, as a list, signed, empty, too large": (
        "request.lengths",
        "differential.refused",
    ),
    "folded lines, bare line feeds, bare carriage returns, NUL, controls": (
        "request.characters",
        "http1.bare_line_feeds",
        "differential.refused",
    ),
    "a blank before the colon, a name that is none": ("request.names", "differential.refused"),
    "sizes and extensions of chunks that are none": (
        "chunked.bad_chunks",
        "http1.bad_chunks",
        "differential.broken_off",
    ),
    "Host missing, twice, with a path, a user or a bad port": (
        "request.hosts",
        "differential.refused",
    ),
    "anything that is refused": ("hostile_live.one_record", "differential.refused"),
    "an absolute target": (
        "request.absolute_target_counts_for_the_host",
        "http1.another_host",
        "differential.refused",
    ),
    "the Host of another site": (
        "http1.another_host",
        "http2.other_names",
        "differential.refused",
    ),
    "lines, fields and heads that are too long, too many fields": (
        "request.sizes",
        "http1.limits_are_options",
        "differential.refused",
    ),
    "an Upgrade that nobody agreed to": (
        "carrier.no_tunnel_without_a_true_101",
        "request.upgrade_without_connection_is_none",
    ),
    "a malformed WebSocket handshake": ("request.websockets", "differential.refused"),
    "CONNECT and TRACE": ("request.request_lines", "request2.refused", "differential.refused"),
    "forwarding fields and their look-alikes, fields of the connection": (
        "request.spoofed_fields_are_removed",
        "request.hop_by_hop_fields_are_removed",
        "differential.read_alike",
    ),
    "bytes behind a request, pipelined requests": (
        "http1.pipelined",
        "http1.a_bad_request_behind_good_ones",
    ),
    "an upstream's answer with the same faults": ("answer.bad_answers", "carrier.bad_answers"),
    "1xx, HEAD, 204, 304, an answer before the request is complete": (
        "carrier.interim_answers",
        "carrier.head",
        "exchange.bodiless",
        "carrier.an_answer_before_the_body_is_complete",
    ),
    # HTTP/2
    "HTTP/2 fields that break the rules, a length that is not the body's": (
        "request2.names",
        "request2.values",
        "request2.fields_of_connections",
        "http2.stream_errors",
    ),
    "Host that differs from :authority": ("request2.hosts",),
    "requests that are cancelled as fast as they come, or made us cancel them": (
        "http2.rapid_reset",
        "http2.provoked_resets",
    ),
    "the same, for a server that sleeps": ("service.cancelled_as_fast_as_they_come",),
    "CONTINUATION without end, HPACK bombs, huge lists": (
        "http2.continuations",
        "http2.hpack_bomb",
        "http2.many_fields",
        "hpack.too_large",
    ),
    "floods of PING, SETTINGS, empty DATA, PRIORITY, WINDOW_UPDATE": ("http2.floods",),
    "windows that overflow, or are never opened": (
        "http2.connection_errors",
        "http2.windows_never_opened",
        "http2.no_window_at_all",
    ),
    "many streams that are never read": (
        "http2.many_that_never_read",
        "http2.many_that_read_slowly",
        "http2.ended_while_requests_wait",
    ),
    "more streams than allowed": ("http2.too_many_streams",),
    # TLS and connections
    "a hello in pieces, over records, oversized, truncated; no TLS; plain http": (
        "port.hello_in_pieces",
        "port.hello_in_pieces_over_records",
        "clienthello.too_large",
        "port.truncated_hello",
        "port.not_tls",
        "port.plain_http",
    ),
    "no SNI, an unknown one, odd bytes, a trailing dot, upper case": (
        "port.no_name",
        "port.unknown_name",
        "port.odd_name",
        "clienthello.normalised",
    ),
    "no common ALPN": ("port.no_common_alpn",),
    "questions for ACME challenges: odd tokens, unknown names, floods, names of sites that are "
    "not opened here": (
        "challenges.no_token",
        "challenges.no_name",
        "challenges.bounded",
        "plain.no_challenge",
        "port.no_challenge",
        "port.unknown_name",
        "certificates_live.http",
        "certificates_live.passed_on",
    ),
    "renegotiation, compression, early data, old versions, weak ciphers": (
        "hostile_live.tls",
        "transport.renegotiation",
        "transport.old_versions",
        "transport.weak_cipher",
    ),
    "slow handshakes, heads, bodies and readers": (
        "port.slow_hello",
        "port.slow_handshake",
        "http1.slow_head",
        "http1.trickled_body",
        "http1.trickling_reader",
        "http2.says_nothing",
        "http2.stalled_body",
        "http2.reader_that_stops",
    ),
    "honest slow work": (
        "patience.upload_of_hours",
        "patience.upload_to_a_slow_server",
        "patience.events_of_days",
        "patience.silent_for_days",
    ),
    "many connections, of one address or in all; no descriptors": (
        "listening.per_address",
        "listening.total",
        "listening.limits",
        "listening.no_descriptors",
        "hostile_live.many_of_one_address",
        "hostile_live.no_descriptors",
    ),
    "PROXY headers: from others, missing, bad, slow": (
        "announced.not_trusted",
        "announced.required",
        "announced.slow",
        "proxyheader.bad",
        "port.slow_announcement",
    ),
    "a proxy's own connections, IPv4 said as IPv6": (
        "announced.its_own_connections_lock_nobody_out",
        "announced.only_connected",
        "announced.mapped",
        "listening.both_kinds",
        "listening.proxies",
    ),
    # Files, logs
    "`..`, encoded slashes, NUL, links out of the root, special and hidden files": (
        "paths.refused",
        "files.special_files",
        "files.links",
        "files.no_path_leads_outside",
        "beneath.no_path_leads_outside",
    ),
    "controls, quotes and odd bytes in what is logged or shown": (
        "logforms.escape",
        "logforms.any",
        "pages.names_are_data",
        "alarm.printable",
    ),
    "a key that others can read": ("folders.others", "ordered.readable_by_others"),
    # Faults of our own house
    "an authority that is slow byte by byte, sends without end, in circles, or to where there "
    "is no TLS": (
        "acme_client.slow_bytes",
        "acme_client.huge",
        "acme_client.led_away",
        "acme_punctual.over",
    ),
    "an authority that wants names proven that nobody ordered, tokens that are paths, is never "
    'done, or says "not for a year"': (
        "acme_ordering.not_asked_for",
        "acme_ordering.ready_for_ever",
        "acme_ordering.away_when_ready",
        "acme_challenges.tokens",
        "acme_attempt.no_year",
        "acme_attempt.a_week_and_no_longer",
    ),
    "a certificate from an authority that is damaged, for another key or name, ended, or of "
    "tomorrow": (
        "acme_ordering.wrong_certificate",
        "acme_store.not_what_was_ordered",
        "acme_store.not_now",
        "acme_attempt.not_now",
    ),
    "from a site's container: Docker's socket, another site": (
        "docker.docker_unreachable",
        "docker.networks",
        "docker.bad_neighbours",
        "site_reader.dockers_socket",
    ),
    "Docker away, cut in the middle, misunderstood": (
        "docker.lost_first",
        "docker.stream_breaks",
        "docker.closed_in_the_middle",
    ),
    "no memory for a container": ("docker.out_of_memory", "dockerd.death", "roster.words"),
    "a full disk, a state folder that is read-only": (
        "logfile.heals",
        "logfile.bounded",
        "authority.root_of_a_full_disk",
        "hostile_live.full_disk",
        "hostile_live.full_state",
    ),
    "a clock that is set by a day": (
        "sweep.clock_set_back",
        "sweep.clock_set_forward",
        "tap.time",
        "hostile_live.clock",
    ),
    "names that cannot be found": ("proxy.unknown_name", "hostile_live.names_dead"),
    "`kill -9`": (
        "hostile_live.killed",
        "leftovers.marked",
        "leftovers.torn_notes",
        "launch.ends_with_parent",
    ),
    "a configuration that is gone, empty, a folder, half-written, or a loop": (
        "hostile_live.configuration_replaced",
        "running.an_empty_file",
        "running.being_written",
        "parse.include_loop",
    ),
    "an upstream that is silent, answers half, resets": (
        "carrier.no_answer",
        "carrier.half_an_answer",
        "upstream.refused",
        "hostile_live.silent_half_and_reset",
    ),
}


class TableTests(SynchronousTestCase):
    """The table, the tests and the page."""

    def test_tests_exist(self) -> None:
        """Every test that a row names is there."""
        for words, names in ROWS.items():
            self.assertTrue(names, words)
            for name in names:
                module, _, test = name.partition(".")
                loaded = import_module(f"tests.test_{module}")
                cases = [
                    case
                    for case in vars(loaded).values()
                    if isinstance(case, type)
                    and issubclass(case, UnitTestCase | SynchronousTestCase)
                ]
                self.assertTrue(
                    any(hasattr(case, f"test_{test}") for case in cases), f"{words}: {name}"
                )

    def test_page(self) -> None:
        """The page says of each row what it gets, and has no other row."""
        _, _, rest = PAGE.read_text().partition("\n## What hostile input gets\n")
        table, _, _ = rest.partition("\n## ")
        rows = re.findall(r"^\| (.+?) \| (.+?) \|$", table, re.M)
        said = {what: gets for what, gets in rows if what != "what arrives" and set(what) != {"-"}}
        self.assertEqual(sorted(said), sorted(ROWS))
        self.assertTrue(all(gets.strip() for gets in said.values()))
