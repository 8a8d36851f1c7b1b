"""The parameter names of Twilio's messaging webhooks, shared by the vendors that pass them on.

https://www.twilio.com/docs/messaging/guides/webhook-request
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from receiver.sms.drafts import Intent, Media, Party, Scope
from receiver.vendors.fields import Fields

# https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out
INTENTS: Mapping[str, Intent] = {"STOP": "opt_out", "START": "opt_in", "HELP": "help"}

USED: Final = frozenset(
    {"MessageSid", "SmsSid", "SmsMessageSid", "Body", "OptOutType", "NumMedia", "NumSegments"}
    | {side + part for side in ("From", "To") for part in ("", "City", "State", "Zip", "Country")}
)
"""Parameters that find a place in an event whichever vendor sends them."""

_AROUND: Mapping[str, tuple[str, str, str, str]] = {
    side: (f"{side}Country", f"{side}City", f"{side}State", f"{side}Zip") for side in ("From", "To")
}
Texts = Mapping[str, str]
"""Parameters by name, trimmed, the empty ones left out: `Fields.texts`."""

_CHANNEL = re.compile(r"([a-z]+):(.*)", re.DOTALL)
_COUNTRY = re.compile(r"[A-Z]{2}")


def message_id(texts: Texts) -> str | None:
    return texts.get("MessageSid") or texts.get("SmsSid") or texts.get("SmsMessageSid")


def party(fields: Fields, texts: Texts, side: str) -> Party | None:
    """`From` or `To` with its city, state, postal code and country; an address like `whatsapp:+1…` loses its prefix.

    It is not trimmed: a leading blank may be a plus sign that somebody forgot to encode.
    """
    if side not in texts:
        return None
    address = fields.words(side) or ""
    prefixed = _CHANNEL.fullmatch(address) if ":" in address else None
    its_country, its_city, its_state, its_zip = _AROUND[side]
    country = texts.get(its_country)
    return Party(
        raw=prefixed[2] if prefixed else address,
        country=country if country and _COUNTRY.fullmatch(country) else None,
        city=texts.get(its_city),
        region=texts.get(its_state),
        postal_code=texts.get(its_zip),
    )


def channel(texts: Texts, media: Sequence[Media] = ()) -> str:
    """The prefix of an address (`whatsapp`, `rcs`, `messenger`); else `mms` or `sms`, by files or the SID's letters.

    https://www.twilio.com/docs/glossary/what-is-a-sid
    """
    for side in ("From", "To"):
        address = texts.get(side, "")
        prefixed = _CHANNEL.fullmatch(address) if ":" in address else None
        if prefixed is not None:
            return prefixed[1]
    return "mms" if media or (message_id(texts) or "").startswith("MM") else "sms"


def numbered_media(texts: Texts, *, needs_auth: bool) -> list[Media]:
    """`MediaUrl0`, `MediaContentType0` and so on, as long as there is one more."""
    found: list[Media] = []
    while (url := texts.get(f"MediaUrl{len(found)}")) is not None:
        kind = texts.get(f"MediaContentType{len(found)}")
        found.append(Media(url=url, content_type=kind, needs_auth=needs_auth))
    return found


def names_of(media: Sequence[Media]) -> set[str]:
    return {name + str(index) for index in range(len(media)) for name in ("MediaUrl", "MediaContentType")}


def intent(texts: Texts) -> Intent | None:
    return INTENTS.get(texts.get("OptOutType", "").upper())


def scope(texts: Texts) -> Scope:
    """A messaging service keeps one opt-out list for all its senders."""
    return "group" if scope_id(texts) else "sender"


def scope_id(texts: Texts) -> str | None:
    return texts.get("MessagingServiceSid")
