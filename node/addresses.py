"""Which addresses the node may connect to when somebody else named the host: public unicast, nothing else.

Tables of our own, from IANA's special-purpose registries (RFC 6890, 8190): `is_global` of Python before 3.11.10
takes several of these for public, and none knows the clouds' own.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

_REFUSED_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared; 100.100.100.200 is a cloud's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's host service under a public address
        "169.254.0.0/16",  # link-local; 169.254.169.254 is metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",  # with broadcast
    )
)
# Everything outside is loopback, mapped IPv4, NAT64, unique local, link-local, multicast or not assigned.
_UNICAST_V6 = IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, ORCHID, benchmarking
        "2001:db8::/32",
        "2002::/16",  # 6to4: holds an IPv4 address of anybody's choice
        "3fff::/20",
    )
)


def is_public(text: str) -> bool:
    """Whether this is a public unicast address; False also for what is no address at all."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    if address.scope_id is not None or address not in _UNICAST_V6:
        return False
    return not any(address in network for network in _REFUSED_V6)
