import re
from base64 import b64encode
from datetime import UTC, datetime

import pytest
import standardwebhooks
import svix
from hypothesis import given
from hypothesis import strategies as st

from receiver.delivery.signing import format_secret, parse_secret, sign

ID = "evt_01kabcdefghijklmnopqrstuvw"
BODY = '{"id":"evt_01k","data":{"text":"Grüße 👋 …"}}'.encode()
KEY, OTHER = bytes(range(32)), bytes(range(100, 132))


def headers_for(signature: str, timestamp: int) -> dict[str, str]:
    return {"webhook-id": ID, "webhook-timestamp": str(timestamp), "webhook-signature": signature}


def now() -> int:
    return int(datetime.now(UTC).timestamp())


LIBRARIES = pytest.mark.parametrize(
    ("library", "refusal"),
    [
        (standardwebhooks.Webhook, standardwebhooks.WebhookVerificationError),
        (svix.Webhook, svix.WebhookVerificationError),
    ],
    ids=["standardwebhooks", "svix"],
)


@LIBRARIES
@pytest.mark.parametrize("own", [KEY, OTHER], ids=["first", "second"])
def test_public_libraries_accept_either_of_two_signatures(library, refusal, own):
    timestamp = now()
    signature = sign([KEY, OTHER], ID, timestamp, BODY)
    library(format_secret(own)).verify(BODY, headers_for(signature, timestamp))


@LIBRARIES
@pytest.mark.parametrize(
    ("id_", "shift", "body", "key"),
    [
        ("evt_other", 0, BODY, KEY),
        (ID, 1, BODY, KEY),
        (ID, 0, BODY.replace(b"01k", b"01l"), KEY),
        (ID, 0, BODY, OTHER),
    ],
    ids=["id", "timestamp", "body", "key"],
)
def test_public_libraries_refuse_what_was_signed_otherwise(library, refusal, id_, shift, body, key):
    timestamp = now()
    headers = headers_for(sign([key], id_, timestamp + shift, body), timestamp)
    with pytest.raises(refusal):
        library(format_secret(KEY)).verify(BODY, headers)


def test_matches_the_example_of_the_public_libraries():
    # The fixed vector in the test suites of the Standard Webhooks libraries.
    signature = sign(
        [parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_several_secrets_give_several_signatures_in_order():
    both = sign([KEY, OTHER], ID, 1_790_000_000, BODY)
    assert both == f"{sign([KEY], ID, 1_790_000_000, BODY)} {sign([OTHER], ID, 1_790_000_000, BODY)}"
    assert re.fullmatch(r"v1,[A-Za-z0-9+/]{43}= v1,[A-Za-z0-9+/]{43}=", both)


@given(st.binary(min_size=24, max_size=64))
def test_a_secret_survives_being_written_and_read(key):
    assert parse_secret(format_secret(key)) == key
    assert parse_secret(format_secret(key).rstrip("=")) == key


@pytest.mark.parametrize("size", [0, 1, 23, 65, 500])
def test_keys_of_other_sizes_are_refused_both_ways(size):
    with pytest.raises(ValueError, match=f"24 to 64 bytes, not {size}"):
        parse_secret("whsec_" + b64encode(bytes(size)).decode())
    with pytest.raises(ValueError, match=f"24 to 64 bytes, not {size}"):
        format_secret(bytes(size))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "must start with whsec_"),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "must start with whsec_"),
        ("WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "must start with whsec_"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", "base64|bytes"),
        ("whsec_MfKQ9r8GKYqr TwjUPD8ILPZIo2LaLaSw", "must be base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa_-", "must be base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwé", "must be base64"),
        ("whsec_A", "must be base64"),
    ],
)
def test_a_broken_secret_is_named_but_not_shown(text, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        parse_secret(text)
    assert "MfKQ" not in str(caught.value)
