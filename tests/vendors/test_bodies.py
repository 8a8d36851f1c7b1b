"""Untrusted bodies and queries: hostile bytes come out as values or as BadPayload, never as another error."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.vendors.bodies import (
    MAX_FIELDS,
    declared_charset,
    parse_body,
    parse_form,
    parse_json,
    parse_multipart,
    split_form,
)
from receiver.vendors.contract import BadPayload, VendorRequest
from receiver.vendors.fields import Fields

FORM = "application/x-www-form-urlencoded"


def request(body: bytes = b"", content_type: str | None = None, query: bytes = b"") -> VendorRequest:
    headers = () if content_type is None else ((b"content-type", content_type.encode("latin-1")),)
    return VendorRequest(
        method="POST", url="https://h.example/", query=query, headers=headers, body=body, peer="", received_at=0
    )


def multipart(*parts: tuple[str, bytes]) -> bytes:
    made = [b"--B\r\n" + head.encode() + b"\r\n\r\n" + value + b"\r\n" for head, value in parts]
    return b"".join(made) + b"--B--\r\n"


# --- which kind of body it is -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"a": "1"}', "application/json"),
        (b'{"a": "1"}', "text/plain"),
        (b'{"a": "1"}', FORM),
        (b'{"a": "1"}', None),
        (b'\xef\xbb\xbf{"a": "1"}', "application/json"),
        (b"\r\n  " * 30 + b'{"a": "1"}', "application/json"),
        (b"a=1", FORM),
        (b"a=1", "application/json"),
        (b"a=1", "text/plain"),
        (b"a=1", None),
        (b"\xef\xbb\xbfa=1", FORM),
        (multipart(('Content-Disposition: form-data; name="a"', b"1")), 'Multipart/Form-Data; boundary="B"'),
    ],
)
def test_what_the_bytes_look_like_beats_the_declared_type(body, content_type):
    assert Fields.from_body(request(body, content_type)).text("a") == "1"


@pytest.mark.parametrize("body", [b"", b" \r\n", b"\xef\xbb\xbf"])
def test_an_empty_body_is_said_to_be_empty(body):
    with pytest.raises(BadPayload, match="body: empty"):
        parse_body(request(body))


@pytest.mark.parametrize("body", [b"[]", b"[1]", b"null", b"7", b'"text"', b"true"])
def test_json_that_is_not_an_object_is_refused_by_its_kind(body):
    with pytest.raises(BadPayload, match=r"body: an object is due, (a list|null|a number|text|a boolean) came"):
        Fields.from_body(request(body, "Application/JSON"))


def test_an_item_of_a_list_can_be_read_on_its_own():
    assert Fields.of({"a": 1}, ("charset_guessed",)).flags == ("charset_guessed",)
    with pytest.raises(BadPayload, match="an object is due, a number came"):
        Fields.of(7)


def test_xml_is_not_interpreted():
    body = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
    fields = Fields.from_body(request(body, "application/xml"))
    assert fields.text("a") is None
    assert "root:" not in repr(dict(fields))


# --- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": 1',
        b'{"a": 1}{"a": 2}',
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'[{"a": [-1E+999]}]',
        b'{"a": ' + b"1" * 400 + b".5}",
        b'{"a": ' + b"9" * 5_000 + b"}",
        '{"a": "1"}'.encode("utf-16"),
        '{"a": "1"}'.encode("utf-16-le"),
        '{"a": "\xe9"}'.encode("utf-16-le"),
        b"\xff",
    ],
)
def test_json_out_of_bounds_is_refused(body):
    with pytest.raises(BadPayload):
        Fields.of(*parse_json(body))


def test_refusing_never_repeats_what_came():
    with pytest.raises(BadPayload) as caught:
        parse_json(b'{"text": "my secret", "a": tru}')
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("word", ["5f1c0a6b7e930d4f", "1e999", "0: 1e999", "9" * 400])
def test_a_text_that_looks_like_a_huge_number_is_a_text(word):
    assert Fields.from_body(request(json.dumps({"id": word}).encode())).text("id") == word


@pytest.mark.parametrize(("number", "text"), [("18446744073709551616", "18446744073709551616"), ("1e300", "1e+300")])
def test_a_great_number_is_kept_as_text(number, text):
    assert Fields.from_body(request(b'{"id": ' + number.encode() + b"}")).text("id") == text


def test_the_last_of_duplicate_keys_wins():
    assert Fields.from_body(request(b'{"a": "1", "a": "2"}')).text("a") == "2"


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"\ud800", "\ufffd"),
        (r"\udc00 \uD83D", "\ufffd \ufffd"),
        (r"\ud83d\ude1e", "\U0001f61e"),
        (r"\ud83d\ud83d\ude1e", "\ufffd\U0001f61e"),
        (r"\\ud800", r"\ud800"),
        (r"\\\ud800", "\\\ufffd"),
        (r"\u0041", "A"),
    ],
)
def test_a_lone_surrogate_becomes_the_replacement_character(escaped, text):
    assert Fields.from_body(request(b'{"a": "' + escaped.encode() + b'"}')).words("a") == text


def test_json_in_latin_1_is_read_and_flagged():
    fields = Fields.from_body(request('{"a": "café"}'.encode("latin-1")))
    assert (fields.words("a"), fields.flags) == ("café", ("charset_guessed",))


# --- forms and queries ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "pairs"),
    [
        (b"", []),
        (b"&&", []),
        (b"a", [("a", "")]),
        (b"a=", [("a", "")]),
        (b"=1", [("", "1")]),
        (b"a=1&a=2", [("a", "1"), ("a", "2")]),
        (b"a=b=c", [("a", "b=c")]),
        (b"a+b=c+d", [("a b", "c d")]),
        (b"a=%2B1%20%26", [("a", "+1 &")]),
        (b"a=100%&b=%zz", [("a", "100%"), ("b", "%zz")]),
        (b"%C3%A9=%E2%98%95", [("é", "☕")]),
        (b"a=%00", [("a", "\x00")]),
    ],
)
def test_a_form_is_read_as_the_url_standard_says(data, pairs):
    assert parse_form(data) == (pairs, ())


@given(st.lists(st.sampled_from([*b"a+&=%0125fF\r\n\x00\x01_", *"é☕".encode()]), max_size=40).map(bytes))
def test_a_form_read_in_one_go_is_what_it_is_pair_by_pair(data):
    pairs, flags = parse_form(data)
    try:
        assert pairs == [(name.decode(), value.decode()) for name, value in split_form(data)]
        assert flags == ()
    except UnicodeDecodeError:
        assert flags == ("charset_guessed",)


@pytest.mark.parametrize(
    ("data", "charset", "text", "flags"),
    [
        (b"a=caf%E9", None, "café", ("charset_guessed",)),
        (b"a=caf\xe9", None, "café", ("charset_guessed",)),
        (b"a=caf%E9", "iso-8859-1", "café", ()),
        (b"a=%80", "windows-1252", "€", ()),
        (b"a=%E2%98%95", "us-ascii", "☕", ("charset_guessed",)),
        (b"a=%ED%A0%80", None, "í\xa0€", ("charset_guessed",)),
        (b"a=%81", None, "\ufffd", ("charset_guessed",)),
    ],
)
def test_bytes_are_read_as_declared_then_as_utf_8_then_as_windows_1252(data, charset, text, flags):
    assert parse_form(data, charset) == ([("a", text)], flags)


def test_a_declared_charset_reaches_the_form():
    fields = Fields.from_body(request(b"a=%A4", FORM + "; charset=ISO-8859-15"))
    assert (fields.text("a"), fields.flags) == ("€", ())


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [
        (FORM, None),
        (FORM + "; charset=utf-8", None),
        (FORM + ";charset=UTF8", None),
        (FORM + '; Charset = "ISO-8859-1"', "iso-8859-1"),
        (FORM + "; charset=latin1; x=y", "latin1"),
        (FORM + "; charset=UTF-16BE", "utf-16be"),
        (FORM + "; charset=", None),
        (FORM + "; charset=iso-8859-99", None),
        *((FORM + "; charset=" + name, None) for name in ("idna", "punycode", "undefined", "hex", "unicode_escape")),
    ],
)
def test_only_charsets_may_be_declared(content_type, charset):
    assert declared_charset(content_type) == charset


def test_of_a_repeated_form_field_the_first_counts_and_all_are_kept():
    fields = Fields.from_query(request(query=b"a=1&b=x&a=2"))
    assert fields.text("a") == "1"
    assert fields.pairs == [("a", "1"), ("b", "x"), ("a", "2")]


def test_pairs_as_bytes_are_those_that_were_encoded():
    assert split_form(b"a=1+%32&&caf%E9&=") == [(b"a", b"1 2"), (b"caf\xe9", b""), (b"", b"")]


def test_more_fields_than_anybody_sends_are_refused_quickly():
    most = b"&".join([b"a=1"] * MAX_FIELDS)
    assert len(parse_form(most)[0]) == MAX_FIELDS
    started = time.process_time()
    with pytest.raises(BadPayload, match="more than 1000 form fields"):
        parse_form(b"a&" * 1_000_000)
    assert time.process_time() - started < 1


def test_query_and_body_are_read_together_and_the_body_wins():
    fields = Fields.merged(request(b"a=body&b=caf%E9", FORM, query=b"a=query&c=%E9"))
    assert dict(fields) == {"a": "body", "b": "café", "c": "é"}
    assert fields.flags == ("charset_guessed",)
    assert fields.pairs == [("a", "query"), ("c", "é"), ("a", "body"), ("b", "café")]


def test_without_a_body_the_query_stands_alone():
    fields = Fields.merged(request(b"\r\n", None, query=b"a=query"))
    assert (dict(fields), len(fields)) == ({"a": "query"}, 1)


# --- multipart --------------------------------------------------------------------------------------------------------


def test_the_text_fields_of_a_multipart_body_are_read_and_its_files_passed_over():
    body = multipart(
        ('Content-Disposition: form-data; name="a"', b"1\r\n2"),
        ('X-Other: name="nothing"\r\ncontent-disposition: form-data; name="b"\r\nContent-Type: text/plain', b"caf\xe9"),
        ('Content-Disposition: form-data; name="file"; filename="../../x"', b"content"),
        ("X-Other: 1", b"nameless"),
    )
    pairs, flags = parse_multipart(body, "multipart/form-data; boundary=B")
    assert pairs == [("a", "1\r\n2"), ("b", "café")]
    assert flags == ("charset_guessed",)


@pytest.mark.parametrize(
    ("body", "content_type", "error"),
    [
        (b"--B--", "multipart/form-data", "without a boundary"),
        (b"--B--", "multipart/form-data; boundary=", "without a boundary"),
        (b"nothing of the kind", "multipart/form-data; boundary=B", "not multipart"),
        (multipart(('Content-Disposition: form-data; name="a"', b"1"))[:-6], "multipart/form-data; boundary=B", "body"),
        (b"", "multipart/form-data; boundary=B", "closing boundary"),
        (
            multipart(*[('Content-Disposition: form-data; name="a"', b"1")] * (MAX_FIELDS + 1)),
            "multipart/form-data; boundary=B",
            "more than 1000",
        ),
        (
            multipart(*[('Content-Disposition: form-data; name="a"; filename="b"', b"")] * (MAX_FIELDS + 1)),
            "multipart/form-data; boundary=B",
            "more than 1000",
        ),
    ],
)
def test_a_broken_multipart_body_is_refused(body, content_type, error):
    with pytest.raises(BadPayload, match=error):
        parse_body(request(body, content_type))


# --- anything ---------------------------------------------------------------------------------------------------------

TYPES = st.one_of(
    st.none(),
    st.sampled_from(["application/json", FORM, "multipart/form-data; boundary=B", "multipart/form-data", "text/xml"]),
    st.builds("{}; charset={}".format, st.just(FORM), st.sampled_from(["utf-16", "big5", "idna", "cp037", "koi8-r"])),
    st.text(st.characters(max_codepoint=255), max_size=40),
    st.builds("multipart/form-data; {}".format, st.text(st.characters(max_codepoint=255), max_size=30)),
)
BODIES = st.one_of(
    st.binary(max_size=200),
    st.builds(b"".join, st.lists(st.sampled_from([b"{", b"[", b'"a"', b":", b"\\ud800", b"1e999", b"}", b"]", b","]))),
    st.builds(
        b"".join, st.lists(st.sampled_from([b"a=", b"&", b"%", b"%ff", b"+", b"--B", b"\r\n", b"--", b";", b":"]))
    ),
)


@settings(max_examples=300, deadline=None)
@given(BODIES, TYPES, st.binary(max_size=100))
def test_any_request_is_read_or_refused(body, content_type, query):
    made = request(body, content_type, query)
    Fields.from_query(made)
    for read in (Fields.merged, Fields.from_body):
        try:
            fields = read(made)
        except BadPayload:
            continue
        fields.rest(())
