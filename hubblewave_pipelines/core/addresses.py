"""Which network addresses are public, which are a cloud's metadata, and every way to spell an IPv4 address."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# `ipaddress.is_global` differs between Python versions and calls NAT64, 6to4, multicast and Azure's
# metadata address global; these are the registries of IANA (RFC 6890 and its updates) written out.
_NOT_PUBLIC_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32",
        "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24",
        "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
_UNICAST_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)

_METADATA = tuple(
    IPv4Network(text) if "." in text else IPv6Network(text)
    for text in (
        "169.254.0.0/16",  # link-local: AWS, Azure, GCP, Oracle, DigitalOcean, ECS credentials
        "168.63.129.16/32",  # Azure's wire server
        "100.100.100.200/32",  # Alibaba
        "192.0.0.192/32",  # Oracle classic
        "fe80::/10",
        "fd00:ec2::/32",  # AWS: metadata .254, DNS .253, time .123
        "fd20:ce::254/128",  # GCP
    )
)

# IPv6 forms that carry an IPv4 address, and how many bits stand to its right.
_CARRIERS = (
    (IPv6Network("::/96"), 0),  # IPv4-compatible, deprecated
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # IPv4-translated (RFC 2765)
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64 (RFC 6052)
    (IPv6Network("64:ff9b:1::/48"), 0),  # NAT64 of a local network (RFC 8215)
    (IPv6Network("2002::/16"), 80),  # 6to4 (RFC 3056)
)


def parse(text: str) -> Address:
    """An address as a socket names it: a zone (`fe80::1%eth0`) is dropped, `::ffff:1.2.3.4` is
    1.2.3.4. Raises ValueError."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_public(address: Address) -> bool:
    """Whether the address is one of the internet at large."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address in _UNICAST_6 and not any(address in network for network in _NOT_PUBLIC_6)


def is_metadata(address: Address) -> bool:
    """Whether the address, or an IPv4 address carried in it, hands out a cloud machine's
    credentials. No allow-list opens these."""
    return any(
        form.version == network.version and form in network
        for form in _forms(address)
        for network in _METADATA
    )


def within_metadata(network: Network) -> bool:
    """Whether a network holds nothing but metadata addresses."""
    return is_metadata(network[0]) and is_metadata(network[-1])


def _forms(address: Address) -> list[Address]:
    forms = [address]
    if isinstance(address, IPv6Address):
        forms += [
            IPv4Address(int(address) >> shift & 0xFFFFFFFF)
            for network, shift in _CARRIERS
            if address in network
        ]
    return forms


def legacy_ipv4(host: str) -> IPv4Address | None:
    """The address that C libraries and browsers read in a host like 127.1, 0x7f.1 or 2130706433.

    None when it is a name, which is when its last label is no number (WHATWG URL, IPv4 parser).
    Raises ValueError when it ends in a number and is no address.
    """
    labels = host.removesuffix(".").split(".")
    if not _is_number(labels[-1]):
        return None
    if len(labels) > 4:
        raise ValueError(host)
    numbers = [_number(label) for label in labels]
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= 256 ** (5 - len(numbers)):
        raise ValueError(host)
    value = numbers[-1]
    for place, number in enumerate(numbers[:-1]):
        value += number << 8 * (3 - place)
    return IPv4Address(value)


def _is_number(label: str) -> bool:
    if label.isascii() and label.isdigit():
        return True
    try:
        return label[:2].lower() == "0x" and _number(label) >= 0
    except ValueError:
        return False


def _number(label: str) -> int:
    if not label or not label.isascii() or not label.isalnum():  # int() also takes "_", "+", " "
        raise ValueError(label)
    if label[:2].lower() == "0x":
        return int(label[2:] or "0", 16)
    if len(label) > 1 and label[0] == "0":
        return int(label, 8)
    return int(label, 10)
