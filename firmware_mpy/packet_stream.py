"""The TCP or TLS stream to a broker, read packet by packet into one buffer that never grows.

The buffer is allocated once, early: after hours of small objects the heap may hold no 4 KiB in one piece.
"""

import asyncio
import select
import socket

import mqtt_packets as packets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssl import SSLContext
    from typing import Any

RECEIVE_BYTES = 4096
# EINPROGRESS, and the ESP32's lwIP has its own number for it.
_UNDER_WAY = (115, 119)
_PEM_BEGIN = b"-----BEGIN CERTIFICATE-----"


class PacketStream:
    """One connection at a time; what it reads stays in `buffer` until the next packet.

    Attributes:
        buffer: the body of the packet read last, of one longer than 4 KiB its beginning.
        length: how long that body is, whole.
        first_byte: the packet's type and flags.
    """

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(RECEIVE_BYTES))
        self.length = self.first_byte = 0
        # A stream reads and writes; the stubs have a class for each.
        self._stream: Any = None

    async def connect(self, server: "tuple[str, int]", tls: "SSLContext | None", server_name: str) -> None:
        """Connect, by TLS if there is a context; its handshake begins with the first write. Raises OSError."""
        address = socket.getaddrinfo(server[0], server[1], 0, socket.SOCK_STREAM)[0]
        sock = socket.socket(address[0], address[1], address[2])
        self._stream = asyncio.StreamReader(sock)
        sock.setblocking(False)
        try:
            sock.connect(address[-1])
        except OSError as error:
            if error.errno not in _UNDER_WAY:
                raise
        await _until_connected(sock)
        if tls is not None:
            sock = tls.wrap_socket(sock, server_hostname=server_name, do_handshake_on_connect=False)
            sock.setblocking(False)
            self._stream = asyncio.StreamReader(sock)

    async def write(self, data: "bytes | memoryview") -> None:
        """Return once `data` is in the hands of TCP. Raises OSError."""
        self._stream.write(data)
        await self._stream.drain()

    async def next_packet(self) -> int:
        """Read one packet into the buffer; its type. Raises OSError, EOFError, Malformed."""
        self.first_byte = await self._byte()
        length = packets.LengthReader()
        while not length.take(await self._byte()):
            pass
        self.length = length.length
        kind = packets.check_head(self.first_byte, self.length)
        if kind != packets.PUBLISH and self.length > RECEIVE_BYTES:
            raise packets.Malformed("length")
        kept = min(self.length, RECEIVE_BYTES)
        await self._fill(0, kept)
        if self.length > kept:
            await self._skip(self.length - kept)
        return kind

    def close(self) -> None:
        """End the connection at once."""
        if self._stream is not None:
            self._stream.close()
            self._stream.s.close()

    async def _byte(self) -> int:
        await self._fill(0, 1)
        return self.buffer[0]

    async def _fill(self, start: int, end: int) -> None:
        while start < end:
            got = await self._stream.readinto(self.buffer[start:end])
            if got == 0:
                raise EOFError("closed by the broker")
            start += got or 0

    async def _skip(self, count: int) -> None:
        scratch = memoryview(bytearray(256))
        while count:
            got = await self._stream.readinto(scratch[: min(count, 256)])
            if got == 0:
                raise EOFError("closed by the broker")
            count -= got or 0


async def _until_connected(sock: "socket.socket") -> None:
    """A TLS wrapper starts its handshake at once, and lwIP refuses to write too early: TCP must stand first."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    while True:
        for _, flags in poll.poll(0):
            if flags & (select.POLLERR | select.POLLHUP):
                raise OSError("cannot connect")
            return
        await asyncio.sleep(0.02)


def tls_context(ca: bytes) -> "SSLContext":
    """Return a context that trusts only `ca` (PEM or DER bytes), refuses the rest, and checks the server's name.

    Not every port reads PEM, so it gets DER. Raises ValueError if that is no certificate.
    """
    import binascii
    import ssl

    begin = ca.find(_PEM_BEGIN)
    if begin >= 0:
        ca = binascii.a2b_base64(ca[begin + len(_PEM_BEGIN) : ca.find(b"-----END", begin)])

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED  # type: ignore[attr-defined] # the stubs lack it
    context.load_verify_locations(cadata=ca)
    return context
