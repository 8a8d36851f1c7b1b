"""What must never be called, as a literal table: networks by their first, an inner and their last address, and every
way of writing a host or a URL that is to be refused.
"""

FORBIDDEN = [
    ("0.0.0.0/8", "0.0.0.0", "0.1.2.3", "0.255.255.255"),
    ("10.0.0.0/8", "10.0.0.0", "10.9.8.7", "10.255.255.255"),
    ("100.64.0.0/10", "100.64.0.0", "100.100.100.200", "100.127.255.255"),
    ("127.0.0.0/8", "127.0.0.0", "127.0.0.1", "127.255.255.255"),
    ("169.254.0.0/16", "169.254.0.0", "169.254.169.254", "169.254.255.255"),
    ("172.16.0.0/12", "172.16.0.0", "172.17.0.1", "172.31.255.255"),
    ("192.0.0.0/24", "192.0.0.0", "192.0.0.192", "192.0.0.255"),
    ("192.0.2.0/24", "192.0.2.0", "192.0.2.1", "192.0.2.255"),
    ("192.31.196.0/24", "192.31.196.0", "192.31.196.1", "192.31.196.255"),
    ("192.52.193.0/24", "192.52.193.0", "192.52.193.1", "192.52.193.255"),
    ("192.88.99.0/24", "192.88.99.0", "192.88.99.1", "192.88.99.255"),
    ("192.168.0.0/16", "192.168.0.0", "192.168.1.1", "192.168.255.255"),
    ("192.175.48.0/24", "192.175.48.0", "192.175.48.1", "192.175.48.255"),
    ("198.18.0.0/15", "198.18.0.0", "198.18.0.1", "198.19.255.255"),
    ("198.51.100.0/24", "198.51.100.0", "198.51.100.1", "198.51.100.255"),
    ("203.0.113.0/24", "203.0.113.0", "203.0.113.1", "203.0.113.255"),
    ("224.0.0.0/4", "224.0.0.0", "239.255.255.250", "239.255.255.255"),
    ("240.0.0.0/4", "240.0.0.0", "250.1.2.3", "255.255.255.255"),
    ("168.63.129.16/32", "168.63.129.16", "168.63.129.16", "168.63.129.16"),
    ("::/96", "::", "::1", "::ffff:ffff"),
    ("64:ff9b::/96", "64:ff9b::", "64:ff9b::a9fe:a9fe", "64:ff9b::ffff:ffff"),
    ("64:ff9b:1::/48", "64:ff9b:1::", "64:ff9b:1::a9fe:a9fe", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
    ("100::/64", "100::", "100::1", "100::ffff:ffff:ffff:ffff"),
    ("2001::/23", "2001::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::/32", "2001:db8::", "2001:db8::1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2002::/16", "2002::", "2002:a9fe:a9fe::1", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2620:4f:8000::/48", "2620:4f:8000::", "2620:4f:8000::1", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
    ("3fff::/20", "3fff::", "3fff::1", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("5f00::/16", "5f00::", "5f00::1", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fc00::/7", "fc00::", "fd00:ec2::254", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fe80::/10", "fe80::", "fe80::a9fe:a9fe", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fec0::/10", "fec0::", "fec0::1", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("ff00::/8", "ff00::", "ff02::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
]
"""The table of the IANA registries and of clouds: network, its first address, one inside, its last."""

OUTSIDE_GLOBAL_UNICAST = [
    ("::/3", "::ffff:0:127.0.0.1", "200::1", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("4000::/2", "4000::", "5000::1", "7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("8000::/1", "8000::", "a000::1", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
]
"""What is left of IPv6 beyond 2000::/3."""

CARRIERS = [
    ("IPv4-mapped", "::ffff:127.0.0.1"),
    ("IPv4-mapped", "::ffff:169.254.169.254"),
    ("IPv4-mapped", "::ffff:a9fe:a9fe"),
    ("IPv4-compatible", "::7f00:1"),
    ("NAT64", "64:ff9b::7f00:1"),
    ("NAT64 to a public address", "64:ff9b::808:808"),
    ("6to4", "2002:7f00:1::"),
    ("6to4 to a public address", "2002:808:808::"),
    ("Teredo of a local server", "2001:0:7f00:1::"),
    ("Teredo of a local client", "2001:0:808:808::80ff:fffe"),
]
"""IPv6 addresses that hand a packet on to an IPv4 address."""

FORBIDDEN_ADDRESSES = sorted(
    {address for _, *row in [*FORBIDDEN, *OUTSIDE_GLOBAL_UNICAST] for address in row}
    | {address for _, address in CARRIERS}
)

PUBLIC_ADDRESSES = [
    "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
    "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.31.195.255", "192.31.197.0", "192.52.192.255", "192.52.194.0",
    "192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "192.175.47.255", "192.175.49.0",
    "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0",
    "223.255.255.255", "2000::", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::",
    "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::", "2003::", "2606:4700:4700::1111",
    "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", "2620:4f:8001::", "2a00:1450::1",
    "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::", "::ffff:8.8.8.8",
]  # fmt: skip
"""The neighbours of the forbidden networks on both sides."""

SCOPED = ["fe80::1%eth0", "2606:4700::1%1", "ff02::1%lo", "::1%lo", "fe80::a9fe:a9fe%2"]
"""With the name of an interface: refused whatever is allowed."""

LOCAL_NOTATIONS = {
    "127.1": "127.1",
    "127.0.1": "127.0.1",
    "hexadecimal": "0x7f000001",
    "hexadecimal in capitals": "0X7F000001",
    "hexadecimal parts": "0x7f.0x0.0x0.0x1",
    "hexadecimal part": "127.0.0.0x1",
    "decimal": "2130706433",
    "octal": "0177.0.0.1",
    "octal whole": "017700000001",
    "leading zeros": "127.000.000.001",
    "overflown": "4425673729",
    "zero": "0",
    "zeros": "0.0.0.0",
    "trailing dot on an address": "127.0.0.1.",
    "full-width digits": "１２７.０.０.１",
    "full-width dots": "127．0．0．1",
    "ideographic dots": "127。0。0。1",
    "half-width ideographic dots": "127｡0｡0｡1",
    "circled digits": "①②⑦.⓪.⓪.①",
    "Arabic digits": "١٢٧.٠.٠.١",
    "percent-encoded": "%31%32%37.0.0.1",
    "percent-encoded dots": "127%2e0%2e0%2e1",
    "::1": "[::1]",
    "::1 in full": "[0:0:0:0:0:0:0:1]",
    "::": "[::]",
    "mapped": "[::ffff:127.0.0.1]",
    "mapped in hexadecimal": "[::ffff:7f00:1]",
    "mapped in full": "[0000:0000:0000:0000:0000:ffff:7f00:0001]",
    "compatible": "[::127.0.0.1]",
    "scope": "[::1%25lo]",
    "raw scope": "[::1%lo]",
    "localhost": "localhost",
    "localhost.": "localhost.",
    "localhost in capitals": "LocalHost",
    "below localhost": "a.b.localhost",
    "localhost in full-width letters": "ｌｏｃａｌｈｏｓｔ",
    "localhost with a soft hyphen": "local\u00adhost",
    "localhost percent-encoded": "localhos%74",
}
"""Hosts that some program takes for this machine."""

METADATA_NOTATIONS = {
    "decimal metadata": "2852039166",
    "hexadecimal metadata": "0xa9fea9fe",
    "octal metadata": "0251.0376.0251.0376",
    "short metadata": "169.254.43518",
    "mapped metadata": "[::ffff:169.254.169.254]",
    "mapped metadata in hexadecimal": "[::ffff:a9fe:a9fe]",
    "NAT64 metadata": "[64:ff9b::a9fe:a9fe]",
    "NAT64 metadata with dots": "[64:ff9b::169.254.169.254]",
    "6to4 metadata": "[2002:a9fe:a9fe::]",
    "Teredo metadata": "[2001:0:a9fe:a9fe::]",
    "metadata over IPv6": "[fd00:ec2::254]",
}

NOTATIONS = {**LOCAL_NOTATIONS, **METADATA_NOTATIONS}

BAD_URLS = {
    "bare 0x": "http://0x/",
    "public address in decimal": "http://134744072/",
    "256": "http://1.2.3.256/",
    "empty ipv6": "http://[]/",
    "scope on a public address": "http://[2606:4700::1%25eth0]/",
    "user": "http://user@example.com/",
    "user and password": "https://user:pass@example.com/",
    "empty user": "https://@example.com/",
    "address as user": "http://127.0.0.1@example.com/",
    "name as user of an address": "http://example.com@127.0.0.1/",
    "fragment": "https://example.com/#top",
    "empty fragment": "https://example.com/#",
    "host in the fragment": "http://127.0.0.1#@example.com/",
    "file": "file:///etc/passwd",
    "file with a host": "file://localhost/etc/passwd",
    "gopher": "gopher://example.com:70/_x",
    "ftp": "ftp://example.com/",
    "dict": "dict://example.com:11211/stat",
    "ldap": "ldap://example.com/",
    "data": "data:text/plain,x",
    "websocket": "ws://example.com/",
    "unix socket": "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
    "javascript": "javascript:alert(1)",
    "no scheme": "example.com/hook",
    "relative": "//example.com/hook",
    "no slashes": "https:example.com",
    "one slash": "https:/example.com",
    "no host": "https://",
    "no host but a path": "https:///hook",
    "no host but a port": "https://:443/",
    "port 0": "https://example.com:0/",
    "port 65536": "https://example.com:65536/",
    "empty port": "https://example.com:/",
    "port in words": "https://example.com:https/",
    "port in Arabic": "https://example.com:٨٠/",
    "negative port": "https://example.com:-1/",
    "two ports": "https://example.com:80:443/",
    "blank": "https://example.com/a b",
    "leading blank": " https://example.com/",
    "tab in the host": "https://exa\tmple.com/",
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
"""Whole URLs that are refused for another reason than the address that they name."""


def url_of(address: str, port: int = 80) -> str:
    return f"http://[{address}]:{port}/hook" if ":" in address else f"http://{address}:{port}/hook"
