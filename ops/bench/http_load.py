"""HTTP GETs at a fixed rate on kept-alive connections, timed from when each was due (no coordinated omission)."""

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


async def get_at_rate(host: str, port: int, paths: Sequence[str], *, rate_per_s: float, seconds: float) -> HttpRun:
    """GET the paths in turn, `rate_per_s` a second; an answer other than 200 is a failure."""
    run, started_s = HttpRun(), time.monotonic()
    schedule = iter(range(int(rate_per_s * seconds)))

    async def one_connection() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            for number in schedule:
                due_s = started_s + number / rate_per_s
                await asyncio.sleep(due_s - time.monotonic())
                if await _get(reader, writer, host, paths[number % len(paths)]):
                    run.latencies_ms.append((time.monotonic() - due_s) * 1000)
                else:
                    run.failures += 1
        finally:
            writer.close()

    await asyncio.gather(*(one_connection() for _ in range(_CONNECTIONS)))
    run.seconds = time.monotonic() - started_s
    return run


async def _get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, path: str) -> bool:
    """Whether the answer was 200, once its body has been read."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n\r\n".encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _ANSWER_WITHIN_S)
    lines = head.lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), None)
    if length is None:
        await _skip_chunks(reader)
    else:
        await reader.readexactly(length)
    return lines[0].split(b" ")[1] == b"200"


async def _skip_chunks(reader: asyncio.StreamReader) -> None:
    while size := int(await reader.readuntil(b"\r\n"), 16):
        await reader.readexactly(size + 2)
    await reader.readexactly(2)
