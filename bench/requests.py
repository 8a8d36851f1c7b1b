"""Signed, form-encoded inbound messages as Twilio sends them, each with an id and a sender of its own."""

from urllib.parse import urlencode

from receiver.vendors.contract import Options, Source, VendorRequest
from receiver.vendors.twilio import TWILIO

TOKEN = "bench0bench0bench0bench0"
AUTH_TOKEN = "12345"
URL = f"https://hooks.example.com/in/twilio/{TOKEN}"
SOURCE = Source(
    id="src_bench", vendor="twilio", name="bench", credentials={"auth_token": (AUTH_TOKEN,)}, options=Options()
)


def twilio_form(number: int, run: str) -> bytes:
    """The body of one message."""
    sid = f"SM{run:0>8}{number:024d}"
    return urlencode(
        {
            "ToCountry": "US", "ToState": "NY", "SmsMessageSid": sid, "NumMedia": "0", "ToCity": "FARMINGDALE",
            "FromZip": "10001", "SmsSid": sid, "FromState": "NY", "SmsStatus": "received", "FromCity": "NEW YORK",
            "Body": f"Yes, see you at {number % 12} pm, thanks & bye", "FromCountry": "US", "To": "+15165550199",
            "ToZip": "11735", "NumSegments": "1", "MessageSid": sid, "AccountSid": "AC" + "0" * 32,
            "From": f"+1212555{number % 10_000:04d}", "ApiVersion": "2010-04-01",
        }
    ).encode()  # fmt: skip


def twilio_requests(count: int, run: str) -> list[bytes]:
    """Whole requests, ready for the wire."""
    return [_whole(twilio_form(number, run)) for number in range(count)]


def _whole(body: bytes) -> bytes:
    assert TWILIO.sign is not None
    plain = VendorRequest(
        method="POST", url=URL, query=b"", headers=((b"content-type", b"application/x-www-form-urlencoded"),),
        body=body, peer="", received_at=0,
    )  # fmt: skip
    signature = TWILIO.sign(plain, SOURCE).header("x-twilio-signature") or ""
    head = (
        f"POST /in/twilio/{TOKEN} HTTP/1.1\r\nHost: hooks.example.com\r\nUser-Agent: TwilioProxy/1.1\r\n"
        f"Accept: */*\r\nContent-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n"
        f"X-Twilio-Signature: {signature}\r\nI-Twilio-Idempotency-Token: 0\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
