"""The conversation with a certificate authority (RFC 8555, RFC 9773), over the library `acme`.

The library signs, keeps nonces and knows the forms; this module says what is asked in which words,
and turns whatever goes wrong into one exception whose kind says what helps. It decides nothing, and
keeps nothing. Must never be asked in the reactor's thread, for everything here blocks, up to
`WITHIN` seconds a question; must never be held up longer, or made to take more than `LARGEST`
bytes, by whoever answers; and must never show a key in words.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import certifi
import requests
from acme import errors, messages
from acme.client import ClientNetwork
from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from josepy import b64
from josepy.errors import DeserializationError
from josepy.json_util import JSONObjectWithFields
from josepy.json_util import field as json_field
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from josepy.util import ComparableECKey
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ReadTimeoutError

from snickers.acme.order import Status
from snickers.acme.punctual import Punctual, answered_within
from snickers.acme.renewal import Window
from snickers.acme.said import AuthorityFailed, Authorization, Offered, Seen, Suggested, plain

WITHIN = 30
"""Seconds for one answer, from the question to its last byte."""
LARGEST = 1 << 19
"""Bytes of an answer: a chain with post-quantum signatures takes some 50 KB, and what is stored
must be smaller than what `snickers.disk` reads."""
REDIRECTS = 3
"""Times that one question may be sent elsewhere: authorities do so when their directory moves."""
NONCES = 20
"""Times that a request is sent again because its nonce was refused: authorities lose them when they
are restarted, and some test whether that is borne."""
LISTED = 60
"""Questions spent on finding an order that may have been placed."""
AGENT = "snickers (acme)"

_ERROR = "urn:ietf:params:acme:error:"
_REFUSALS = {
    "externalAccountRequired": "the authority knows accounts only that belong to one of its own: "
    "write `acme external account = FILE` into [snickers]",
    "userActionRequired": "the authority wants its account's owner to do something",
    "invalidProfile": "the authority has no such profile: see `acme profile`",
}
_PROOFS = frozenset(
    ["connection", "dns", "dnssec", "incorrectResponse", "tls", "unauthorized", "unknownHost"]
)


class _Adapter(HTTPAdapter):
    """Connections that trust what *context* does: read once, not for each connection.

    Answers are read whole, within `WITHIN` and up to `LARGEST`.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, **more, ssl_context=self._context)

    def send(self, request: requests.PreparedRequest, *args: Any, **more: Any) -> requests.Response:
        answered_within(WITHIN)
        response = super().send(request, *args, **more)
        body = bytearray()
        try:
            while len(body) <= LARGEST:
                # As it came: nothing compressed was asked for, and what is may be without an end.
                part = response.raw.read(LARGEST, decode_content=False)
                if not part:
                    break
                body += part
        except ReadTimeoutError as error:
            response.raw.close()
            raise requests.exceptions.ReadTimeout(error, request=request) from error
        except HTTPError as error:
            response.raw.close()
            raise requests.exceptions.ConnectionError(error, request=request) from error
        if len(body) > LARGEST:
            response.raw.close()
            raise requests.exceptions.RequestException(
                f"its answer is larger than {LARGEST} bytes", request=request
            )
        response._content = bytes(body)
        response._content_consumed = True
        return response

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        conn.cert_reqs = "CERT_REQUIRED"
        conn.ca_certs = conn.ca_cert_dir = None


def trusting(path: str) -> ssl.SSLContext:
    """Return what trusts the authorities that the system does, and the roots in the file *path*."""
    context = ssl.create_default_context()
    context.sslsocket_class = Punctual
    if not context.get_ca_certs():
        # A system without any, such as a bare container.
        context.load_verify_locations(certifi.where())
    if path:
        try:
            context.load_verify_locations(path)
        except ssl.SSLError:
            words = "has no certificates in PEM (-----BEGIN CERTIFICATE-----)"
            raise AuthorityFailed("refused", f"acme trust: {path} {words}") from None
        except OSError as error:
            words = f"cannot be read: {error.strerror}"
            raise AuthorityFailed("refused", f"acme trust: {path} {words}") from None
    return context


