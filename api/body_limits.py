"""How many bytes a request may bring."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem
from domain.firmware_image import MOST_IMAGE_BYTES

MOST_BYTES = 64 * 1024
MOST_CSV_BYTES = 5 * 1024 * 1024
_MOST_BY_TYPE = {"text/csv": MOST_CSV_BYTES, "application/octet-stream": MOST_IMAGE_BYTES}


class LimitBodies:
    """Refuse what is too large, by what the request says and by what comes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        most = _MOST_BY_TYPE.get(headers.get("content-type", "").partition(";")[0].strip().lower(), MOST_BYTES)
        told = headers.get("content-length", "0")
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


def _detail(most: int) -> str:
    return f"a body of this kind has at most {most} bytes here"
