"""sendSMS (sendsms.ro): reports through the customer's own `report_url`, `%d` replaced by a status bit; GET.

https://www.sendsms.ro/api/ names `report_url`, `report_mask` and `ctype`. Inbound messages by push are the sibling
platform's form (https://www.panaceamobile.com/developers/receiving-sms/), not confirmed for sendSMS itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote, unquote_to_bytes

from pydantic import Field

from receiver.sms.drafts import Item, Reported
from receiver.vendors.bodies import CHARSET_GUESSED, parse_form
from receiver.vendors.contract import Credential, Source, Vendor, VendorRequest
from receiver.vendors.fields import Fields
from receiver.vendors.mapping import mapped, read
from receiver.vendors.mapping_options import MappedOptions, Names, Verdict
from receiver.vendors.sendsms_poll import SENDSMS_POLL, SendSmsPoll

FIELDS: Mapping[str, Names] = {
    "client_reference": ("ref",),
    "status": ("status",),
    "channel": ("ctype",),
    "from": ("from",),
    "to": ("to",),
    "text": ("message",),
}
STATUSES: Mapping[str, Verdict] = {
    "1": ("delivered", True, None),  # delivered
    "2": ("undelivered", True, None),  # undelivered
    "4": ("sent", False, None),  # queued at the network
    "8": ("sent", False, None),  # sent to the network
    "16": ("undelivered", True, None),  # failed at the network
}
CHANNELS: Mapping[str, str] = {"1": "sms", "2": "rcs", "3": "viber"}
CHARSETS: Mapping[str, tuple[str, ...]] = {
    "8-BIT": ("cp1252", "latin-1"),  # Latin-1; the C1 range is Windows-1252 in practice
    "UTF-16BE": ("utf-16-be",),
}
EVERY_STATUS = str(1 + 2 + 4 + 8 + 16)


class SendSmsOptions(MappedOptions):
    DEFAULT_FIELDS: ClassVar[Mapping[str, Names]] = FIELDS
    DEFAULT_STATUSES: ClassVar[Mapping[str, Verdict]] = STATUSES
    CHANNELS: ClassVar[Mapping[str, str]] = CHANNELS
    international: bool = True
    poll: SendSmsPoll | None = Field(None, description="asks the vendor, instead of or beside waiting to be called")


def parse(request: VendorRequest, source: Source) -> Sequence[Item]:
    options = mapped(source)
    draft = read(_fields(request, options), options)
    if isinstance(draft, Reported) and _tried_again_by_sms(draft, options):
        draft.final = False
    return [draft]


def setup(url: str, options: Any) -> Mapping[str, str]:
    """`report_url` as it is, and ready for the query of the send call; `report_mask` asks for every status.

    YOUR_ID must be another one for each message, in upper-case percent escapes: `%d` is the vendor's placeholder.
    """
    names: Mapping[str, Names] = options.names if isinstance(options, MappedOptions) else FIELDS
    reference, status = (names.get(ours, FIELDS[ours])[0] for ours in ("client_reference", "status"))
    template = f"{url}?{quote(reference, safe='')}=YOUR_ID&{quote(status, safe='')}=%d"
    return {
        "report_url": template,
        "report_url_encoded": quote(template, safe=""),
        "report_mask": EVERY_STATUS,
        "inbound_url": url,
    }


def _tried_again_by_sms(draft: Reported, options: MappedOptions) -> bool:
    """A Viber message that fails goes out again as a text, so its failure is not the end."""
    own = draft.vendor_status in options.statuses
    return draft.channel == "viber" and draft.status == "undelivered" and not own


def _fields(request: VendorRequest, options: MappedOptions) -> Fields:
    """The query; the message's own bytes in the charset that the query names beside it."""
    fields = Fields.from_query(request)
    codecs = CHARSETS.get((fields.text("charset") or "").upper())
    found = _cut_out(request.query, options.names.get("text", ())) if codecs else None
    if codecs is None or found is None:
        return fields
    name, raw, others = found
    text, sure = _decoded(raw, codecs)
    flags = parse_form(others)[1] if sure else (CHARSET_GUESSED,)
    return Fields({**fields, name: text}, flags=flags)


def _cut_out(query: bytes, names: Names) -> tuple[str, bytes, bytes] | None:
    """The first of these names that is there, its bytes, and the query without it."""
    pieces = query.replace(b"+", b" ").split(b"&")
    keys = [unquote_to_bytes(piece.partition(b"=")[0]) for piece in pieces]
    for name in names:
        if (key := name.encode()) in keys:
            index = keys.index(key)
            raw = unquote_to_bytes(pieces[index].partition(b"=")[2])
            return name, raw, b"&".join(pieces[:index] + pieces[index + 1 :])
    return None


def _decoded(raw: bytes, codecs: Sequence[str]) -> tuple[str, bool]:
    for codec in codecs:
        try:
            return raw.decode(codec), True
        except UnicodeDecodeError:
            continue
    return raw.decode(codecs[0], "replace"), False


SENDSMS = Vendor(
    name="sendsms",
    title="sendSMS",
    docs="https://www.sendsms.ro/api/",
    provenance="documented",
    assumed="that reports come by GET, where `ctype` stands in them, and inbound messages by push (to, from, message, "
    "charset, code), which are the sibling platform's. Asked: the fields of `messages_get` and its 50 a call (the "
    "sibling's), the values of `details.status` (those of reports), and what the token URLs take and give (RFC 6749)",
    capabilities=("inbound", "reports", "poll", "lookup"),
    methods=("GET",),
    credentials={
        "username": Credential(help="to ask: the account's user name", proves=False),
        "password": Credential(help="to ask: its password or API key", proves=False),
        "client_id": Credential(help="to ask by the connector: the OAuth client's id", proves=False),
        "client_secret": Credential(help="to ask by the connector: the OAuth client's secret", proves=False),
        "refresh_token": Credential(
            help="to ask by the connector: the first refresh token, where the vendor gave one", proves=False
        ),
    },
    options=SendSmsOptions,
    parse=parse,
    setup=setup,
    poll=SENDSMS_POLL,
)
