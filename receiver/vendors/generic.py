"""The declarative vendor: any provider's callback, read by the names and words that the source declares.

It has no names of its own: without `options.fields` every request is kept in quarantine, to be read again
once they are declared.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from receiver.sms.drafts import Item
from receiver.vendors.contract import Credential, Source, Vendor, VendorRequest
from receiver.vendors.mapping import mapped, read_request
from receiver.vendors.mapping_options import MappedOptions
from receiver.vendors.signatures import bearer

AUTHORIZATION = "authorization"


class GenericOptions(MappedOptions):
    secret_header: Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$")] = Field(
        AUTHORIZATION, description="the header that carries `secret`, with or without the word Bearer before it"
    )


def verify(request: VendorRequest, source: Source) -> None:
    bearer(request, source.secrets("secret"), _header(source))


def parse(request: VendorRequest, source: Source) -> Sequence[Item]:
    return read_request(request, mapped(source))


def sign(request: VendorRequest, source: Source) -> VendorRequest:
    return with_secret(request, source.secrets("secret"), _header(source))


def with_secret(request: VendorRequest, secrets: Sequence[str], header: str = AUTHORIZATION) -> VendorRequest:
    """The request with the first secret in its header, as `bearer` wants it; as it was where there is none."""
    if not secrets:
        return request
    name = header.encode("ascii")
    value = f"Bearer {secrets[0]}" if header == AUTHORIZATION else secrets[0]
    others = tuple(pair for pair in request.headers if pair[0] != name)
    return replace(request, headers=(*others, (name, value.encode("latin-1", "replace"))))


def _header(source: Source) -> str:
    assert isinstance(source.options, GenericOptions)
    return source.options.secret_header.lower()


GENERIC = Vendor(
    name="generic",
    title="Any provider, by declaration",
    docs="docs/vendors.md#generic",
    provenance="documented",
    capabilities=("inbound", "reports", "opt_outs"),
    methods=("GET", "POST", "PUT"),
    authentication="optional shared secret in a header of your choice",
    credentials={"secret": Credential(help="what the provider sends in the header options.secret_header")},
    options=GenericOptions,
    verify=verify,
    parse=parse,
    sign=sign,
)
