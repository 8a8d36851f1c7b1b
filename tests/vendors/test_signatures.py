"""Only the request that was signed, with a secret that the source has, gets through."""

import time
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from receiver.vendors.contract import BadSignature, Options, Source, VendorRequest
from receiver.vendors.signatures import (
    bearer,
    hmac_sha1_base64,
    only,
    require_bearer,
    same,
    sign_url_and_form,
    verify_url_and_form,
    with_and_without_port,
)

HEADER = "x-twilio-signature"
FORM = b"application/x-www-form-urlencoded"


def request(url: str = "https://h.example/in", body: bytes = b"", *headers: tuple[str, str]) -> VendorRequest:
    return VendorRequest(
        method="POST",
        url=url,
        query=url.partition("?")[2].encode(),
        headers=tuple((name.encode(), value.encode("latin-1")) for name, value in headers),
        body=body,
        peer="",
        received_at=0,
    )


def signed(url: str, pairs: list[tuple[str, str]], signature: str) -> VendorRequest:
    return request(url, urlencode(pairs).encode(), (HEADER, signature))


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "expected", "found"),
    [
        ("a", ["a"], True),
        ("a", ["b", "a"], True),
        ("a", ["a", "b"], True),
        ("a", ["A"], False),
        ("a", ["ab"], False),
        ("a", [], False),
        ("", [""], False),
        ("é", ["é"], True),
        ("\ud800", ["\ud800"], True),
        ("\ud800", ["a"], False),
    ],
)
def test_a_secret_is_one_of_those_expected(given_, expected, found):
    assert same(given_, expected) is found


def test_one_header_proves_something():
    assert only(request("", b"", ("x-sig", "abc"), ("x-other", "d")), "x-sig") == "abc"


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ((), "x-sig: missing"),
        ((("x-sig", ""),), "x-sig: missing"),
        ((("x-sig", "abc"), ("x-sig", "abc")), "x-sig: came twice"),
    ],
)
def test_no_header_an_empty_one_and_two_prove_nothing(headers, error):
    with pytest.raises(BadSignature, match=error):
        only(request("", b"", *headers), "x-sig")


@pytest.mark.parametrize("value", ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret ", "s3cret", "Bearer older"])
def test_a_bearer_secret_is_taken_with_and_without_its_word(value):
    bearer(request("", b"", ("authorization", value)), ("s3cret", "older"))


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic s3cret", "s3cre", "S3cret", "s3cret x", "Bearer ü"])
def test_any_other_value_is_not(value):
    with pytest.raises(BadSignature) as caught:
        bearer(request("", b"", ("authorization", value)), ("s3cret",))
    assert "s3cre" not in str(caught.value)


def test_a_secret_can_stand_in_a_header_of_another_name():
    made = request("", b"", ("x-secret", "s3cret"))
    bearer(made, ("s3cret",), "x-secret")
    with pytest.raises(BadSignature, match="x-secret: wrong secret"):
        bearer(made, ("other",), "x-secret")


def test_without_a_secret_nothing_is_asked():
    options = Options.model_validate({})
    source = Source(id="src_1", vendor="v", name="n", credentials={}, options=options)
    require_bearer(request(), source)
    with pytest.raises(BadSignature, match="authorization: missing"):
        require_bearer(request(), replace(source, credentials={"secret": ("s3cret",)}))


def test_an_empty_secret_is_not_no_secret():
    with pytest.raises(BadSignature):
        bearer(request("", b"", ("authorization", "Bearer ")), ("",))


# --- URL and form -----------------------------------------------------------------------------------------------------

MESSAGE = [
    ("ToCountry", "US"),
    ("SmsMessageSid", "SM0123456789abcdef0123456789abcdef"),
    ("MessageSid", "SM0123456789abcdef0123456789abcdef"),
    ("NumMedia", "0"),
    ("Body", "Hello & café ☕"),
    ("From", "+15005550006"),
    ("To", "+15005550009"),
    ("AccountSid", "AC" + "0" * 32),
    ("NumSegments", "1"),
]
CALL = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Caller", "+14158675309"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
]
SMS_URL = "https://sms.example.com/v1/in/twilio/acct1"


