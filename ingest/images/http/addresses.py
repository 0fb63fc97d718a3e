"""Which addresses images are fetched from: public ones, and those that the user allows."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from ingest.images.whatwg_url import to_ascii

# IANA's special-purpose registries (RFC 6890 and its updates); `is_global` differs between versions of Python.
_NOT_PUBLIC = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",
            "100.64.0.0/10",  # behind carriers' NAT, and some clouds' metadata services
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local; clouds' metadata services
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",  # relays to 6to4
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
            # The others are in 2000::/3: outside of it no IPv6 address is public.
            "2001::/23",  # Teredo, which carries an IPv4 address; ORCHID; benchmarks
            "2001:db8::/32",
            "2002::/16",  # 6to4, which carries an IPv4 address
            "3fff::/20",
        ),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})  # RFC 5214: an IPv4 address in the last 32 bits


def is_public(address: str) -> bool:
    """Whether a numeric address is public: unicast, routed on the internet, and no IPv4 address inside IPv6."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and (ip not in _GLOBAL_UNICAST or (int(ip) >> 32) & 0xFFFFFFFF in _ISATAP):
        return False
    return not any(_within(ip, network) for network in _NOT_PUBLIC)


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What may be connected to besides public addresses: everything, or the `hosts` by name, at any address."""

    allow_private: bool = False
    hosts: frozenset[str] = frozenset()

    def allows(self, host: str, address: str) -> bool:
        """Whether `host`, which resolved to the numeric `address`, may be connected to."""
        return self.allow_private or host.lower().rstrip(".") in self.hosts or is_public(address)


def address_policy(allow_hosts: str, *, allow_private: bool) -> AddressPolicy:
    """Make the policy of the settings; `allow_hosts` holds names separated by commas."""
    names = (name.strip().lower().strip("[]").rstrip(".") for name in allow_hosts.split(","))
    return AddressPolicy(allow_private, frozenset(map(to_ascii, filter(None, names))))


def _within(ip: IPv4Address | IPv6Address, network: IPv4Network | IPv6Network) -> bool:
    return ip.version == network.version and ip in network
