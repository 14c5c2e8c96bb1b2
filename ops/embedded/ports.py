"""Loopback ports of the embedded servers: is one free, does something answer there."""

from __future__ import annotations

import errno
import socket
import ssl
from ipaddress import ip_address

LOOPBACK = "127.0.0.1"
_CONNECT_S = 0.5


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches that address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def why_not_free(port: int, host: str = LOOPBACK) -> str:
    """Why no server could listen there now, and what to do; empty if one could."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OverflowError:
            return f"port {port} is not between 1 and 65535"
        except socket.gaierror as error:
            return f"{host} is no address of this machine ({error.strerror})"
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"port {port} on {host} is in use; stop what listens there, or choose another one"
            return f"port {port} on {host} cannot be listened on: {error.strerror}; choose another one"
    return ""


def is_open(address: tuple[str, int], within_s: float = _CONNECT_S) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection(address, within_s).close()
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different; for tests and benchmarks."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def ask(
    address: tuple[str, int] | str,
    request: bytes,
    answer_bytes: int,
    within_s: float = _CONNECT_S,
    tls: ssl.SSLContext | None = None,
) -> bytes:
    """The first `answer_bytes` of a server's answer; empty if it does not answer.

    Args:
        address: (host, port), or the path of a unix socket.
    """
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(within_s)
            connection.connect(address)
            if tls is None:
                connection.sendall(request)
                return connection.recv(answer_bytes, socket.MSG_WAITALL)
            with tls.wrap_socket(connection, server_hostname=address[0]) as stream:
                stream.sendall(request)
                return stream.recv(answer_bytes)
    except OSError:
        return b""
