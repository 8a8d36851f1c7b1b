"""Proofs that a request comes from its vendor, each in constant time."""

import hmac
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha1, sha256
from itertools import chain

from receiver.vendors.bodies import MAX_FIELDS, split_form, utf8_form
from receiver.vendors.contract import BadSignature, Source, VendorRequest

_ORIGIN = re.compile(r"(https?)://([^/?#]*)", re.IGNORECASE)
_PORT = re.compile(r":[0-9]*$")
_BODY_HASH = re.compile(rb"(?:^|&)bodySHA256=([0-9a-f]{64})(?:&|$)")


def same(given: str, expected: Iterable[str]) -> bool:
    """Whether `given` is one of `expected`; every one is compared, so that time tells nothing. Nothing is never it."""
    wanted = given.encode("utf-8", "surrogatepass")
    found = False
    for candidate in expected:
        found |= hmac.compare_digest(wanted, candidate.encode("utf-8", "surrogatepass"))
    return found and bool(wanted)


def only(request: VendorRequest, name: str) -> str:
    """The one header of that lower-case name; none, an empty one or two prove nothing."""
    wanted = name.encode("ascii")
    values = [value for key, value in request.headers if key == wanted]
    if len(values) > 1:
        raise BadSignature(f"{name}: came twice")
    if not values or not values[0]:
        raise BadSignature(f"{name}: missing")
    return values[0].decode("latin-1")


def bearer(request: VendorRequest, secrets: Sequence[str], header: str = "authorization") -> None:
    """A shared secret in a header, with or without the word Bearer before it (RFC 6750 section 2.1)."""
    if not secrets:
        return
    value = only(request, header)
    scheme, _, token = value.partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else value
    if not same(given, secrets):
        raise BadSignature(f"{header}: wrong secret")


def require_bearer(request: VendorRequest, source: Source) -> None:
    """The credential `secret`, where the source has one, as a Bearer token."""
    bearer(request, source.secrets("secret"))


def hmac_sha1_base64(key: str, message: bytes) -> str:
    code = _keyed(key).copy()
    code.update(message)
    return b64encode(code.digest()).decode("ascii")


@lru_cache(maxsize=1024)
def _keyed(key: str) -> hmac.HMAC:
    """Begun once a key, copied for each message: what is done before the first byte takes most of the time."""
    return hmac.new(key.encode("utf-8", "surrogatepass"), digestmod=sha1)


def verify_url_and_form(request: VendorRequest, header: str, secrets: Sequence[str]) -> None:
    """Twilio's scheme: base64 of HMAC-SHA1 over the URL as the vendor knows it and the form's parameters.

    Vendors are not of one mind about writing a default port, so the URL is tried without and with one.
    https://www.twilio.com/docs/usage/webhooks/webhooks-security
    """
    given = only(request, header)
    parameters = _signed_parameters(request)
    for url in with_and_without_port(request.url):
        message = _bytes(url) + parameters
        if same(given, [hmac_sha1_base64(secret, message) for secret in secrets if secret]):
            return
    raise BadSignature(f"{header}: matches no secret for this URL and these parameters")


def sign_url_and_form(request: VendorRequest, header: str, secret: str) -> VendorRequest:
    """The request as the vendor would send it; a JSON body gets its `bodySHA256` into the query first."""
    if request.body.lstrip()[:1] in (b"{", b"["):
        request = _with_body_hash(request)
    signature = hmac_sha1_base64(secret, _bytes(request.url) + _signed_parameters(request))
    name = header.encode("ascii")
    others = tuple(pair for pair in request.headers if pair[0] != name)
    return replace(request, headers=(*others, (name, signature.encode("ascii"))))


def _with_body_hash(request: VendorRequest) -> VendorRequest:
    kept = [pair for pair in request.query.split(b"&") if pair and not pair.startswith(b"bodySHA256=")]
    query = b"&".join([*kept, b"bodySHA256=" + _body_hash(request.body)])
    return replace(request, query=query, url=f"{request.url.partition('?')[0]}?{query.decode('latin-1')}")


def _signed_parameters(request: VendorRequest) -> bytes:
    """What is signed behind the URL; raises BadSignature when there is too much of it.

    Nothing where the query's `bodySHA256` is right about the body; else every distinct pair of the form, sorted by
    name and value, without separators. Code points sort like the UTF-8 bytes that encode them.
    """
    body = request.body
    if not body:
        return b""
    if b"bodySHA256" in request.query:
        claimed = _BODY_HASH.search(request.query)
        if claimed is not None and hmac.compare_digest(claimed[1], _body_hash(body)):
            return b""
    if body.count(b"&") >= MAX_FIELDS:
        raise BadSignature(f"more than {MAX_FIELDS} form fields")
    form, guessed = utf8_form(request)
    if guessed:
        return b"".join(chain.from_iterable(sorted(set(split_form(body)))))
    values = form.values
    if len(values) < len(form.pairs):
        return "".join(chain.from_iterable(sorted(set(form.pairs)))).encode()
    return "".join([name + values[name] for name in sorted(values)]).encode()


def _body_hash(body: bytes) -> bytes:
    return sha256(body).hexdigest().encode("ascii")


def _bytes(url: str) -> bytes:
    return url.encode("utf-8", "replace")


@lru_cache(maxsize=1024)
def with_and_without_port(url: str) -> tuple[str, str]:
    """The two ways in which a vendor may have spelled the URL: without any port, and with its own or the default."""
    match = _ORIGIN.match(url)
    if match is None:
        return url, url
    scheme, authority = match[1], match[2]
    bare = _PORT.sub("", authority)
    full = authority if len(authority) > len(bare) + 1 else f"{bare}:{443 if scheme.lower() == 'https' else 80}"
    rest = url[match.end() :]
    return f"{scheme}://{bare}{rest}", f"{scheme}://{full}{rest}"
