"""Mobtexting and its white labels (BICS CPaaS): reports in four generations, inbound messages, unsubscriptions.

Reports: JSON of fixed names, the older `dlr_url` template (GET) and composed webhooks whose names are the customer's
(GET, POST or PUT; JSON or form), all read by declaration. The rest comes as JSON of the vendor's own shape.
https://github.com/mobtexting/docs: v2/sms/webhook.md, v2/sms/smpp.md, v2/event/index.md, v2/vmn/webhook.md.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import orjson
from pydantic import Field

from receiver.sms.drafts import ConsentChanged, Ignored, Item, Party, Scope
from receiver.vendors import times
from receiver.vendors.bodies import parse_json
from receiver.vendors.contract import Answer, BadPayload, Credential, Source, Vendor, VendorRequest
from receiver.vendors.fields import Fields
from receiver.vendors.generic import with_secret
from receiver.vendors.mapping import mapped, read, read_request
from receiver.vendors.mapping_options import MappedOptions, Names, Verdict
from receiver.vendors.mobtexting_poll import MOBTEXTING_POLL, MobtextingPoll
from receiver.vendors.mobtexting_tables import FIELDS, INBOUND, STATUSES
from receiver.vendors.signatures import require_bearer

SCOPES: Mapping[str, Scope] = {"sender": "sender", "category": "group", "all": "account"}
UNSUBSCRIPTION = frozenset({"receiver", "type", "value"})
NOT_ABOUT_TEXTS: Mapping[str, frozenset[str]] = {
    "contacts:subscriber:subscription": frozenset({"identity", "first_name", "updated_at"}),
    "voice:message:out": frozenset({"bridge", "flow_id", "duration"}),
}
"""Events that come without their name, by the fields that give them away."""
_EVENT = re.compile(r"[a-z_]{1,32}(:[a-z_]{1,32}){1,3}")


class MobtextingOptions(MappedOptions):
    DEFAULT_FIELDS: ClassVar[Mapping[str, Names]] = FIELDS
    DEFAULT_STATUSES: ClassVar[Mapping[str, Verdict]] = STATUSES
    international: bool = True
    poll: MobtextingPoll | None = Field(None, description="asks the vendor, instead of or beside waiting to be called")


def parse(request: VendorRequest, source: Source) -> Sequence[Item]:
    return read_request(_without_last_comma(request), mapped(source), _read)


def handshake(request: VendorRequest, source: Source) -> Answer | None:
    """The proof of ownership when a webhook is made: the challenge goes back as JSON (help/verify-webhook.md)."""
    if b'"challenge"' not in request.body or b'"validation_key"' not in request.body:
        return None
    try:
        document, _ = parse_json(_without_last_comma(request).body)
    except BadPayload:
        return None
    challenge = document.get("challenge") if isinstance(document, dict) and "validation_key" in document else None
    if not isinstance(challenge, str):
        return None
    require_bearer(request, source)
    return Answer(body=orjson.dumps({"challenge": challenge}), content_type="application/json")


def sign(request: VendorRequest, source: Source) -> VendorRequest:
    return with_secret(request, source.secrets("secret"))


def setup(url: str, _options: Any) -> Mapping[str, str]:
    """The webhook's URL, and the template for accounts that still give a `dlr_url` with each message."""
    names = ("id", "mobile", "status", "credits", "units", "deliv_at", "custom")
    return {"webhook_url": url, "dlr_url": f"{url}?{'&'.join(f'{name}={{{name}}}' for name in names)}"}


def _read(fields: Fields, options: MappedOptions) -> Item:
    match _event(fields, options):
        case None:
            return read(fields, options)
        case "vmn:message:in":
            return read(fields, options, INBOUND)
        case "sms:message:status":
            return read(_payload(fields), options)
        case "sms:unsubscription":
            return _unsubscribed(_payload(fields))
        case name:
            return Ignored(what=name)


def _event(fields: Fields, options: MappedOptions) -> str | None:
    """The envelope's name, or that of an event known by its fields; None for a report or a composed message."""
    if any("event" in names for names in options.names.values()):
        return None
    event = fields.get("event")
    if isinstance(event, str) and _EVENT.fullmatch(event):
        return event
    if fields.keys() >= UNSUBSCRIPTION:
        return "sms:unsubscription"
    return next((name for name, signs in NOT_ABOUT_TEXTS.items() if fields.keys() >= signs), None)


def _payload(fields: Fields) -> Fields:
    return fields.object("payload") or fields


def _unsubscribed(fields: Fields) -> ConsentChanged:
    """Only an unsubscription from a sender tells the channel: sender ids are the SMS service's."""
    kind, value = fields.require("type"), fields.require("value")
    scope = SCOPES.get(kind, "account" if value == "*" else "unknown")
    sender = scope == "sender"
    used = ("id", "receiver", "created_at", *(("type", "value") if sender else ()))
    return ConsentChanged(
        opted_out=True,
        number=Party(raw=fields.require("receiver"), international=True),
        sender=Party(raw=value, international=True) if sender else None,
        scope=scope,
        scope_id=value if scope == "group" else None,
        channel="sms" if sender else None,
        vendor_id=fields.text("id"),
        occurred_at=times.iso(fields.text("created_at")),
        flags=fields.flags,
        extra=fields.rest(used),
    )


def _without_last_comma(request: VendorRequest) -> VendorRequest:
    """Every printed sample of a report has a comma after its last field; should the wire have it too, it is no harm."""
    body = request.body.strip()
    inside = body[:-1].rstrip()
    if body[:1] + body[-1:] != b"{}" or inside[-1:] != b",":
        return request
    return replace(request, body=inside[:-1] + b"}")


MOBTEXTING = Vendor(
    name="mobtexting",
    title="Mobtexting (BICS CPaaS)",
    docs="https://github.com/mobtexting/docs",
    provenance="documented",
    assumed="that a report may come inside an envelope too, and that composed form data may be either kind of form. "
    "Asked: the address (portal.mobtexting.com; other brands by poll.base_url), the order of the log (newest first), "
    "and that its ids are those of the pushes",
    capabilities=("inbound", "reports", "opt_outs", "handshake", "poll", "lookup"),
    methods=("POST", "GET", "PUT"),
    authentication="optional Bearer secret; one shared word, nothing is signed",
    credentials={
        "secret": Credential(help="the webhook's `secret`, sent as Authorization: Bearer"),
        "access_token": Credential(help="to ask: the account's access token", proves=False),
    },
    options=MobtextingOptions,
    verify=require_bearer,
    parse=parse,
    handshake=handshake,
    sign=sign,
    setup=setup,
    poll=MOBTEXTING_POLL,
)