@pytest.mark.parametrize(
    ("url", "pairs", "signature"),
    [
        # https://www.twilio.com/docs/usage/webhooks/webhooks-security, also in the tests of Twilio's own libraries
        ("https://mycompany.com/myapp.php?foo=1&bar=2", CALL, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        (SMS_URL, MESSAGE, "ibQGHJGEIsOwwKKllTkxPMO/F1U="),
        (SMS_URL, [("A", "2"), ("A", "1"), ("A", "1")], "h6bB4CGVbFJAlGWX4n4/JClxi7o="),
    ],
)
def test_published_vectors(url, pairs, signature):
    verify_url_and_form(signed(url, pairs, signature), HEADER, ("12345",))
    made = sign_url_and_form(request(url, urlencode(pairs).encode()), HEADER, "12345")
    assert only(made, HEADER) == signature


def test_repeated_parameters_are_neither_signed_as_they_came_nor_once_by_name():
    naive = signed(SMS_URL, [("A", "2"), ("A", "1"), ("A", "1")], "u3t5uZ7MaJG3naVp6HcytagYjJg=")
    with pytest.raises(BadSignature):
        verify_url_and_form(naive, HEADER, ("12345",))


def test_names_are_sorted_before_values():
    pairs = [("MediaUrl10", "j"), ("MediaUrl1", "b"), ("ToCity", "X"), ("To", "Z"), ("to", "a")]
    signature = RequestValidator("12345").compute_signature(SMS_URL, dict(pairs))
    verify_url_and_form(signed(SMS_URL, pairs, signature), HEADER, ("12345",))


@pytest.mark.parametrize(
    ("url", "without", "with_"),
    [
        ("https://h.example/a?b=:1", "https://h.example/a?b=:1", "https://h.example:443/a?b=:1"),
        ("http://h.example", "http://h.example", "http://h.example:80"),
        ("https://h.example:8443/a", "https://h.example/a", "https://h.example:8443/a"),
        ("https://h.example:443?a", "https://h.example?a", "https://h.example:443?a"),
        ("https://h.example:/a", "https://h.example/a", "https://h.example:443/a"),
        ("HTTPS://[2001:db8::1]/a", "HTTPS://[2001:db8::1]/a", "HTTPS://[2001:db8::1]:443/a"),
        ("https://[2001:db8::1]:80/a", "https://[2001:db8::1]/a", "https://[2001:db8::1]:80/a"),
        ("https://user:443@h.example/a", "https://user:443@h.example/a", "https://user:443@h.example:443/a"),
        ("nonsense", "nonsense", "nonsense"),
    ],
)
def test_both_ways_of_writing_a_port(url, without, with_):
    assert with_and_without_port(url) == (without, with_)


@pytest.mark.parametrize("told", ["https://h.example/in", "https://h.example:443/in"])
@pytest.mark.parametrize("known", ["https://h.example/in", "https://h.example:443/in"])
def test_a_default_port_makes_no_difference(told, known):
    signature = hmac_sha1_base64("12345", told.encode())
    verify_url_and_form(request(known, b"", (HEADER, signature)), HEADER, ("12345",))


@pytest.mark.parametrize("known", ["http://h.example/in", "https://h.example:8443/in", "https://h.example/in/"])
def test_another_address_does(known):
    signature = hmac_sha1_base64("12345", b"https://h.example:443/in")
    with pytest.raises(BadSignature):
        verify_url_and_form(request(known, b"", (HEADER, signature)), HEADER, ("12345",))


def test_every_secret_is_tried_and_an_empty_one_is_none():
    made = sign_url_and_form(request(SMS_URL, b"a=1"), HEADER, "new")
    verify_url_and_form(made, HEADER, ("old", "new"))
    for secrets in ((), ("old",), ("",), ("new ",)):
        with pytest.raises(BadSignature):
            verify_url_and_form(made, HEADER, secrets)
    with pytest.raises(BadSignature):
        verify_url_and_form(sign_url_and_form(made, HEADER, ""), HEADER, ("",))


@pytest.mark.parametrize(
    "twist", [str.lower, str.swapcase, "{} ".format, " {}".format, "{}=".format, lambda _: "é", lambda s: s[:-1]]
)
def test_a_signature_bent_in_any_way_is_refused(twist):
    made = sign_url_and_form(request(SMS_URL, b"a=1"), HEADER, "12345")
    bent = replace(made, headers=((HEADER.encode(), twist(only(made, HEADER)).encode("latin-1")),))
    with pytest.raises(BadSignature, match="matches no secret"):
        verify_url_and_form(bent, HEADER, ("12345",))


def test_json_is_signed_by_its_hash_in_the_url():
    bare = request("https://h.example/in?a=1&bodySHA256=" + "0" * 64, b'{"a": 1}')
    made = sign_url_and_form(bare, HEADER, "12345")
    assert made.url.count("bodySHA256=") == 1
    assert made.url == "https://h.example/in?" + made.query.decode()
    verify_url_and_form(made, HEADER, ("12345",))
    assert RequestValidator("12345").validate(made.url, made.body.decode(), only(made, HEADER))


def test_json_that_is_not_what_was_hashed_is_refused():
    made = sign_url_and_form(request("https://h.example/in", b'{"a": 1}'), HEADER, "12345")
    for altered in (b'{"a": 2}', b"a=1"):
        with pytest.raises(BadSignature):
            verify_url_and_form(replace(made, body=altered), HEADER, ("12345",))
    without_hash = replace(made, url="https://h.example/in", query=b"")
    with pytest.raises(BadSignature):
        verify_url_and_form(without_hash, HEADER, ("12345",))


def test_a_customer_may_have_a_parameter_called_bodysha256():
    url = "https://h.example/in?bodySHA256=" + "0" * 64
    signature = RequestValidator("12345").compute_signature(url, dict(CALL))
    verify_url_and_form(signed(url, CALL, signature), HEADER, ("12345",))


def test_a_flood_of_parameters_is_refused_before_it_is_sorted():
    made = request(SMS_URL, b"a&" * 1_000_000, (HEADER, "x"))
    started = time.process_time()
    with pytest.raises(BadSignature, match="more than 1000 form fields"):
        verify_url_and_form(made, HEADER, ("12345",))
    assert time.process_time() - started < 1


def test_bytes_outside_utf_8_are_signed_as_they_are():
    body = b"Body=caf%E9&From=%2B1"
    expected = hmac_sha1_base64("12345", SMS_URL.encode() + b"Bodycaf\xe9From+1")
    assert only(sign_url_and_form(request(SMS_URL, body), HEADER, "12345"), HEADER) == expected


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
URLS = st.builds(
    "{}://{}{}/{}{}".format,
    st.sampled_from(["http", "https"]),
    st.from_regex(r"[a-z]{1,8}\.[a-z]{2,3}", fullmatch=True),
    st.sampled_from(["", ":80", ":443", ":8080"]),
    st.from_regex(r"[A-Za-z0-9%/._~-]{0,12}", fullmatch=True),
    st.one_of(st.just(""), st.from_regex(r"\?[a-z0-9=&%+:]{1,12}", fullmatch=True)),
)


@settings(max_examples=200, deadline=None)
@given(URLS, st.lists(st.tuples(TEXT, TEXT), max_size=8), st.text(st.characters(codec="utf-8"), min_size=1, max_size=8))
def test_the_vendors_own_library_agrees(url, pairs, token):
    theirs = RequestValidator(token)
    distinct = dict(pairs)
    verify_url_and_form(signed(url, list(distinct.items()), theirs.compute_signature(url, distinct)), HEADER, (token,))
    ours = sign_url_and_form(request(url, urlencode(list(distinct.items())).encode()), HEADER, token)
    assert theirs.validate(url, distinct, only(ours, HEADER))


class Repeated(dict[str, list[str]]):
    """The multi-dict that Twilio's library knows how to read."""

    def getlist(self, name: str) -> list[str]:
        return self[name]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["A", "AB", "B", ""]), TEXT), max_size=8))
def test_the_vendors_own_library_agrees_about_repeated_parameters(pairs):
    repeated = Repeated()
    for name, value in pairs:
        repeated.setdefault(name, []).append(value)
    theirs = RequestValidator("12345").compute_signature(SMS_URL, repeated)
    verify_url_and_form(signed(SMS_URL, pairs, theirs), HEADER, ("12345",))


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60),
    st.binary(max_size=60),
    st.text(max_size=20),
    st.text(st.characters(max_codepoint=255), min_size=1),
)
def test_any_unsigned_request_is_refused(body, query, url, signature):
    made = replace(request(body=body), url=url, query=query, headers=((HEADER.encode(), signature.encode("latin-1")),))
    with pytest.raises(BadSignature):
        verify_url_and_form(made, HEADER, ("12345",))
