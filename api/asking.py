"""Who asks: a person's session, a program's API token, a device's own token, or nobody."""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, NamedTuple, Protocol

from fastapi import Depends
from starlette.requests import HTTPConnection

from api.deciding import Deciding
from api.problems import Forbidden, Unauthenticated
from api.sessions import FoundSession, Sessions, cookie_of, is_secure
from domain.clock import Clock, to_instant
from domain.errors import DependencyUnavailable
from domain.lifecycle.access import Access, ApiToken
from domain.lifecycle.policy import Principal
from domain.lifecycle.tokens import API_TOKEN_PREFIX, TOKEN_LENGTH, token_sha256

CSRF_HEADER = "X-CSRF-Token"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_TOKEN = re.compile(rf"(?:{API_TOKEN_PREFIX})?[0-9a-f]{{{TOKEN_LENGTH}}}")


class Identity(NamedTuple):
    """Who asks, and what proves it."""

    principal: Principal
    found: FoundSession | None = None
    token_hash: str | None = None


class Note(Protocol):
    """Lets the auditors know of a denied attempt."""

    def __call__(
        self, connection: HTTPConnection, principal: Principal | None, action: str, subject: str, reason: str
    ) -> None: ...


class Recognition:
    """Recognizes who asks; for tokens that is a look into a dictionary.

    Args:
        next_look: returns once the directory holds all that was decided, elsewhere too, before it was called: what one
            process has just issued counts in all.
    """

    def __init__(
        self, access: Access, sessions: Sessions, clock: Clock, next_look: Callable[[], Awaitable[None]], note: Note
    ) -> None:
        self._access, self._sessions, self._clock = access, sessions, clock
        self._next_look, self._note = next_look, note

    async def recognize(self, connection: HTTPConnection) -> Identity | None:
        """Who asks; None if nobody said so.

        Raises:
            Unauthenticated: the token or session that came does not count, or no more.
            DependencyUnavailable: Redis is away, so nobody knows whose session it is.
        """
        authorization = connection.headers.get("authorization")
        if authorization is not None:
            return await self._by_token(connection, authorization)
        cookie = cookie_of(connection)
        return None if cookie is None else await self._by_cookie(cookie)

    def holds(self, identity: Identity) -> bool:
        """Whether it still counts, as far as that can be told without asking Redis."""
        if identity.token_hash is not None:
            return self._of_token(identity.token_hash) is not None
        return identity.found is not None and self._of_session(identity.found) is not None

    async def _by_token(self, connection: HTTPConnection, authorization: str) -> Identity:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not _TOKEN.fullmatch(token):
            raise Unauthenticated("`Authorization` holds no token of ours", bearer=True)
        token_hash = token_sha256(token)
        identity = self._of_token(token_hash)
        if identity is None:
            await self._next_look()
            identity = self._of_token(token_hash)
        if identity is None:
            self._note_ended(connection, token_hash)
            raise Unauthenticated("this token was revoked, has expired, or never was", bearer=True)
        return identity

    def _of_token(self, token_hash: str) -> Identity | None:
        token = self._access.api_tokens.get(token_hash)
        if token is not None:
            if token.expires_at <= to_instant(self._clock.now_ms()):
                return None
            return Identity(_principal_of(token), token_hash=token_hash)
        device_id = self._access.device_tokens.get(token_hash)
        if device_id is None:
            return None
        return Identity(Principal(f"device:{device_id}", device_id=device_id), token_hash=token_hash)

    def _note_ended(self, connection: HTTPConnection, token_hash: str) -> None:
        """Of a token that never was, nobody can tell whose it is."""
        token, reason = self._access.revoked_tokens.get(token_hash), "revoked"
        if token is None:
            token, reason = self._access.api_tokens.get(token_hash), "expired"
        if token is not None:
            self._note(connection, _principal_of(token), "token.use", f"user:{token.user_id}", reason)

    async def _by_cookie(self, cookie: str) -> Identity:
        found = await self._sessions.find(cookie)
        identity = None if found is None else self._of_session(found)
        if found is not None and identity is None:
            await self._next_look()
            identity = self._of_session(found)
        if identity is None:
            raise Unauthenticated("this session has ended; sign in again")
        return identity

    def _of_session(self, found: FoundSession) -> Identity | None:
        session = found.session
        if not self._sessions.counts(session):
            return None
        shown_at = to_instant(session.authenticated_at_ms)
        return Identity(Principal(f"user:{session.user_id}", session.user_id, authenticated_at=shown_at), found)


