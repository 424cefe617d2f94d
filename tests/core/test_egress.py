"""Where tenants' URLs may lead: every spelling of an inner address is refused, and public ones are not."""

import socket
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubblewave_pipelines.core import addresses
from hubblewave_pipelines.core.egress import Allow, check_url, parse_allow
from hubblewave_pipelines.core.errors import BlockedTarget, Misconfigured

INNER = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f.1", "0x7f000001", "0x7F.0x0.0x0.0x1",
    "017700000001", "0177.0.0.1", "0", "0.0.0.0", "127.0.0.1.", "localhost", "LOCALHOST.",
    "a.localhost", "１２７.０.０.１", "①②⑦.⓪.⓪.①", "127。0。0。1", "１２７.1", "0ｘ7f.1",  # noqa: RUF001 - look-alikes are the point
    "10.0.0.1", "10.1", "167772161", "192.168.1.1", "172.31.255.255", "100.64.0.1", "198.18.0.1",
    "169.254.169.254", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "169.254.43518",
    "168.63.129.16", "100.100.100.200", "192.0.0.192", "192.0.0.8", "192.88.99.1", "203.0.113.7",
    "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[::ffff:a9fe:a9fe]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::a9fe:a9fe]",
    "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[fe80::1]", "[fec0::1]", "[fc00::1]", "[fd00::1]",
    "[fd00:ec2::254]", "[fd20:ce::254]", "[ff02::1]", "[2001:db8::1]", "[2001::1]", "[3fff::1]",
    "[5f00::1]", "[100::1]", "[::ffff:0:127.0.0.1]",
]  # fmt: skip


@pytest.mark.parametrize("host", INNER)
def test_W1_no_spelling_of_an_inner_address_is_a_target(host: str) -> None:
    for url in (f"https://{host}/hook", f"https://{host}:8443/hook", f"http://{host}/"):
        with pytest.raises(BlockedTarget) as refusal:
            check_url(url, Allow(http=True))
        assert refusal.value.context["reason"] == "address", url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com/", "scheme"), ("file:///etc/passwd", "scheme"), ("//example.com", "scheme"),
        ("gopher://example.com/", "scheme"), ("javascript:1", "scheme"), ("", "scheme"),
        ("http://example.com/", "scheme"),
        ("https://user@example.com/", "userinfo"), ("https://user:pw@example.com/", "userinfo"),
        ("https://example.com@127.0.0.1/", "userinfo"), ("https://@example.com/", "userinfo"),
        ("https://example.com:22/", "port"), ("https://example.com:6379/", "port"),
        ("https://example.com:0/", "port"), ("https://8.8.8.8:25/", "port"),
        ("https://example.com:99999/", "form"), ("https://example.com:x/", "form"),
        ("https://example.com:4٣/", "form"),
        ("https://[::1/", "form"), ("https://[fe80::1%25eth0]/", "host"), ("https://[x]/", "form|host"),
        ("https://[v1.x]/", "host"), ("https:///path", "host"), ("https://", "host"),
        ("https://exa mple.com/", "form"), ("https://example.com\\@evil/", "form"),
        ("https://example.com/\r\nHost: x", "form"), ("https://example.com/\x00", "form"),
        ("https://%31%32%37.0.0.1/", "host"), ("https://1.2.3.4.5/", "host"),
        ("https://256.256.256.256/", "host"), ("https://1.2.3.08/", "host"),
        ("https://999999999999/", "host"), ("https://a..b/", "host"), ("https://-%2e/", "host"),
        ("https://" + "a" * 64 + ".com/", "host"), ("https://example.com/" + "a" * 2048, "form"),
        ("https://foo\u200bbar\ufe0f%/", "host"), ("https://0x/", "address"),
    ],
)  # fmt: skip
def test_W1_a_url_is_read_once_and_strictly(url: str, reason: str) -> None:
    with pytest.raises(BlockedTarget) as refusal:
        check_url(url, Allow())
    assert refusal.value.context["reason"] in reason.split("|")
    assert "127.0.0.1" not in refusal.value.detail


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://EXAMPLE.COM:443/A?b=c#frag", "https://example.com:443/A?b=c"),
        ("https://bücher.example/ü?q=ä%20b", "https://xn--bcher-kva.example/%C3%BC?q=%C3%A4%20b"),
        ("https://example.com./x", "https://example.com/x"),
        ("https://0x08080808:8443/", "https://8.8.8.8:8443/"),
        ("https://[2606:4700::1111]/", "https://[2606:4700::1111]/"),
        ("https://[::ffff:8.8.8.8]/", "https://8.8.8.8/"),
        ("https://my_host.example.com/", "https://my_host.example.com/"),
    ],
)
def test_a_public_url_is_dialled_in_its_canonical_form(url: str, canonical: str) -> None:
    assert check_url(url, Allow()).url == canonical
    assert check_url(canonical, Allow()).url == canonical


