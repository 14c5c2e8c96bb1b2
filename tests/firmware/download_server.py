"""A small HTTP or HTTPS server for one image, which fails as it is told to."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class ImageServer:
    """What is served, and what was asked for.

    Attributes:
        break_after: bytes after which each connection of a download ends.
        knows_ranges: whether a part can be asked for.
        statuses: status of the next downloads, before any that succeeds.
        said_length: what it says the length is, instead of the truth.
        silent: the first download gets no answer until the test ends.
        stalls_at: after so many bytes of each answer to a download (head and all) it goes on as `pause_s` says.
        pause_s: between two bytes then; None: nothing more comes until the test ends.
        slow_downloads: how many of the downloads are so.
        endless_head: how many downloads are answered by a line that does not end.
        ranges: the `Range` of each download; None without.
    """

    content: bytes
    offer: dict[str, Any]
    break_after: int | None = None
    knows_ranges: bool = True
    statuses: list[int] = field(default_factory=list)
    said_length: int | None = None
    silent: bool = False
    stalls_at: int = 0
    pause_s: float | None = None
    slow_downloads: int = 0
    endless_head: int = 0
    ranges: list[str | None] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    port: int = 0
    over: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    served: ImageServer

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        served = self.served
        served.tokens.add(self.headers["Authorization"])
        if self.path != served.offer["url"]:
            self._answer(200, json.dumps(served.offer).encode())
            return
        wanted = self.headers["Range"]
        served.ranges.append(wanted)
        if served.silent and len(served.ranges) == 1:
            served.over.wait(60)
        elif served.endless_head:
            served.endless_head -= 1
            with suppress(OSError):
                for _ in range(10_000):
                    self.wfile.write(b"x" * 1_000)
        elif served.statuses:
            self._answer(served.statuses.pop(0), b"")
        elif wanted and served.knows_ranges and self.headers["If-Range"] == f'"{served.offer["sha256"]}"':
            at = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self._answer(206, served.content[at:], f"bytes {at}-{len(served.content) - 1}/{len(served.content)}")
        else:
            self._answer(200, served.content)

    def _answer(self, status: int, content: bytes, part: str | None = None) -> None:
        served, is_image = self.served, self.path == self.served.offer["url"]
        said = served.said_length if is_image and served.said_length is not None else len(content)
        head = f"HTTP/1.1 {status} Told\r\nContent-Length: {said}\r\n"
        head += f"Content-Range: {part}\r\n\r\n" if part else "\r\n"
        if is_image and served.slow_downloads:
            served.slow_downloads -= 1
            self._dribble(head.encode() + content)
        else:
            self.wfile.write(head.encode() + (content[: served.break_after] if is_image else content))

    def _dribble(self, answer: bytes) -> None:
        served = self.served
        self.wfile.write(answer[: served.stalls_at])
        with suppress(OSError):
            for at in range(served.stalls_at, len(answer)):
                if served.over.wait(served.pause_s):
                    return
                self.wfile.write(answer[at : at + 1])


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A socket that refuses a certificate hangs up."""


@contextmanager
def serving(served: ImageServer, tls: ssl.SSLContext | None = None) -> Iterator[ImageServer]:
    """Serve until the block ends."""
    handler = type("Handler", (_Handler,), {"served": served})
    server = _Quiet(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    served.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        served.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
