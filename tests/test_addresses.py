"""Which hosts and addresses may be called, and what of a URL is refused before any look-up."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import addresses
from receiver.addresses import Network
from receiver.egress import BadDestination, Guard, check_url, destination

PUBLIC = Guard()
LOOPBACK = Guard([ip_network("127.0.0.0/8")])

FORBIDDEN_ADDRESSES = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1",
    "127.255.255.254", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.31.196.1",
    "192.52.193.1", "192.88.99.1", "192.168.0.1", "192.175.48.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::7f00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b::808:808",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::", "2001:db8::1", "2002:7f00:1::", "2002:808:808::",
    "2620:4f:8000::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1",
    "4000::1", "8000::1", "::ffff:0:1.1.1.1",
]  # fmt: skip
PUBLIC_ADDRESSES = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255",
    "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.15", "168.63.129.17",
    "2606:4700:4700::1111", "2001:200::1", "2003::1", "2a00:1450::1", "::ffff:8.8.8.8",
]  # fmt: skip


def url_of(address: str) -> str:
    return f"http://[{address}]/hook" if ":" in address else f"http://{address}/hook"


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


@pytest.mark.parametrize("address", ["fe80::1%eth0", "2606:4700::1%1", "ff02::1%lo"])
def test_scoped_addresses_are_refused_whatever_is_allowed(address: str):
    everything = Guard([ip_network("::/0"), ip_network("0.0.0.0/0")])
    assert everything.refusal(address) == "an address with a scope is never called"


@pytest.mark.parametrize("text", ["", "example.com", "1.2.3", "127.1", "0x7f000001", "1.2.3.4/32"])
def test_what_is_no_address_is_refused(text: str):
    assert PUBLIC.refusal(text) == "not an IP address"


def test_every_row_of_the_table_is_a_network_of_its_own():
    networks = [network for network, _ in addresses.FORBIDDEN]
    assert len(set(networks)) == len(networks) == 33
    assert all(PUBLIC.refusal(network[0]) and PUBLIC.refusal(network[-1]) for network in networks)


BAD_URLS = {
    "127.1": "http://127.1/",
    "hexadecimal": "http://0x7f000001/",
    "hexadecimal part": "http://127.0.0.0x1/",
    "bare 0x": "http://0x/",
    "decimal": "http://2130706433/",
    "octal": "http://0177.0.0.1/",
    "octal whole": "http://017700000001/",
    "zero": "http://0/",
    "trailing dot on an address": "http://127.0.0.1./",
    "public address in decimal": "http://134744072/",
    "256": "http://1.2.3.256/",
    "empty ipv6": "http://[]/",
    "scope": "http://[fe80::1%25eth0]/",
    "raw scope": "http://[fe80::1%eth0]/",
    "scope on a public address": "http://[2606:4700::1%25eth0]/",
    "localhost": "http://localhost/",
    "localhost and port": "http://localhost:8080/",
    "localhost.": "http://localhost./",
    "upper case": "http://LocalHost/",
    "sub.localhost": "http://a.b.localhost/",
    "full-width digits": "http://１２７.０.０.１/",
    "full-width dots": "http://127．0．0．1/",
    "ideographic dots": "http://127。0。0。1/",
    "full-width letters": "http://ｌｏｃａｌｈｏｓｔ/",
    "circled digits": "http://①②⑦.⓪.⓪.①/",
    "soft hyphen": "http://local\u00adhost/",
    "percent-encoded host": "http://%31%32%37.0.0.1/",
    "percent-encoded letters": "http://localhos%74/",
    "user": "http://user@example.com/",
    "user and password": "https://user:pass@example.com/",
    "empty user": "https://@example.com/",
    "address as user": "http://127.0.0.1@example.com/",
    "fragment": "https://example.com/#top",
    "empty fragment": "https://example.com/#",
    "file": "file:///etc/passwd",
    "gopher": "gopher://example.com:70/_x",
    "ftp": "ftp://example.com/",
    "javascript": "javascript:alert(1)",
    "no scheme": "example.com/hook",
    "relative": "//example.com/hook",
    "no slashes": "https:example.com",
    "one slash": "https:/example.com",
    "nothing": "",
    "no host": "https://",
    "no host but a path": "https:///hook",
    "no host but a port": "https://:443/",
    "port 0": "https://example.com:0/",
    "port 65536": "https://example.com:65536/",
    "empty port": "https://example.com:/",
    "port in words": "https://example.com:https/",
    "port in Arabic": "https://example.com:٨٠/",
    "negative port": "https://example.com:-1/",
    "blank": "https://example.com/a b",
    "leading blank": " https://example.com/",
    "line break": "https://example.com/\r\nHost: evil",
    "NUL": "https://example.com/\0",
    "backslash": "https://example.com\\@127.0.0.1/",
    "path not ASCII": "https://example.com/é",
    "empty label": "https://a..example.com/",
    "two trailing dots": "https://example.com../",
    "hyphen first": "https://-a.example.com/",
    "long label": f"https://{'a' * 64}.example.com/",
    "long name": f"https://{'a.' * 127}com/",
    "open bracket": "https://[::1/",
    "brackets inside": "https://a[b]c/",
    "address and rest": "https://[::1]a/",
    "not idna": "https://a\u202eb.example/",
    "too long": f"https://example.com/{'a' * 4096}",
}


@pytest.mark.parametrize("url", BAD_URLS.values(), ids=BAD_URLS.keys())
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
