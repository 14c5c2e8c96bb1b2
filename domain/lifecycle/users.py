"""A person with a password and API tokens. What is personal is sealed with the person's own key."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from domain.errors import Missing, RuleBroken
from domain.lifecycle.cause import Cause
from domain.lifecycle.entity import Entity, FirstEvent, LifecycleEvent

Scope = Literal["read", "control", "manage"]
MOST_API_TOKENS = 50


class User(Entity):
    """A person; sealed texts can be read while the person's key exists."""

    TOPIC = "wattaway.user"

    class Event(LifecycleEvent):
        """Of a user."""

    class SignedUp(Event, FirstEvent):
        TOPIC = "wattaway.user-signed-up.v1"
        email_sealed: str
        name_sealed: str
        password_sealed: str

    class SignedIn(Event):
        TOPIC = "wattaway.user-signed-in.v1"

    class SignedOut(Event):
        TOPIC = "wattaway.user-signed-out.v1"

    class Renamed(Event):
        TOPIC = "wattaway.user-renamed.v1"
        name_sealed: str

        def apply(self, aggregate: Any) -> None:
            aggregate.name_sealed = self.name_sealed

    class EmailChanged(Event):
        TOPIC = "wattaway.user-email-changed.v1"
        email_sealed: str

        def apply(self, aggregate: Any) -> None:
            aggregate.email_sealed = self.email_sealed

    class PasswordChanged(Event):
        TOPIC = "wattaway.user-password-changed.v1"
        password_sealed: str

        def apply(self, aggregate: Any) -> None:
            aggregate.password_sealed = self.password_sealed

    class ApiTokenIssued(Event):
        TOPIC = "wattaway.api-token-issued.v1"
        token_id: str
        token_sha256: str
        label_sealed: str
        scope: Scope
        expires_at: datetime

        def apply(self, aggregate: Any) -> None:
            aggregate.api_tokens[self.token_id] = self.label_sealed

    class ApiTokenRevoked(Event):
        TOPIC = "wattaway.api-token-revoked.v1"
        token_id: str

        def apply(self, aggregate: Any) -> None:
            del aggregate.api_tokens[self.token_id]

    class Forgotten(Event):
        TOPIC = "wattaway.user-forgotten.v1"

        def apply(self, aggregate: Any) -> None:
            aggregate.forgotten = True
            aggregate.api_tokens = {}

    def __init__(self, email_sealed: str, name_sealed: str, password_sealed: str) -> None:
        self.email_sealed = email_sealed
        self.name_sealed = name_sealed
        self.password_sealed = password_sealed
        self.api_tokens: dict[str, str] = {}
        self.forgotten = False

    @classmethod
    def sign_up(cls, user_id: UUID, cause: Cause, *, email: str, name: str, password: str) -> User:
        """A new user; all three texts are sealed already, the password after hashing."""
        sealed = {"email_sealed": email, "name_sealed": name, "password_sealed": password}
        return cls.begin(cls.SignedUp, cause, user_id, **sealed)

    def sign_in(self, cause: Cause) -> None:
        self.check_known()
        self.decide(self.SignedIn, cause)

    def sign_out(self, cause: Cause) -> None:
        self.decide(self.SignedOut, cause)

    def rename(self, name_sealed: str, cause: Cause) -> None:
        self.check_known()
        self.decide(self.Renamed, cause, name_sealed=name_sealed)

    def change_email(self, email_sealed: str, cause: Cause) -> None:
        self.check_known()
        self.decide(self.EmailChanged, cause, email_sealed=email_sealed)

    def change_password(self, password_sealed: str, cause: Cause) -> None:
        self.check_known()
        self.decide(self.PasswordChanged, cause, password_sealed=password_sealed)

    def issue_api_token(
        self, token_id: str, token_sha256: str, cause: Cause, *, label_sealed: str, scope: Scope, expires_at: datetime
    ) -> None:
        """Let a program act for this user, until then.

        Raises:
            RuleBroken: there are `MOST_API_TOKENS` already, or it would have expired by now.
        """
        self.check_known()
        if len(self.api_tokens) >= MOST_API_TOKENS:
            raise RuleBroken("too-many-tokens", f"a user has at most {MOST_API_TOKENS} API tokens; revoke one first")
        if expires_at <= cause.at:
            raise RuleBroken("already-expired", "`expires_at` is in the past")
        fields: dict[str, Any] = {"token_id": token_id, "token_sha256": token_sha256, "label_sealed": label_sealed}
        self.decide(self.ApiTokenIssued, cause, **fields, scope=scope, expires_at=expires_at)

    def revoke_api_token(self, token_id: str, cause: Cause) -> None:
        if token_id not in self.api_tokens:
            raise Missing("unknown-token", "no such API token")
        self.decide(self.ApiTokenRevoked, cause, token_id=token_id, before={"label_sealed": self.api_tokens[token_id]})

    def forget(self, cause: Cause) -> None:
        """What is sealed is gone with the key; from here on nobody can act as this user."""
        self.check_known()
        self.decide(self.Forgotten, cause)

    def check_known(self) -> None:
        """Raises `Missing` if this user was forgotten."""
        if self.forgotten:
            raise Missing("unknown-user", "no such user")
