"""GET over HTTP/1.1 or HTTPS, for downloads: one connection a request, read in pieces, no wait without an end."""

import asyncio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from ssl import SSLContext
    from typing import Any

LINE_BYTES_MAX = 1024
HEADERS_MAX = 64
# For the connection, for the head of the answer, and for silence in the middle of the body.
ANSWER_S = 15
# For each part of the body, however it trickles in.
FILL_S = 60


class HttpFailed(Exception):
    """No answer, or none that can be read; trying again may help. The first argument says why."""


class Response:
    """What the server answers.

    Attributes:
        status: such as 200.
        headers: by lower-case name.
        remaining: bytes of the body that were not read yet.
    """

    def __init__(self, status: int, headers: dict, stream: "Any") -> None:
        self.status, self.headers, self._stream = status, headers, stream
        self.remaining = _length(headers)

    async def fill(self, buffer: memoryview) -> None:
        """Fill `buffer` from the body. Raises HttpFailed, also if that takes too long or the body ends before."""
        if len(buffer) > self.remaining:
            raise HttpFailed("cut off")
        await _in_time(self._filled(buffer), FILL_S)
        self.remaining -= len(buffer)

    async def _filled(self, buffer: memoryview) -> None:
        at = 0
        while at < len(buffer):
            at += await _in_time(_some(self._stream, buffer[at:]), ANSWER_S)

    async def text(self, most: int) -> bytes:
        """Return the whole body. Raises HttpFailed, also if it is longer than `most`."""
        if self.remaining > most:
            raise HttpFailed("too long")
        content = memoryview(bytearray(self.remaining))
        await self.fill(content)
        return bytes(content)

    def close(self) -> None:
        """End the connection."""
        try:
            self._stream.s.close()
        except OSError:
            return


class HttpClient:
    """
    Args:
        server: (host, port).
        token: the device's own, shown with every request.
        tls: an `ssl.SSLContext` that checks the certificate, or None for plain HTTP.
        server_name: name that the certificate must bear; the host unless given.
    """

    def __init__(
        self, server: "tuple[str, int]", token: str, tls: "SSLContext | None" = None, server_name: "str | None" = None
    ) -> None:
        self._server, self._token, self._tls = server, token, tls
        self._server_name = server_name or server[0]

    async def get(self, path: str, headers: "dict | None" = None) -> Response:
        """Return the answer; it must be closed. Raises HttpFailed."""
        try:
            name = self._server_name if self._tls else None
            opening = asyncio.open_connection(self._server[0], self._server[1], ssl=self._tls, server_hostname=name)
            stream, _ = await _in_time(opening, ANSWER_S)
        except (ValueError, MemoryError) as error:
            raise HttpFailed("connect: " + repr(error)) from None
        try:
            stream.write(self._request(path, headers or {}))
            await _in_time(stream.drain(), ANSWER_S)
            return await _in_time(_answer(stream), ANSWER_S)
        except BaseException:
            stream.s.close()
            raise

    def _request(self, path: str, headers: dict) -> bytes:
        lines = ["GET " + path + " HTTP/1.1", "Host: " + self._server_name, "Authorization: Bearer " + self._token]
        lines += ["Connection: close", "Accept-Encoding: identity"]
        lines += [name + ": " + headers[name] for name in headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _in_time(waiting: "Awaitable[Any]", within_s: int) -> "Any":
    try:
        return await asyncio.wait_for(waiting, within_s)
    except asyncio.TimeoutError:  # noqa: UP041
        raise HttpFailed("no answer in time") from None
    except OSError as error:
        raise HttpFailed(repr(error)) from None


async def _some(stream: "asyncio.StreamReader", buffer: memoryview) -> int:
    """Fill as much of `buffer` as comes at once; how much. Raises HttpFailed at the end of the stream."""
    while True:
        count = await stream.readinto(buffer)
        if count == 0:
            raise HttpFailed("cut off")
        # Of a TLS record that is not whole yet there is nothing (None) to be had.
        if count:
            return count


async def _line(stream: "asyncio.StreamReader") -> bytes:
    """Return the next line; one without an end does not fill the memory."""
    line, byte = bytearray(), memoryview(bytearray(1))
    while len(line) < LINE_BYTES_MAX:
        await _some(stream, byte)
        if byte[0] == 10:
            return bytes(line).strip()
        line.append(byte[0])
    raise HttpFailed("too long a line")


async def _answer(stream: "asyncio.StreamReader") -> Response:
    status = await _status(stream)
    return Response(status, await _headers(stream), stream)


async def _status(stream: "asyncio.StreamReader") -> int:
    """Return the status of the first line. Source: RFC 9112, section 4."""
    parts = (await _line(stream)).split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or len(parts[1]) != 3 or not parts[1].isdigit():
        raise HttpFailed("no HTTP")
    return int(parts[1])


async def _headers(stream: "asyncio.StreamReader") -> dict:
    found: dict[str, str] = {}
    for _ in range(HEADERS_MAX):
        line = await _line(stream)
        if not line:
            return found
        name, _, value = line.partition(b":")
        found[name.decode().lower()] = value.strip().decode()
    raise HttpFailed("too many headers")


def _length(headers: dict) -> int:
    """Return how long the body is; only bodies that say so are read."""
    told = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not told.isdigit() or len(told) > 9:
        raise HttpFailed("no Content-Length")
    return int(told)
