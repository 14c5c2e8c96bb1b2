"""HTTP requests on kept-alive connections: GETs at a fixed rate, timed from when each was due (no coordinated
omission), or the same request as often as it is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

_CONNECTIONS = 16
_ANSWER_WITHIN_S = 10.0


@dataclass
class HttpRun:
    """How the answers came."""

    latencies_ms: list[float] = field(default_factory=list)
    failures: int = 0
    seconds: float = 0.0

    @property
    def per_s(self) -> float:
        return len(self.latencies_ms) / self.seconds if self.seconds else 0.0


async def get_at_rate(
    host: str, port: int, paths: Sequence[str], *, token: str, rate_per_s: float, seconds: float
) -> HttpRun:
    """GET the paths in turn as the holder of an API token; an answer other than 200 is a failure."""
    head = f"Host: {host}\r\nAccept: application/json\r\nAuthorization: Bearer {token}\r\n\r\n"
    run, started_s = HttpRun(), time.monotonic()
    schedule = iter(range(int(rate_per_s * seconds)))

    async def one_connection() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            for number in schedule:
                due_s = started_s + number / rate_per_s
                await asyncio.sleep(due_s - time.monotonic())
                path = paths[number % len(paths)]
                if (await ask(reader, writer, f"GET {path} HTTP/1.1\r\n{head}".encode()))[0] == 200:
                    run.latencies_ms.append((time.monotonic() - due_s) * 1000)
                else:
                    run.failures += 1
        finally:
            writer.close()

    await asyncio.gather(*(one_connection() for _ in range(_CONNECTIONS)))
    run.seconds = time.monotonic() - started_s
    return run


async def ask_without_pause(
    host: str, port: int, request: bytes, *, expected: int, connections: int, seconds: float
) -> HttpRun:
    """Each connection asks again as soon as it has its answer; one with another status is a failure."""
    run, started_s = HttpRun(), time.monotonic()

    async def one_connection() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            while (asked_s := time.monotonic()) < started_s + seconds:
                if (await ask(reader, writer, request))[0] == expected:
                    run.latencies_ms.append((time.monotonic() - asked_s) * 1000)
                else:
                    run.failures += 1
        finally:
            writer.close()

    await asyncio.gather(*(one_connection() for _ in range(connections)))
    run.seconds = time.monotonic() - started_s
    return run


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    """The answer's status and its head, once its body has been read."""
    writer.write(request)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _ANSWER_WITHIN_S)
    lines = head.lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), None)
    if length is None:
        await _skip_chunks(reader)
    else:
        await reader.readexactly(length)
    return int(lines[0].split(b" ")[1]), head


async def _skip_chunks(reader: asyncio.StreamReader) -> None:
    while size := int(await reader.readuntil(b"\r\n"), 16):
        await reader.readexactly(size + 2)
    await reader.readexactly(2)
