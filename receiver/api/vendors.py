"""The manifest: every vendor that this receiver speaks, and what a source of it is made with."""

from functools import cache
from typing import Any

from pydantic import BaseModel, Field

from receiver.api.context import Context
from receiver.api.inputs import Nothing
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.vendors.contract import Options, Vendor


class CredentialShape(BaseModel):
    help: str
    required: bool


class PollShape(BaseModel):
    base_url: str = Field(description="where its API lies")
    help: str = Field(description="what to do at the vendor's before it can be asked")
    per_minute: int = Field(description="questions that it takes a minute")
    feeds: dict[str, str] = Field(description="what it can be asked for, by name")
    lookup: bool = Field(description="whether it can be asked for one outbound message")


class VendorManifest(BaseModel):
    name: str = Field(examples=["twilio"])
    title: str
    docs: str
    methods: list[str]
    authentication: str
    signs_url: bool = Field(description="the signature covers the URL, so RECEIVER_PUBLIC_URL must be right")
    capabilities: list[str] = Field(examples=[["inbound", "reports"]])
    credentials: dict[str, CredentialShape]
    options: dict[str, Any] = Field(description="JSON Schema of a source's `options`")
    poll: PollShape | None = Field(description="how it can be asked, by `options.poll`; null: it calls, or not at all")
    provenance: str = Field(examples=["documented", "captured", "assumed"])
    assumed: str = Field(description="what of this adapter no source of the vendor confirms")


class Vendors(BaseModel):
    data: list[VendorManifest]


def manifest(vendor: Vendor) -> VendorManifest:
    return VendorManifest(
        name=vendor.name,
        title=vendor.title,
        docs=vendor.docs,
        methods=list(vendor.methods),
        authentication=vendor.authentication,
        signs_url=vendor.signs_url,
        capabilities=list(vendor.capabilities),
        credentials={
            name: CredentialShape(help=credential.help, required=credential.required)
            for name, credential in vendor.credentials.items()
        },
        options=_schema(vendor.options),
        poll=_poll(vendor),
        provenance=vendor.provenance,
        assumed=vendor.assumed,
    )


def _poll(vendor: Vendor) -> PollShape | None:
    poll = vendor.poll
    if poll is None:
        return None
    feeds = {name: feed.title for name, feed in poll.feeds.items()}
    return PollShape(
        base_url=poll.base_url,
        help=poll.help,
        per_minute=poll.per_minute,
        feeds=feeds,
        lookup=poll.lookup is not None,
    )


@cache
def _schema(options: type[Options]) -> dict[str, Any]:
    """Made once: all of them together take ten milliseconds."""
    return options.model_json_schema()


async def listed(context: Context, _call: Call[Nothing, Nothing]) -> Answer:
    return Answer(body=Vendors(data=[manifest(vendor) for vendor in context.vendors.values()]))


OPERATIONS: Operations = (
    Operation(
        method="GET", path="/v1/vendors", summary="The vendors that this receiver speaks", scope="read",
        handler=listed, answers={200: Vendors},
    ),
)  # fmt: skip
