"""Signed form-encoded requests as Twilio sends them: messages, and reports on messages of ours.

Each message has an id that looks like chance and a sender of its own, so that indexes grow as they do in life.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import md5
from itertools import count
from typing import Self
from urllib.parse import urlencode

from receiver.vendors.contract import Options, Source, VendorRequest
from receiver.vendors.signatures import hmac_sha1_base64
from receiver.vendors.twilio import TWILIO

TOKEN = "bench0bench0bench0bench0"
AUTH_TOKEN = "12345"
URL = f"https://hooks.example.com/in/twilio/{TOKEN}"
SOURCE = Source(
    id="src_bench", vendor="twilio", name="bench", credentials={"auth_token": (AUTH_TOKEN,)}, options=Options()
)
AREAS = (201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219, 224, 225, 228, 229, 231,
         234, 239, 240, 248, 251, 252, 253, 254, 256, 260, 262, 267, 269, 270, 276, 281, 301, 302)  # fmt: skip
OURS = "+15162000199"
_ID, _PERSON, _HOUR = "0TheId0", "0ThePerson0", "0TheHour0"

_MESSAGE = {
    "ToCountry": "US", "ToState": "NY", "SmsMessageSid": _ID, "NumMedia": "0", "ToCity": "FARMINGDALE",
    "FromZip": "10001", "SmsSid": _ID, "FromState": "NY", "SmsStatus": "received", "FromCity": "NEW YORK",
    "Body": f"Yes, see you at {_HOUR} pm, thanks & bye", "FromCountry": "US", "To": OURS, "ToZip": "11735",
    "NumSegments": "1", "MessageSid": _ID, "AccountSid": "AC" + "0" * 32, "From": _PERSON, "ApiVersion": "2010-04-01",
}  # fmt: skip


def message_id(run: str, number: int) -> str:
    """`SM` and 32 hexadecimal digits."""
    return "SM" + md5(f"{run}/{number}".encode(), usedforsecurity=False).hexdigest()


def person(sid: str) -> str:
    """One of 400,000 phone numbers, by the message's id."""
    chance = int(sid[-8:], 16)
    return f"+1{AREAS[chance % len(AREAS)]}555{chance // len(AREAS) % 10_000:04d}"


@dataclass(frozen=True, slots=True)
class Form:
    """A form with places for id, person and hour: filling it in costs the load a tenth of encoding and signing it."""

    body: str
    signed: str

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Self:
        return cls(urlencode(fields), URL + "".join(name + fields[name] for name in sorted(fields)))

    def filled(self, sid: str) -> tuple[bytes, str]:
        """The body and its signature."""
        hour = str(int(sid[-2:], 16) % 12)
        number = person(sid)
        body = self.body.replace(_ID, sid).replace(_PERSON, "%2B" + number[1:]).replace(_HOUR, hour)
        signed = self.signed.replace(_ID, sid).replace(_PERSON, number).replace(_HOUR, hour)
        return body.encode(), hmac_sha1_base64(AUTH_TOKEN, signed.encode())

    def request(self, sid: str) -> bytes:
        """Ready for the wire."""
        body, signature = self.filled(sid)
        head = (
            f"POST /in/twilio/{TOKEN} HTTP/1.1\r\nHost: hooks.example.com\r\nUser-Agent: TwilioProxy/1.1\r\n"
            f"Accept: */*\r\nContent-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n"
            f"X-Twilio-Signature: {signature}\r\nI-Twilio-Idempotency-Token: 0\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def report(status: str) -> Form:
    """A status callback of a message that went out to the person."""
    return Form.of(
        {
            "SmsSid": _ID, "SmsStatus": status, "MessageStatus": status, "To": _PERSON, "MessageSid": _ID,
            "AccountSid": "AC" + "0" * 32, "From": OURS, "ApiVersion": "2010-04-01",
        }
    )  # fmt: skip


MESSAGE = Form.of(_MESSAGE)


def twilio_form(number: int, run: str) -> bytes:
    """The body of one message."""
    return MESSAGE.filled(message_id(run, number))[0]


def twilio_requests(wanted: int, run: str) -> list[bytes]:
    """Whole requests, ready for the wire."""
    return [MESSAGE.request(message_id(run, number)) for number in range(wanted)]


def endless(run: str) -> Iterator[bytes]:
    """Whole requests, made when they are asked for."""
    return (MESSAGE.request(message_id(run, number)) for number in count())


def check() -> None:
    """What is signed here is what the adapter would sign."""
    body, signature = MESSAGE.filled(message_id("check", 0))
    plain = VendorRequest(
        method="POST", url=URL, query=b"", headers=((b"content-type", b"application/x-www-form-urlencoded"),),
        body=body, peer="", received_at=0,
    )  # fmt: skip
    assert TWILIO.sign is not None
    assert TWILIO.sign(plain, SOURCE).header("x-twilio-signature") == signature
