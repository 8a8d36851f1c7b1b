"""Which hosts and addresses may be called, and what of a URL is refused before any look-up."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import addresses
from receiver.addresses import Network
from receiver.egress import BadDestination, Guard, check_url, destination
from tests.door.knocking import LOOPBACK, PUBLIC
from tests.door.table import BAD_URLS, FORBIDDEN, FORBIDDEN_ADDRESSES, NOTATIONS, PUBLIC_ADDRESSES, SCOPED, url_of


@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES)
def test_forbidden_addresses_are_refused_at_creation_naming_the_setting(address: str):
    refusal = PUBLIC.refusal(address)
    assert refusal is not None
    assert "EGRESS_ALLOW=" in refusal
    with pytest.raises(BadDestination, match="EGRESS_ALLOW="):
        check_url(url_of(address), PUBLIC)


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_their_public_neighbours_pass(address: str):
    assert PUBLIC.refusal(address) is None
    check_url(url_of(address), PUBLIC)


@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES)
def test_the_network_that_the_refusal_names_is_what_opens_the_address(address: str):
    allow: list[Network] = []
    for _ in range(3):  # a tunnel's address and those inside it are opened one by one
        refusal = Guard(allow).refusal(address)
        if refusal is None:
            break
        allow.append(ip_network(refusal.split("EGRESS_ALLOW=")[1].split()[0]))
    assert Guard(allow).refusal(address) is None
    assert Guard(allow).refusal("10.9.9.9") is not None


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_whatever_python_calls_private_is_refused(address):
    address = getattr(address, "ipv4_mapped", None) or address
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert PUBLIC.refusal(address) is not None


@pytest.mark.parametrize(
    ("allowed", "address"),
    [
        ("64:ff9b::/96", "64:ff9b::a9fe:a9fe"),
        ("2002::/16", "2002:a9fe:a9fe::1"),
        ("2001::/32", "2001:0:a9fe:a9fe::"),
        ("2001::/32", "2001:0:808:808::5601:5601"),  # Teredo's client, 169.254.169.254 with all bits turned
    ],
)
def test_an_allowed_tunnel_does_not_open_the_forbidden_address_behind_it(allowed: str, address: str):
    refusal = Guard([ip_network(allowed)]).refusal(address)
    assert refusal is not None
    assert refusal.startswith("169.254.169.254 ")


def test_an_allowed_tunnel_reaches_public_addresses():
    assert Guard([ip_network("64:ff9b::/96")]).refusal("64:ff9b::808:808") is None


def test_an_allowed_network_opens_mapped_addresses_of_it_too():
    assert LOOPBACK.refusal("::ffff:127.0.0.1") is None
    assert LOOPBACK.refusal("::ffff:10.0.0.1") is not None


@pytest.mark.parametrize("address", SCOPED)
def test_scoped_addresses_are_refused_whatever_is_allowed(address: str):
    everything = Guard([ip_network("::/0"), ip_network("0.0.0.0/0")])
    assert everything.refusal(address) == "an address with a scope is never called"


@pytest.mark.parametrize("text", ["", "example.com", "1.2.3", "127.1", "0x7f000001", "1.2.3.4/32"])
def test_what_is_no_address_is_refused(text: str):
    assert PUBLIC.refusal(text) == "not an IP address"


def test_the_table_is_the_one_that_the_tests_spell_out():
    assert [str(network) for network, _ in addresses.FORBIDDEN] == [network for network, *_ in FORBIDDEN]
    for network, first, inside, last in FORBIDDEN:
        whole = ip_network(network)
        assert (ip_address(first), ip_address(last)) == (whole[0], whole[-1])
        assert ip_address(inside) in whole


BAD = {**{name: f"http://{host}/" for name, host in NOTATIONS.items()}, **BAD_URLS, "nothing": ""}


@pytest.mark.parametrize("url", BAD.values(), ids=BAD.keys())
def test_a_bad_url_is_refused_at_creation(url: str):
    with pytest.raises(BadDestination) as caught:
        check_url(url, PUBLIC)
    assert 10 < len(str(caught.value)) < 200


def test_a_refusal_never_shows_path_query_or_password():
    for url in ("https://user:s3cret@example.com/", "https://example.com/?sig=s3cret#x", "ftp://example.com/s3cret",
                "http://127.0.0.1/s3cret", "https://example.com:0/s3cret", "https://example.com/s3cret é"):  # fmt: skip
        with pytest.raises(BadDestination) as caught:
            check_url(url, PUBLIC)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://localhost:8080/", "http://LOCALHOST./", "http://127.0.0.1:8080/"])
def test_egress_allow_opens_the_local_machine(url: str):
    check_url(url, LOOPBACK)
    with pytest.raises(BadDestination, match=r"EGRESS_ALLOW=127\.0\.0\.1/32"):
        check_url(url, PUBLIC)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "http://example.com/",
        "HTTPS://EXAMPLE.COM:8443/Hook",
        "https://example.com./",
        "https://my_service.internal/",
        "https://1.example.com/",
        "https://0x7f.example.com/",
        "https://bücher.example/",
        "https://xn--bcher-kva.example/",
        "https://notlocalhost/",
        "https://localhost.example.com/",
        "https://example.com?a=b",
        "https://[2606:4700:4700::1111]:8443/",
    ],
)
def test_an_ordinary_url_passes(url: str):
    check_url(url, PUBLIC)


def test_an_international_name_is_called_by_its_ascii_form():
    assert destination("https://Bücher.example:8443/").host == b"xn--bcher-kva.example:8443"


@given(st.text(max_size=60))
def test_no_text_breaks_the_check(text: str):
    for url in (text, f"http://{text}/", f"http://example.com/{text}"):
        try:
            check_url(url, PUBLIC)
        except BadDestination:
            continue


def test_addresses_of_one_family_hold_the_other_as_mapped():
    assert list(addresses.reached_by(ip_address("::ffff:8.8.8.8"))) == [ip_address("8.8.8.8")]


def test_a_destination_does_not_show_its_path_and_query_when_printed():
    assert repr(destination("https://example.com/s3cret?sig=s3cret")) == "Destination(host=b'example.com')"
