"""Where a client is: its address, and as much of it as may be kept of somebody unknown."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from starlette.types import Scope

_UNKNOWN = "unknown"
_KEPT_BITS = {4: 24, 6: 48}
_COUNTED_BITS = {4: 32, 6: 64}


def client_address(scope: Scope) -> str:
    """The client's address, as told by the connection or by a proxy that we trust."""
    client = scope.get("client")
    return client[0] if client else _UNKNOWN


def network_of(address: str) -> str:
    """The /24 or /48 around an address, which names no person."""
    return _network(address, _KEPT_BITS)


def counted_as(address: str) -> str:
    """What an address is counted as: whoever has one IPv6 address has all of its /64."""
    return _network(address, _COUNTED_BITS) if ":" in address else address


def _network(address: str, bits: dict[int, int]) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return _UNKNOWN
    return str(ip_network((parsed.packed, bits[parsed.version]), strict=False))
