"""Requests whose names the customer chose, read by declaration: the step between `Fields` and a draft.

`generic`, `sendsms`, `isendpro` and `mobtexting` share it. What decides (status, text, ids, numbers) must be text,
else BadPayload; a side value of an odd form (price, segments, part, channel, time) is null and stays in `extra`.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from receiver.sms.drafts import (
    ConsentChanged,
    Draft,
    InboundPart,
    Item,
    Media,
    Network,
    Party,
    Price,
    Received,
    Reported,
    ReportPart,
    Unreadable,
)
from receiver.sms.segments import concatenation
from receiver.vendors.bodies import BOM, parse_body
from receiver.vendors.contract import BadPayload, Source, VendorRequest
from receiver.vendors.fields import Fields
from receiver.vendors.mapping_options import MappedOptions, Names
from receiver.vendors.mapping_values import Named
from receiver.vendors.sheets import is_sheet, parse_sheet

MAX_ITEMS = 10_000
MAX_PARTS = 255
"""A concatenation header counts parts in one byte (3GPP TS 23.040 section 9.2.3.24.1)."""

_AMOUNT = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,12})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_CHANNEL = re.compile(r"[a-z][a-z0-9_-]{1,31}")
_SEQUENCE = re.compile(r"[0-9]{1,18}|(?![0-9]+$)[!-~]{1,64}")
_UNREPLACED = re.compile(r"%[a-zA-Z]|@?\{\{?[\w .]+\}\}?|YOUR_ID")
"""What templates hold where a vendor, or the customer, is to put a value."""
_BETWEEN_NUMBERS = re.compile(r"[,;]")


def mapped(source: Source) -> MappedOptions:
    assert isinstance(source.options, MappedOptions)
    return source.options


def read(fields: Fields, options: MappedOptions, names: Mapping[str, Names] | None = None) -> Draft:
    """One object's draft: a consent where `opt_out` says so, else a report where it has a status, else a message.

    `names` stands in for the source's own names. Raises BadPayload when the object holds none of them.
    """
    named = Named(fields, options.names if names is None else names)
    if named.says_yes("opt_out"):
        return _consent_changed(named, options)
    status = named.text("status")
    if status is not None:
        return _reported(named, options, status)
    if named.has("text") or named.has("media_url"):
        return _received(named, options)
    if options.REFERENCE_MEANS_REPORT and _named_by(named, "client_reference") is not None:
        return _reported(named, options, None)
    raise BadPayload("status, text, opt_out: none of them came under the names they have here")


def read_request(
    request: VendorRequest, options: MappedOptions, reader: Callable[[Fields, MappedOptions], Item] = read
) -> Sequence[Item]:
    """Query and body together as one item, or one item for each object of a JSON list or row of a sheet."""
    if is_sheet(request):
        return _read_sheet(request, options.of_sheets, reader)
    if not _is_list(request):
        return [reader(Fields.merged(request), options)]
    document, flags = parse_body(request)
    assert isinstance(document, list)
    if len(document) > MAX_ITEMS:
        raise BadPayload(f"body: more than {MAX_ITEMS} items")
    query = Fields.from_query(request)
    shared = Fields({**query}, flags=tuple(dict.fromkeys(query.flags + flags)))
    return [_read_item(number, item, shared, options, reader) for number, item in enumerate(document, 1)]


def _read_sheet(
    request: VendorRequest, options: MappedOptions, reader: Callable[[Fields, MappedOptions], Item]
) -> Sequence[Item]:  # fmt: skip
    rows, flags = parse_sheet(request.body)
    if not rows or len(rows) > MAX_ITEMS:
        raise BadPayload(f"body: 1 to {MAX_ITEMS} rows are due")
    shared = Fields({}, flags=flags)
    return [_read_item(number, row, shared, options, reader) for number, row in enumerate(rows, 1)]


def _is_list(request: VendorRequest) -> bool:
    multipart = (request.header("content-type") or "").lower().startswith("multipart/")
    return not multipart and request.body.removeprefix(BOM).lstrip()[:1] == b"["


def _read_item(
    number: int,
    item: object,
    shared: Fields,
    options: MappedOptions,
    reader: Callable[[Fields, MappedOptions], Item],
) -> Item:
    if not isinstance(item, dict):
        return Unreadable(error=f"item {number}: an object is due")
    try:
        return reader(Fields({**shared, **item}, flags=shared.flags), options)
    except BadPayload as error:
        return Unreadable(error=f"item {number}: {error}")


def _consent_changed(named: Named, options: MappedOptions) -> ConsentChanged:
    number = _party(named, "from", options)
    if number is None:
        raise BadPayload("from: missing or empty, so nobody can be opted out")
    return ConsentChanged(
        opted_out=True,
        number=number,
        sender=_party(named, "to", options, besides="from"),
        channel=_channel(named, options),
        keyword=named.aside("keyword"),
        vendor_id=_named_by(named, "vendor_message_id"),
        occurred_at=_time(named, options, "occurred_at", "sent_at"),
        flags=named.flags,
        extra=named.rest(),
    )


def _reported(named: Named, options: MappedOptions, word: str | None) -> Reported:
    if word is not None and _UNREPLACED.fullmatch(word):
        raise BadPayload(f"{named.vendor_name('status')}: the template's placeholder came back as it is")
    status, final, reason = options.verdicts.get(word or "", ("unknown", False, None))
    to = _party(named, "to", options)
    part = ReportPart(id=named.aside("part_id"), number=named.number("part_number"), total=named.number("part_total"))
    return Reported(
        status=status,
        final=final,
        reason=reason,
        permanent=named.boolean("permanent"),
        vendor_message_id=_named_by(named, "vendor_message_id"),
        client_reference=_named_by(named, "client_reference"),
        batch_id=_named_by(named, "batch_id"),
        channel=_channel(named, options),
        from_=_party(named, "from", options, besides="to"),
        to=to,
        vendor_status=word,
        vendor_code=named.aside("vendor_code"),
        vendor_description=named.aside("vendor_description"),
        occurred_at=_time(named, options, "occurred_at"),
        sequence=named.matching("sequence", _SEQUENCE),
        segments=named.number("segments"),
        part=part if part != ReportPart() else None,
        price=_price(named),
        network=_network(named),
        opted_out="unknown" if reason == "opted_out" else None,
        flags=named.flags,
        extra=named.rest(),
    )


def _received(named: Named, options: MappedOptions) -> Received:
    text = named.words("text") or ""
    media = _media(named)
    return Received(
        vendor_message_id=_named_by(named, "vendor_message_id"),
        channel=_channel(named, options, "mms" if media else "sms"),
        from_=_party(named, "from", options),
        to=_party(named, "to", options, besides="from"),
        cc=_copied(named, options),
        text=text,
        media=media,
        segments=named.number("segments"),
        part=_inbound_part(named),
        keyword=named.aside("keyword"),
        client_reference=_named_by(named, "client_reference"),
        price=_price(named),
        network=_network(named),
        sent_at=_time(named, options, "sent_at", "occurred_at"),
        flags=named.flags,
        extra=named.rest(),
    )


def _named_by(named: Named, ours: str) -> str | None:
    """An id; a template's placeholder is none, for it is the same in every request and would make them one."""
    text = named.text(ours)
    if text is None or not _UNREPLACED.fullmatch(text):
        return text
    named.unread(ours)
    return None


