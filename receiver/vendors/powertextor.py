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
    media = _media(fields)
    text = fields.words("Body")
    if text is None and not media:
        raise BadPayload("Body or mediaURL: missing")
    received = Received(
        vendor_message_id=twilio.message_id(fields),
        channel=twilio.channel(fields, media),
        from_=twilio.party(fields, "From"),
        to=twilio.party(fields, "To"),
        text=text,
        media=media,
        segments=fields.integer("NumSegments") or None,
        intent=twilio.intent(fields),
        scope=twilio.scope(fields),
        scope_id=twilio.scope_id(fields),
        flags=fields.flags,
        extra=fields.rest(_USED | twilio.names_of(media)),
    )
    return [received]


def _media(fields: Fields) -> Sequence[Media]:
    """The connector's one file, else those of a form that came on as Twilio made it."""
    url = fields.text("mediaURL")
    if url is not None:
        return [Media(url=url, content_type=fields.text("contentType"))]
    return twilio.numbered_media(fields, needs_auth=False)


POWERTEXTOR = Vendor(
    name="powertextor",
    title="Power Textor",
    docs="https://github.com/microsoft/PowerPlatformConnectors/tree/dev/certified-connectors/Power%20Textor",
    provenance="documented",
    assumed="the content type (JSON, or Twilio's form), one message a request, and the values of OptOutType",
    capabilities=("inbound", "opt_outs"),
    parse=parse,
)
