"""Where requests to addresses that tenants choose may go: the URL's form, the policy, the refusal."""

import unicodedata
from dataclasses import dataclass, field
from ipaddress import ip_network
from urllib.parse import quote, urlsplit

import idna

from hubblewave_pipelines.core.addresses import (
    Address,
    Network,
    is_metadata,
    is_public,
    legacy_ipv4,
    parse,
    within_metadata,
)
from hubblewave_pipelines.core.errors import BlockedTarget, Misconfigured

MAX_URL = 2048
DEFAULT_PORTS = frozenset({80, 443, 8443})
_SCHEME_PORTS = {"http": 80, "https": 443}
_LOOPBACK = (parse("127.0.0.1"), parse("::1"))


@dataclass(frozen=True, slots=True)
class Listed:
    """A network that the operator opened, for the ports `low` to `high`."""

    network: Network
    low: int
    high: int

    def covers(self, address: Address, port: int) -> bool:
        return (
            self.low <= port <= self.high
            and self.network.version == address.version
            and address in self.network
        )


@dataclass(frozen=True, slots=True)
class Allow:
    """The policy. Public addresses by https on `ports` always, by plain http when `http` is set;
    anything in `listed` by both; metadata addresses never. With `proxy` (a URL) every request goes
    to that forward proxy, which then decides about addresses."""

    listed: tuple[Listed, ...] = ()
    ports: frozenset[int] = field(default=DEFAULT_PORTS)
    http: bool = False
    proxy: str | None = None

    def permits(self, address: str, port: int, *, plain: bool = False) -> bool:
        """Whether a socket may be opened to this address. `plain` says it is for plain http."""
        try:
            found = parse(address)
        except ValueError:
            return False
        if is_metadata(found):
            return False
        if any(entry.covers(found, port) for entry in self.listed):
            return True
        return (self.http or not plain) and port in self.ports and is_public(found)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was read once: `url` is its canonical form, the one to dial."""

    url: str
    scheme: str
    host: str
    port: int

    @property
    def plain(self) -> bool:
        return self.scheme == "http"


def parse_allow(text: str) -> Allow:
    """Read HUBBLEWAVE_EGRESS_ALLOW: `CIDR:port` separated by commas or spaces; IPv6 in brackets;
    the port is a number, a range `8000-8999` or `*`. Raises Misconfigured naming the entry."""
    return Allow(listed=tuple(_entry(entry) for entry in text.replace(",", " ").split()))


def _entry(entry: str) -> Listed:
    cidr, colon, ports = entry.rpartition(":")
    if cidr.startswith("[") and "]" in cidr:
        inner, _, prefix = cidr[1:].partition("]")
        cidr = inner + prefix
    elif ":" in cidr:
        colon = ""
    try:
        network = ip_network(cidr)
        low, _, high = ("1-65535" if ports == "*" else ports).partition("-")
        listed = Listed(network, int(low), int(high or low))
        if not colon or not 1 <= listed.low <= listed.high <= 65535:
            raise ValueError(entry)
    except ValueError as error:
        raise Misconfigured(
            f"HUBBLEWAVE_EGRESS_ALLOW: `{entry}` is not CIDR:port, for example 10.1.0.0/16:443, "
            "[fd00::/8]:8443 or 127.0.0.1/32:*"
        ) from error
    if within_metadata(network):
        raise Misconfigured(
            f"HUBBLEWAVE_EGRESS_ALLOW: `{entry}` holds only metadata addresses, which stay refused."
        )
    return listed


def check_url(url: str, allow: Allow) -> Target:
    """Read a URL that a tenant gave and refuse what its text already shows to be out of bounds.

    Names are not resolved here: whoever opens the socket asks `Allow.permits` for each address.
    Raises BlockedTarget, whose `context["reason"]` is form, scheme, userinfo, host, port or address.
    """
    if len(url) > MAX_URL:
        raise _blocked("form", f"The URL is longer than {MAX_URL} characters.")
    if any(ord(c) <= 32 or c == "\\" or 127 <= ord(c) < 160 for c in url):
        raise _blocked("form", "The URL holds a space, a backslash or a control character.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _blocked("form", "The URL's host or port cannot be read.") from error
    if parts.scheme not in _SCHEME_PORTS:
        raise _blocked("scheme", "The URL must start with https:// or http://.")
    if "@" in parts.netloc:
        raise _blocked("userinfo", "The URL may not carry a user name or password.")
    if port == 0:
        raise _blocked("port", "Port 0 is no port.")
    host, address = _host(parts.netloc, parts.hostname or "")
    target = Target(
        url=_canonical(parts.scheme, host, port, parts.path, parts.query),
        scheme=parts.scheme,
        host=host,
        port=port or _SCHEME_PORTS[parts.scheme],
    )
    _check_target(target, address, allow)
    return target


def _check_target(target: Target, address: Address | None, allow: Allow) -> None:
    known = (address,) if address else _LOOPBACK if _is_localhost(target.host) else ()
    port, plain = target.port, target.plain
    if any(allow.permits(str(each), port, plain=plain) for each in known):
        return
    if known and not (address and is_public(address)):
        raise _blocked("address", "The URL's address is not a public one.")
    may_be_listed = not known and any(entry.low <= port <= entry.high for entry in allow.listed)
    if plain and not (allow.http or may_be_listed):
        raise _blocked("scheme", "Plain http is not allowed here: use https.")
    if port not in allow.ports and not may_be_listed:
        ports = ", ".join(map(str, sorted(allow.ports)))
        raise _blocked("port", f"The URL's port is not one of {ports}.")


def _is_localhost(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")  # RFC 6761


def _host(netloc: str, given: str) -> tuple[str, Address | None]:
    """The host as it is dialled, and its address when it is a literal."""
    if netloc.startswith("["):
        if "%" in given:
            raise _blocked("host", "The URL's address may not name a zone.")
        try:
            address = parse(given)
        except ValueError as error:
            raise _blocked("host", "The URL's IPv6 address cannot be read.") from error
        return (f"[{address}]" if address.version == 6 else str(address)), address
    host = unicodedata.normalize("NFKC", given).lower().replace("\u3002", ".").removesuffix(".")
    if not host or any(c in host for c in "%/:?#@[]\\ "):
        raise _blocked("host", "The URL's host cannot be read.")
    try:
        literal = legacy_ipv4(host)
        if literal is not None:
            return str(literal), literal
        if not host.isascii():
            host = idna.encode(host, uts46=True).decode("ascii")
            literal = legacy_ipv4(host)
    except (ValueError, idna.IDNAError) as error:
        raise _blocked("host", "The URL's host cannot be read.") from error
    if literal is not None:
        return str(literal), literal
    labels = host.split(".")
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    if len(host) > 253 or any(
        not 0 < len(label) <= 63 or not set(label) <= allowed for label in labels
    ):
        raise _blocked("host", "The URL's host is not a name of the DNS.")
    return host, None


def _canonical(scheme: str, host: str, port: int | None, path: str, query: str) -> str:
    where = host if port is None else f"{host}:{port}"
    kept = "!$&'()*+,;=:@/?%~"  # everything of RFC 3986 stays as it was given
    asked = f"?{quote(query, safe=kept)}" if query else ""
    return f"{scheme}://{where}{quote(path, safe=kept) or '/'}{asked}"


def _blocked(reason: str, detail: str) -> BlockedTarget:
    return BlockedTarget(detail, reason=reason)