class _NewOrder(messages.NewOrder):
    """An order that may say which certificate it renews (RFC 9773 section 5)."""

    replaces: str | None = json_field("replaces", omitempty=True)


def words_of(problem: Any) -> str:
    """Return what a problem document (RFC 7807) says, on one line, for a person."""
    if not isinstance(problem, dict):
        return ""
    parts = problem.get("subproblems")
    said = [_words(part) for part in (problem, *(parts if isinstance(parts, list) else ()))]
    text = "; ".join(filter(None, said))
    return plain(text).strip()[:500]


def _words(problem: Any) -> str:
    if not isinstance(problem, dict):
        return ""
    return str(problem.get("detail") or problem.get("title") or problem.get("type") or "")


def _code(problem_type: Any) -> str:
    return str(problem_type or "").removeprefix(_ERROR)


def kind_of_problem(code: str, status: int) -> str:
    """Return the kind of failure that an error *code* (RFC 8555 section 6.7) with *status* is."""
    if code == "rateLimited" or status == 429:
        return "limited"
    if code == "accountDoesNotExist" or status == 404:
        return "lost"
    if code == "alreadyReplaced" or status == 409:
        return "replaced"
    # An order that is not ready yet, though it was shown as ready, will be.
    if code in ("serverInternal", "badNonce", "orderNotReady") or status >= 500:
        return "away"
    return "refused"


