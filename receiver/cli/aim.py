"""A fixture as a request to any source's URL: what `trigger` and `demo` post as if they were the vendor."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

import httpx2

from receiver.fixtures import Fixture
from receiver.vendors import VENDORS
from receiver.vendors.contract import Source, VendorRequest

_OF_THE_CONNECTION = frozenset({b"host", b"content-length", b"connection", b"transfer-encoding"})


def aimed(
    fixture: Fixture, url: str, now: int, *, sign: bool, credentials: Mapping[str, Sequence[str]] | None = None
) -> httpx2.Request:
    """The fixture's request to `url`, its own query added. `now` is unix microseconds.

    With `sign` it is signed anew for that URL, with the fixture's credentials where others are not given. Raises
    ValueError when the vendor signs nothing, or a credential is missing.
    """
    request = fixture.request(now)
    queries = [part for part in (urlsplit(url).query, request.query.decode("latin-1")) if part]
    target = "?".join([url.partition("?")[0], *(["&".join(queries)] if queries else [])])
    request = replace(request, url=target, query=target.partition("?")[2].encode("latin-1"))
    if sign:
        request = _signed(fixture, request, credentials or {})
    return _on_the_wire(request)


def can_sign(fixture: Fixture) -> bool:
    return VENDORS[fixture.vendor].sign is not None and bool(fixture.expected.credentials)


def _signed(fixture: Fixture, request: VendorRequest, given: Mapping[str, Sequence[str]]) -> VendorRequest:
    vendor = VENDORS[fixture.vendor]
    if vendor.sign is None:
        raise ValueError(f"{vendor.title} signs nothing")
    own = {name: [value] if isinstance(value, str) else value for name, value in fixture.expected.credentials.items()}
    credentials = {name: tuple(values) for name, values in {**own, **given}.items()}
    missing = [name for name, it in vendor.credentials.items() if it.required and name not in credentials]
    if not credentials:
        missing = list(vendor.credentials)
    if missing:
        raise ValueError(f"{vendor.title} signs with {', '.join(missing)}")
    options = vendor.options.model_validate(fixture.expected.options)
    return vendor.sign(request, Source(id="", vendor=vendor.name, name="", credentials=credentials, options=options))


def _on_the_wire(request: VendorRequest) -> httpx2.Request:
    """Path and query byte for byte as they were signed."""
    parts = urlsplit(request.url)
    target = request.url.removeprefix(f"{parts.scheme}://{parts.netloc}") or "/"
    headers = [pair for pair in request.headers if pair[0] not in _OF_THE_CONNECTION]
    return httpx2.Request(
        request.method,
        f"{parts.scheme}://{parts.netloc}/",
        headers=headers,
        content=request.body or None,
        extensions={"target": (target if target.startswith("/") else f"/{target}").encode("latin-1")},
    )
