"""Power Textor: inbound SMS and MMS as its Power Platform connector declares them, with Twilio's parameter names.

There are no delivery reports. https://github.com/microsoft/PowerPlatformConnectors/tree/dev/certified-connectors/Power%20Textor
"""

from collections.abc import Sequence

from receiver.sms.drafts import Item, Media, Received
from receiver.vendors import twilio_parameters as twilio
from receiver.vendors.contract import BadPayload, Source, Vendor, VendorRequest
from receiver.vendors.fields import Fields

_USED = twilio.USED | {"mediaURL", "contentType"}


def parse(request: VendorRequest, _source: Source) -> Sequence[Item]:
    """One message a request, as JSON or as a form."""
    fields = Fields.from_body(request)
    texts = fields.texts()
    media = _media(texts)
    text = fields.words("Body")
    if text is None and not media:
        raise BadPayload("Body or mediaURL: missing")
    received = Received(
        vendor_message_id=twilio.message_id(texts),
        channel=twilio.channel(texts, media),
        from_=twilio.party(fields, texts, "From"),
        to=twilio.party(fields, texts, "To"),
        text=text,
        media=media,
        segments=fields.integer("NumSegments") or None,
        intent=twilio.intent(texts),
        scope=twilio.scope(texts),
        scope_id=twilio.scope_id(texts),
        flags=fields.flags,
        extra=fields.rest(_USED | twilio.names_of(media)),
    )
    return [received]


def _media(texts: twilio.Texts) -> Sequence[Media]:
    """The connector's one file, else those of a form that came on as Twilio made it."""
    url = texts.get("mediaURL")
    if url is not None:
        return [Media(url=url, content_type=texts.get("contentType"))]
    return twilio.numbered_media(texts, needs_auth=False)


POWERTEXTOR = Vendor(
    name="powertextor",
    title="Power Textor",
    docs="https://github.com/microsoft/PowerPlatformConnectors/tree/dev/certified-connectors/Power%20Textor",
    provenance="documented",
    assumed="the content type (JSON, or Twilio's form), one message a request, and the values of OptOutType",
    capabilities=("inbound", "opt_outs"),
    parse=parse,
)
