"""How many bytes a request may bring."""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem
from domain.firmware_image import MOST_IMAGE_BYTES

MOST_BYTES = 64 * 1024
MOST_CSV_BYTES = 5 * 1024 * 1024
_MORE = (
    (re.compile(r"/api/v1/tenants/[^/]+/devices/bulk"), MOST_CSV_BYTES),
    (re.compile(r"/api/v1/firmware"), MOST_IMAGE_BYTES),
)


class LimitBodies:
    """Refuse what is too large, by what the request says and by what comes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        most = most_bytes_of(scope["path"])
        told = Headers(scope=scope).get("content-length", "0")
        if told.isdecimal() and int(told) > most:
            refusal = problem(HTTPConnection(scope), 413, "body-too-large", _detail(most))
            await refusal(scope, receive, send)
            return
        come = 0

        async def receive_some() -> Message:
            nonlocal come
            message = await receive()
            come += len(message.get("body", b""))
            if come > most:
                raise HTTPException(413, _detail(most))
            return message

        await self._app(scope, receive_some, send)


def most_bytes_of(path: str) -> int:
    """How many bytes a body may have there."""
    return next((most for pattern, most in _MORE if pattern.fullmatch(path)), MOST_BYTES)


def _detail(most: int) -> str:
    return f"a body has at most {most} bytes here"