def _party(named: Named, ours: str, options: MappedOptions, besides: str | None = None) -> Party | None:
    """A number as it came, blanks included: a leading one was a plus sign. One name serves one end only."""
    raw = named.words(ours, besides=besides)
    return Party(raw=raw, international=options.international) if raw and raw.strip() else None


def _copied(named: Named, options: MappedOptions) -> Sequence[Party]:
    pieces = [piece for text in named.texts("cc") for piece in _BETWEEN_NUMBERS.split(text)]
    return [Party(raw=piece, international=options.international) for piece in pieces if piece.strip()]


def _media(named: Named) -> Sequence[Media]:
    types = named.texts("media_type")
    return [
        Media(url=url, content_type=types[index] if index < len(types) else None)
        for index, url in enumerate(named.texts("media_url"))
    ]


def _channel(named: Named, options: MappedOptions, otherwise: str = "sms") -> str | None:
    word = named.aside("channel")
    if word is None:
        return otherwise
    channel = options.CHANNELS.get(word, word.lower())
    if _CHANNEL.fullmatch(channel):
        return channel
    named.unread("channel")
    return None


def _inbound_part(named: Named) -> InboundPart | None:
    reference = named.aside("part_reference")
    number, total = named.number("part_number"), named.number("part_total")
    if reference and number and total and number <= total <= MAX_PARTS:
        return InboundPart(reference=reference, number=number, total=total) if total > 1 else None
    named.unread("part_reference", "part_number", "part_total")
    place = concatenation(named.text("udh") or "")
    if place is None:
        named.unread("udh")
        return None
    return place if place.total > 1 else None


def _price(named: Named) -> Price | None:
    amount = named.matching("price", _AMOUNT)
    return None if amount is None else Price(amount=amount, currency=named.matching("currency", _CURRENCY))


def _network(named: Named) -> Network | None:
    network = Network(mcc=named.aside("mcc"), mnc=named.aside("mnc"), name=named.aside("network_name"))
    return network if network != Network() else None


def _time(named: Named, options: MappedOptions, *ours: str) -> int | None:
    """The first of our names that the vendor sent; a time that cannot be trusted stays in `extra`."""
    for name in ours:
        text = named.aside(name)
        if text is not None:
            found = options.moment(text)
            if found is None:
                named.unread(name)
            return found
    return None