def seconds_of(retry_after: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After field says (RFC 9110 section 10.2.3)."""
    if not retry_after:
        return None
    if re.fullmatch(r"\s*[0-9]+\s*", retry_after):
        return float(retry_after.strip()[:9])
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


def _epoch(text: Any) -> float:
    moment = datetime.fromisoformat(str(text))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@frozen(eq=False)
class Identity:
    """Who asks: an account's key, and its URL where the authority has given one."""

    key: JWKEC = field(repr=False)
    url: str = ""

    @classmethod
    def of(cls, pem: str, url: str) -> Identity:
        """Return the identity of an account whose key is *pem*."""
        private = serialization.load_pem_private_key(pem.encode(), None)
        return cls(JWKEC(key=ComparableECKey(private)), url)  # type: ignore[arg-type]

    def proof(self, token: str) -> str:
        """Return the key authorization for *token* (RFC 8555 section 8.1)."""
        return f"{token}.{b64.b64encode(self.key.thumbprint()).decode()}"


class Client:
    """One conversation with the authority whose directory is at *directory*, for one thread at a
    time. *wall* returns epoch seconds."""

    def __init__(
        self,
        directory: str,
        identity: Identity,
        context: ssl.SSLContext,
        wall: Callable[[], float],
    ) -> None:
        self.directory = directory
        self.identity = identity
        self._wall = wall
        self._last: requests.Response | None = None
        self._net = ClientNetwork(
            identity.key,
            self._registration(identity.url) if identity.url else None,
            alg=ES256,
            user_agent=AGENT,
            timeout=WITHIN,
        )
        session = self._net.session
        session.mount("https://", _Adapter(context))
        # RFC 8555 section 6.1, wherever an answer may lead.
        del session.adapters["http://"]
        session.max_redirects = REDIRECTS
        session.headers["Accept-Encoding"] = "identity"
        # The variables of the environment are for others than a server.
        session.trust_env = False
        session.hooks["response"].append(self._heard)
        with self._failing("its directory"):
            said = self._net.get(directory).json()
            self._places: dict[str, Any] = dict(said)
            for place in ("newNonce", "newAccount", "newOrder"):
                self._places[place]

    @property
    def identities(self) -> tuple[str, ...]:
        """What CAA records call the authority (RFC 8555 section 9.7.6), as far as it says."""
        meta = self._places.get("meta")
        said = meta.get("caaIdentities") if isinstance(meta, dict) else None
        named = said if isinstance(said, list) else []
        return tuple(plain(str(one))[:253] for one in named[:100])

    def close(self) -> None:
        """Let go of its connections."""
        self._net.session.close()

    # Accounts

    def register(self, email: str, external: tuple[str, str] | None) -> str:
        """Have an account for the identity; return its URL. One that is there is used again.

        *external*: the key identifier and the key of an account that the authority knows.
        """
        with self._failing("an account"):
            binding = None
            if external is not None:
                binding = messages.ExternalAccountBinding.from_data(
                    self.identity.key.public_key(), *external, messages.Directory(self._places)
                )
            wanted = messages.NewRegistration.from_data(
                email=email or None,
                external_account_binding=binding,
                terms_of_service_agreed=True,
            )
            url = str(self._post(self._places["newAccount"], wanted).headers["Location"])
        self.identity = Identity(self.identity.key, url)
        self._net.account = self._registration(url)
        return url

    def change_email(self, email: str) -> None:
        """Have the account's contact be *email*."""
        contact = (f"mailto:{email}",) if email else ()
        with self._failing("a change of the account"):
            self._post(self.identity.url, messages.UpdateRegistration(contact=contact))

    # Orders

    def create(self, names: Sequence[str], profile: str, replaces: str) -> Seen:
        """Place an order."""
        wanted = _NewOrder(
            identifiers=[
                messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=name) for name in names
            ],
            profile=profile or None,
            replaces=replaces or None,
        )
        with self._failing(f"a certificate for {', '.join(names)}", names_alone=True):
            answer = self._post(self._places["newOrder"], wanted)
            return self._seen(answer, str(answer.headers["Location"]))

    def search(self, names: Sequence[str]) -> Seen | None:
        """Return an order for just these names that was placed and not worked at yet, where the
        authority lists its orders (RFC 8555 section 7.1.2.1); ``None`` when there is none."""
        with self._failing("its list of orders"):
            listed = self._post(self.identity.url).json().get("orders")
            asked = 1
            while listed and asked < LISTED:
                page = self._post(listed)
                asked += 1
                for url in (page.json().get("orders") or ())[: LISTED - asked]:
                    seen, whose = self._look(str(url))
                    asked += 1
                    if whose == set(names) and seen.status in (Status.PENDING, Status.READY):
                        return seen
                listed = page.links.get("next", {}).get("url")
        return None

    def look(self, url: str) -> Seen:
        """Return the order at *url*."""
        with self._failing("the order"):
            return self._look(url)[0]

    def authorization(self, url: str) -> Authorization:
        """Return the authorization at *url*."""
        with self._failing("what is to be proven"):
            said = self._post(url).json()
            offered = tuple(
                Offered(
                    str(one.get("type")),
                    str(one.get("url")),
                    str(one.get("token") or ""),
                    str(one.get("status")),
                    words_of(one.get("error")),
                )
                for one in said.get("challenges") or ()
            )
            name = str(said["identifier"]["value"]).lower()
            return Authorization(
                url, name, bool(said.get("wildcard")), str(said["status"]), offered
            )

    def answer(self, url: str) -> None:
        """Say that the challenge at *url* may be looked at."""
        with self._failing("a look at the challenge"):
            self._post(url, _Nothing())

    def finalize(self, seen: Seen, request: x509.CertificateSigningRequest) -> Seen:
        """Hand in the *request* for an order that is ready."""
        with self._failing("the certificate"):
            answer = self._post(seen.finalize, messages.CertificateRequest(csr=request))
            return self._seen(answer, seen.url)

    def fetch(self, url: str) -> bytes:
        """Return the certificate at *url* with its chain, PEM."""
        with self._failing("the certificate itself"):
            return bytes(self._post(url).content)

    def suggested(self, identity: str) -> Suggested | None:
        """Return when the certificate *identity* should be renewed; ``None``: the authority makes
        no suggestions."""
        place = self._places.get("renewalInfo")
        if not place:
            return None
        with self._failing("when to renew"):
            answer = self._net.get(f"{str(place).rstrip('/')}/{identity}")
            said = answer.json()
            window = said["suggestedWindow"]
            return Suggested(
                Window(_epoch(window["start"]), _epoch(window["end"])),
                seconds_of(answer.headers.get("Retry-After"), self._wall()),
                plain(str(said.get("explanationURL") or ""))[:500],
            )

    # Underneath

    @staticmethod
    def _registration(url: str) -> messages.RegistrationResource:
        return messages.RegistrationResource(body=messages.Registration(), uri=url)

    def _heard(self, response: requests.Response, *args: Any, **more: Any) -> None:
        self._last = response

    def _post(self, url: str, what: Any = None) -> requests.Response:
        for _ in range(NONCES):
            try:
                return self._net.post(url, what, new_nonce_url=self._places["newNonce"])
            except messages.Error as error:
                if _code(error.typ) != "badNonce":
                    raise
        raise AuthorityFailed("away", f"{self.directory} takes none of its own nonces")

    def _look(self, url: str) -> tuple[Seen, set[str]]:
        answer = self._post(url)
        names = {str(one["value"]).lower() for one in answer.json().get("identifiers") or ()}
        return self._seen(answer, url), names

    def _seen(self, answer: requests.Response, url: str) -> Seen:
        said = answer.json()
        status = Status(said["status"])
        if status is Status.UNKNOWN:
            raise ValueError("an order without a status")
        return Seen(
            url,
            status,
            tuple(map(str, said.get("authorizations") or ())),
            str(said.get("finalize") or ""),
            str(said.get("certificate") or ""),
            words_of(said.get("error")),
            seconds_of(answer.headers.get("Retry-After"), self._wall()),
        )

    @contextmanager
    def _failing(self, what: str, names_alone: bool = False) -> Iterator[None]:
        """Turn what goes wrong while *what* is asked for into an `AuthorityFailed`."""
        self._last = None
        asked = f"{self.directory}: asked for {what}: "
        try:
            yield
        except AuthorityFailed:
            raise
        except requests.exceptions.SSLError as error:
            raise AuthorityFailed(
                "away",
                f"{asked}its own certificate is not trusted ({_root(error)}); where it has a root "
                "of its own, name that by `acme trust`",
            ) from error
        except requests.exceptions.Timeout as error:
            raise AuthorityFailed("away", f"{asked}no answer within {WITHIN} s") from error
        except requests.exceptions.RequestException as error:
            raise AuthorityFailed("away", f"{asked}{_root(error)}") from error
        except errors.ConflictError as error:
            raise AuthorityFailed("replaced", f"{asked}it was renewed before") from error
        except messages.Error as error:
            raise self._problem(asked, error, names_alone) from error
        except (errors.Error, DeserializationError) as error:
            raise self._no_problem(asked) from error
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise AuthorityFailed(
                "away", f"{asked}what it answers is not to be understood ({error!r:.200})"
            ) from error

    def _problem(self, asked: str, error: messages.Error, names_alone: bool) -> AuthorityFailed:
        code = _code(error.typ)
        status = 0 if self._last is None else self._last.status_code
        words = words_of(error.to_json()) or code
        kind = kind_of_problem(code, status)
        if code in _REFUSALS:
            words = f"{_REFUSALS[code]} ({words})"
        # Whether all orders are meant is not in the document's form, only in its words.
        whole = not names_alone or "account" in words or "overloaded" in words or "busy" in words
        return AuthorityFailed(kind, asked + words, self._retry_after(), whole, said=True)

    def _no_problem(self, asked: str) -> AuthorityFailed:
        if self._last is None:
            return AuthorityFailed("away", f"{asked}its answer is none of an ACME server")
        status = self._last.status_code
        kind = kind_of_problem("", status) if status >= 400 else "away"
        kind = "away" if kind == "refused" else kind
        return AuthorityFailed(kind, f"{asked}HTTP status {status}", self._retry_after())

    def _retry_after(self) -> float | None:
        last = self._last
        return None if last is None else seconds_of(last.headers.get("Retry-After"), self._wall())


class _Nothing(JSONObjectWithFields):
    """An empty object, which says that a challenge may be looked at (RFC 8555 section 7.5.1)."""

    def __bool__(self) -> bool:
        # What is false is sent as no object at all.
        return True


def _root(error: BaseException) -> str:
    """Return what is at the bottom of an *error* of a library that wraps others."""
    deepest: BaseException = error
    for _ in range(10):
        inner = getattr(deepest, "reason", None) or next(
            (one for one in deepest.args if isinstance(one, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        deepest = inner
    text = str(deepest).rpartition(">: ")[2] or type(deepest).__name__
    return text[:300]
