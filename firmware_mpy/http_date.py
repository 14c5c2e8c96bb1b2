"""The time from the engine's own web server: the `Date` that every HTTP answer bears; for networks without NTP.

By HTTPS it is no safer: who has no time yet can not check a certificate's dates, so no certificate is checked here, and
no token is sent.

Source: RFC 9110, section 6.6.1, "Date", and 5.6.7, IMF-fixdate.
"""

import asyncio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssl import SSLContext

_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
_DAYS_BEFORE = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)
_HEAD_MAX = 1024


def date_ms(text: str) -> "int | None":
    """Return ms since 1970 of a text like `Sun, 06 Nov 1994 08:49:37 GMT`, or None if it is no such text."""
    if len(text) != 29 or text[3:5] != ", " or text[25:] != " GMT" or text[19] != ":" or text[22] != ":":
        return None
    month = _MONTHS.find(text[8:11])
    numbers = (text[5:7], text[12:16], text[17:19], text[20:22], text[23:25])
    if month % 3 or not all(digit in "0123456789" for number in numbers for digit in number):
        return None
    day, year, hour, minute, second = [int(number) for number in numbers]
    if not (1970 <= year <= 2100 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
        return None
    return (_days(year, month // 3, day) * 86_400 + hour * 3600 + minute * 60 + second) * 1000


def _days(year: int, month: int, day: int) -> int:
    """Return the days from 1970 to that one; `month` counts from 0."""
    before = year - 1 if month < 2 else year
    leaps = (before // 4 - before // 100 + before // 400) - 477
    return (year - 1970) * 365 + leaps + _DAYS_BEFORE[month] + day - 1


async def ask(server: "tuple[str, int, bool]") -> "int | None":
    """Return what a server (host, port, by HTTPS?) says the time is, in ms since 1970, or None. Raises OSError."""
    tls = _unchecked() if server[2] else None
    name = server[0] if server[2] else None
    reader, writer = await asyncio.open_connection(server[0], server[1], ssl=tls, server_hostname=name)
    try:
        writer.write(f"HEAD / HTTP/1.1\r\nHost: {server[0]}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        return await _date_in(reader)
    finally:
        writer.close()
        await writer.wait_closed()


def _unchecked() -> "SSLContext":
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_NONE  # type: ignore[attr-defined] # the stubs lack it
    return context


async def _date_in(reader: "asyncio.StreamReader") -> "int | None":
    """Return what stands in a head, of which no more is read than a good server sends, however long its lines."""
    head = b""
    while len(head) < _HEAD_MAX:
        got = await reader.read(_HEAD_MAX - len(head))
        if not got:
            break
        head += got
        for line in head.split(b"\n")[:-1]:
            if line[:5].lower() == b"date:":
                return date_ms(str(line[5:], "ascii").strip())
            if line in (b"", b"\r"):
                return None
    return None