def _principal_of(token: ApiToken) -> Principal:
    return Principal(f"token:{token.user_id}/{token.token_id}", token.user_id, token.scope)


async def identity_of(connection: HTTPConnection) -> Identity | None:
    """Who asks; recognized once a request. Raises as `Recognition.recognize`."""
    state = connection.scope.setdefault("state", {})
    if "identity" not in state:
        try:
            state["identity"] = await connection.app.state.services.recognition.recognize(connection)
        except (Unauthenticated, DependencyUnavailable) as refusal:
            state["identity"] = refusal
    identity: Identity | Exception | None = state["identity"]
    if isinstance(identity, Exception):
        raise identity
    return identity


async def current_identity(connection: HTTPConnection) -> Identity:
    """Who asks.

    Raises:
        DependencyUnavailable: nobody knows who may what, or whose session it is.
        Unauthenticated: nobody says so.
        Forbidden: another page may be behind it.
    """
    deciding: Deciding = connection.app.state.services.deciding
    deciding.require_rights()
    identity = await identity_of(connection)
    if identity is None:
        raise Unauthenticated("sign in, or show a token: `Authorization: Bearer …`")
    if connection.scope.get("method", "GET") not in _SAFE_METHODS:
        if identity.found is not None:
            check_own_page(connection)
            _check_csrf_token(connection, identity.found)
        await deciding.prepare_cause(connection, identity.principal)
    return identity


# Each of these calls `current_identity` itself: a dependency of a dependency costs every request 15 µs more.


async def current_principal(connection: HTTPConnection) -> Principal:
    """Who asks, for routes that do not care how it was proven."""
    return (await current_identity(connection)).principal


async def principal_or_nobody(connection: HTTPConnection) -> Principal | None:
    """Who asks, if anybody known: for routes that answer everybody."""
    try:
        identity = await identity_of(connection)
    except (Unauthenticated, DependencyUnavailable):
        return None
    return None if identity is None else identity.principal


async def current_session(connection: HTTPConnection) -> FoundSession:
    """The asker's session. Raises `Unauthenticated` for a token."""
    identity = await current_identity(connection)
    if identity.found is None:
        raise Unauthenticated("this is about sessions: sign in; a token has none")
    return identity.found


def check_own_page(connection: HTTPConnection) -> None:
    """Raise `Forbidden` if a browser says that a page of another origin is behind it."""
    origin = connection.headers.get("origin")
    if origin is None:
        return
    scheme, _, host = origin.partition("://")
    if host != connection.headers.get("host") or (is_secure(connection) and scheme != "https"):
        _note_foreign_page(connection)
        raise Forbidden("csrf", f"a page from {origin[:100]!r} may not ask this")


def _check_csrf_token(connection: HTTPConnection, found: FoundSession) -> None:
    given = connection.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(given.encode(), found.session.csrf_token.encode()):
        _note_foreign_page(connection)
        raise Forbidden("csrf", f"`{CSRF_HEADER}` must hold the session's token, which GET /api/v1/session tells")


def _note_foreign_page(connection: HTTPConnection) -> None:
    """Somebody may be abusing a session: its user's auditors should know. Without a session nobody was."""
    identity = connection.scope.get("state", {}).get("identity")
    if isinstance(identity, Identity) and identity.found is not None:
        deciding: Deciding = connection.app.state.services.deciding
        deciding.note_denial(
            connection, identity.principal, "session.use", f"user:{identity.principal.user_id}", "csrf"
        )


AskerIdentity = Annotated[Identity, Depends(current_identity)]
Asker = Annotated[Principal, Depends(current_principal)]
AskerOrNobody = Annotated[Principal | None, Depends(principal_or_nobody)]
AskerSession = Annotated[FoundSession, Depends(current_session)]
OwnPage = Depends(check_own_page)
