"""A DNS server on loopback, for tests: it says what it is told to say, or nothing."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

SILENT = "silent"
"""In place of records: no answer ever."""
FAILS = "fails"
"""In place of records: SERVFAIL."""


class FakeDNS:
    """Serves *records*: ``{name: {kind: [texts]}}``. Names that it does not hold do not exist, and
    a kind that a name has not is empty. The mapping may be changed while it serves."""

    def __init__(
        self, test: Any, records: Mapping[str, Any], address: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.records = records
        self.asked: Counter[tuple[str, str]] = Counter()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, port))
        self.address, self.port = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        test.addCleanup(self.end)

    def end(self) -> None:
        """Serve no more."""
        if self._thread.is_alive():
            # An empty datagram is the end.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"", (self.address, self.port))
            self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, sender = self._socket.recvfrom(4096)
            if not data:
                return
            answer = self._answer(dns.message.from_wire(data))
            if answer is not None:
                self._socket.sendto(answer.to_wire(), sender)

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA | dns.flags.AA
        while True:
            held = self.records.get(name)
            if held is None:
                answer.set_rcode(dns.rcode.NXDOMAIN)
                return answer
            texts = held if isinstance(held, str) else held.get(kind, [])
            if texts == SILENT:
                return None
            if texts == FAILS:
                answer.set_rcode(dns.rcode.SERVFAIL)
                return answer
            alias = [] if isinstance(held, str) else held.get("CNAME", [])
            if alias and kind != "CNAME":
                answer.answer.append(dns.rrset.from_text(name + ".", 60, "IN", "CNAME", *alias))
                name = alias[0].rstrip(".")
                continue
            if texts:
                answer.answer.append(dns.rrset.from_text(name + ".", 60, "IN", kind, *texts))
            return answer