@given(st.integers(0, 2**32 - 1), st.data())
def test_every_spelling_of_an_ipv4_address_is_read_as_the_c_library_reads_it(
    value: int, data: st.DataObject
) -> None:
    parts = data.draw(st.integers(1, 4))
    numbers = [value >> 8 * (3 - place) & 255 for place in range(parts - 1)]
    numbers.append(value & (256 ** (5 - parts) - 1))
    spell = st.sampled_from(["{:d}", "0x{:x}", "0X{:X}", "0{:o}"])
    host = ".".join(data.draw(spell).format(number) for number in numbers)
    assert addresses.legacy_ipv4(host) == IPv4Address(socket.inet_aton(host))
    permitted = Allow().permits(str(IPv4Address(value)), 443)
    try:
        check_url(f"https://{host}/", Allow())
    except BlockedTarget:
        assert not permitted
    else:
        assert permitted


@given(st.text(max_size=40))
def test_any_text_is_a_target_or_a_refusal(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{text}/x", f"https://example.com/{text}"):
        try:
            target = check_url(url, Allow())
        except BlockedTarget:
            continue
        assert target.url.isascii()
        assert check_url(target.url, Allow()) == target


def test_the_allow_list_opens_networks_by_port_and_never_metadata() -> None:
    allow = parse_allow("10.0.0.0/8:443, 127.0.0.1/32:9000-9009 [fd00::/8]:* 169.0.0.0/8:80")
    assert allow.permits("10.2.3.4", 443, plain=True)
    assert allow.permits("::ffff:10.2.3.4", 443)
    assert not allow.permits("10.2.3.4", 8443)
    assert allow.permits("127.0.0.1", 9009)
    assert not allow.permits("127.0.0.1", 9010)
    assert not allow.permits("127.0.0.2", 9000)
    assert allow.permits("fd12::1", 1)
    for metadata in ("169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "::ffff:169.254.169.254"):
        assert not allow.permits(metadata, 80)
    everything = parse_allow("0.0.0.0/0:* [::]/0:*")
    assert everything.permits("192.168.0.1", 22)
    for carrier in ("64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "::169.254.169.254", "fe80::1%eth0"):
        assert not everything.permits(carrier, 80)
    assert not everything.permits("no address", 80)
    assert check_url("http://localhost:9000/x", allow).plain
    assert check_url("http://inner.example:9000/", allow).port == 9000  # judged at the dial
    with pytest.raises(BlockedTarget):
        check_url("http://localhost:9010/x", allow)


@pytest.mark.parametrize(
    "text",
    ["10.0.0.0/8", "10.0.0.1/8:443", "x:443", "10.0.0.0/8:", "10.0.0.0/8:0", "10.0.0.0/8:9-8",
     "10.0.0.0/8:70000", "fd00::/8:443", "169.254.169.254/32:80", "169.254.0.0/16:80",
     "[fd00:ec2::254]/128:80", "[fe80::/10]:*", ":443"],
)  # fmt: skip
def test_an_entry_of_the_allow_list_that_means_nothing_is_named(text: str) -> None:
    with pytest.raises(Misconfigured, match=r"HUBBLEWAVE_EGRESS_ALLOW: `"):
        parse_allow(f"127.0.0.1/32:80 {text}")


def test_the_table_knows_the_addresses_that_the_standard_library_calls_global() -> None:
    surprising = (
        "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "::127.0.0.1", "ff02::1", "224.0.0.1",
        "fec0::1", "3fff::1", "5f00::1", "192.0.0.8", "192.88.99.1", "168.63.129.16",
    )  # fmt: skip
    assert not any(Allow().permits(address, 443) for address in surprising)
    assert all(Allow().permits(address, 443) for address in ("1.1.1.1", "2606:4700::1111"))
