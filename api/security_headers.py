"""Header fields that keep a browser from doing harm with our answers, and the correlation id, on every answer."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.correlation import HEADER, correlation_id

CONTENT_SECURITY_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGE_CONTENT_SECURITY_POLICY = (
    # Nothing from elsewhere, nothing inline: the page works offline and a reading's text can never become code.
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_RAW = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
_ONE_YEAR_S = 31_536_000
_STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=%d; includeSubDomains" % _ONE_YEAR_S)
NO_STORE = {"Cache-Control": "no-store"}
_RAW_NO_STORE = [(name.lower().encode(), value.encode()) for name, value in NO_STORE.items()]


def answer_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """What is added to the answer of this request."""
    headers: list[tuple[bytes, bytes]] = scope.setdefault("state", {}).setdefault("answer_headers", [])
    return headers


class SecureAnswers:
    """Add what the route has not said itself. Answers of the API are private: nobody on the way may keep them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        added = answer_headers(scope)
        added += _RAW
        added.append((HEADER, correlation_id(scope).encode()))
        if scope["path"].startswith(("/api/", "/metrics", "/readyz")):
            added += _RAW_NO_STORE
        if scope["scheme"] in ("https", "wss"):
            added.append(_STRICT_TRANSPORT)

        async def send_secured(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                said = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *[one for one in added if one[0] not in said]]
            await send(message)

        await self._app(scope, receive, send_secured)
