"""Requests and sources for the tests of the vendors that are read by declaration."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from receiver.sms.drafts import Item, Received, Reported
from receiver.vendors.contract import Source, Vendor, VendorRequest

URL = "https://hooks.example.com/in/vendor/T0KEN0123456789abcdefghij"
FORM = "application/x-www-form-urlencoded"


def asked(
    query: str | bytes = b"", body: str | bytes = b"", *, method: str = "POST", content_type: str = "", **headers: str
) -> VendorRequest:
    raw_query = quote(query, safe="=&%+").encode() if isinstance(query, str) else query
    named = {"content-type": content_type, **headers} if content_type else headers
    return VendorRequest(
        method=method,
        url=URL,
        query=raw_query,
        headers=tuple((name.replace("_", "-").encode(), value.encode()) for name, value in named.items()),
        body=body.encode() if isinstance(body, str) else body,
        peer="203.0.113.9",
        received_at=1_795_186_023_000_000,
    )


def source(vendor: Vendor, secret: str | tuple[str, ...] = (), **options: Any) -> Source:
    secrets = (secret,) if isinstance(secret, str) else secret
    return Source(
        id="src_test",
        vendor=vendor.name,
        name="test",
        credentials={"secret": secrets} if secrets else {},
        options=vendor.options.model_validate(options),
    )


def items(vendor: Vendor, request: VendorRequest, **options: Any) -> Sequence[Item]:
    return vendor.parse(request, source(vendor, **options))


def item(vendor: Vendor, request: VendorRequest, **options: Any) -> Item:
    [only] = items(vendor, request, **options)
    return only


def report(vendor: Vendor, request: VendorRequest, **options: Any) -> Reported:
    found = item(vendor, request, **options)
    assert isinstance(found, Reported), found
    return found


def message(vendor: Vendor, request: VendorRequest, **options: Any) -> Received:
    found = item(vendor, request, **options)
    assert isinstance(found, Received), found
    return found
