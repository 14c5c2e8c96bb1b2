"""What people do with their accounts: sign up, sign in, change, issue API tokens, be forgotten."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from domain.errors import DependencyUnavailable, InvalidInput, RuleBroken
from domain.lifecycle.cause import Cause
from domain.lifecycle.entity import Entity
from domain.lifecycle.lifecycle import Lifecycle
from domain.lifecycle.personal import Personal, tenant_subject, user_subject
from domain.lifecycle.site import SITE_ID, Site
from domain.lifecycle.tenancy import new_tenant
from domain.lifecycle.tokens import API_TOKEN_PREFIX, new_token, token_sha256
from domain.lifecycle.users import Scope, User
from domain.ports import Beside

SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 200
LONGEST_API_TOKEN_LIFE = timedelta(days=365)


class SignUp(NamedTuple):
    """Who came to be; `tenant_id` is None for whoever founded none."""

    user_id: str
    tenant_id: str | None


Joining = Callable[[str], Iterable[Entity]]
"""What else begins with a new user, by the user's id: aggregates that have decided so, to be stored with the user."""


class _NewUser(NamedTuple):
    user_id: UUID
    cause: Cause
    email: str
    name: str
    password_hash: str
    tenant_id: UUID
    tenant_name: str | None


class IssuedToken(NamedTuple):
    """A token, in clear for the only time."""

    token: str
    token_id: str


class Accounts:
    """Blocking; argon2 takes tens of ms and 64 MiB by intent.

    Args:
        name_key: keys the hashes of sign-in names, so that nobody with the database alone can test names.
    """

    def __init__(
        self, lifecycle: Lifecycle, personal: Personal, name_key: bytes, *, hasher: PasswordHasher | None = None
    ) -> None:
        self._lifecycle, self._personal, self._name_key = lifecycle, personal, name_key
        self._hasher = hasher or PasswordHasher()
        # Checked for unknown names, so that they take as long as known ones.
        self._nobody = self._hasher.hash("nobody's password")

    def sign_up(
        self,
        cause: Cause,
        *,
        email: str,
        name: str,
        password: str,
        tenant_name: str | None,
        joining: Joining = lambda _user_id: (),
        must_be_first: bool = False,
    ) -> SignUp:
        """A new user, with a tenant of their own if that has a name; the first one of all becomes the site's admin.

        All of it is one commit, the sign-in name included. A taken email is found out after as much work as a free one
        takes.

        Args:
            joining: asked anew whenever what it decided about was changed meanwhile.
        Raises:
            InvalidInput: the password is too short or too long.
            RuleBroken: the email is somebody's already (`name-taken`), or there is an admin who must not be
                (`already-set-up`).
            DependencyUnavailable: the database is out of reach; the user may be there all the same.
            Whatever `joining` raises.
        """
        check_password(password)
        new = _NewUser(uuid4(), cause, email, name, self._hasher.hash(password), uuid4(), tenant_name)
        self._personal.begin(user_subject(str(new.user_id)))
        try:
            self._lifecycle.retry(lambda: self._store_new(new, joining, must_be_first))
        except BaseException:
            if not self._may_be_stored(new.user_id):
                for subject in (user_subject(str(new.user_id)), tenant_subject(str(new.tenant_id))):
                    self._personal.keys.forget(subject)
            raise
        return SignUp(str(new.user_id), None if tenant_name is None else str(new.tenant_id))

    def _store_new(self, new: _NewUser, joining: Joining, must_be_first: bool) -> None:
        user_id = str(new.user_id)
        aggregates: list[Entity] = [self._sealed_user(new), *joining(user_id)]
        if new.tenant_name is not None:
            named = {"name": new.tenant_name, "owner_id": user_id}
            aggregates.append(new_tenant(self._personal, new.cause, tenant_id=new.tenant_id, **named))
        if self._lifecycle.find(Site, SITE_ID) is None:
            aggregates.append(Site.claim(user_id, new.cause))
        elif must_be_first:
            raise RuleBroken("already-set-up", "somebody has set this installation up already; sign in")
        reserving = self._personal.keys.reserving(self.name_hash(new.email), user_id)
        self._lifecycle.store(*aggregates, beside=[reserving])

    def _may_be_stored(self, user_id: UUID) -> bool:
        """Whether a user may be in the event store, whose answer to the commit was lost.

        If nobody can say: a key too many harms nobody, one too few leaves an account that nothing opens.
        """
        try:
            return self._lifecycle.find(User, user_id) is not None
        except DependencyUnavailable:
            return True

    def _sealed_user(self, new: _NewUser) -> User:
        subject = user_subject(str(new.user_id))
        return User.sign_up(
            new.user_id,
            new.cause,
            email=self._personal.seal(subject, "email", new.email.strip()),
            name=self._personal.seal(subject, "name", new.name),
            password=self._personal.seal(subject, "password", new.password_hash),
        )

    def authenticate(self, email: str, password: str) -> str | None:
        """The id of the user with this email and password; None for any other, after as long a time."""
        user_id = self._personal.keys.user_of_name(self.name_hash(email))
        user = None if user_id is None else self._lifecycle.find(User, UUID(user_id))
        if user is None or user_id is None or user.forgotten:
            self._matches(self._nobody, password)
            return None
        return user_id if self._is_password_of(user, password) else None

    def is_password(self, user_id: str, password: str) -> bool:
        """Whether it is this user's."""
        user = self._lifecycle.find(User, UUID(user_id))
        return user is not None and not user.forgotten and self._is_password_of(user, password)

    def _is_password_of(self, user: User, password: str) -> bool:
        stored = self._personal.open(user_subject(str(user.id)), "password", user.password_sealed)
        return self._matches(stored or self._nobody, password) and stored is not None

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password[: LONGEST_PASSWORD + 1])
        except (VerificationError, InvalidHashError):
            return False

    def note_sign_in(self, user_id: str, cause: Cause) -> int:
        return self._change(user_id, lambda user: user.sign_in(cause))

    def note_sign_out(self, user_id: str, cause: Cause) -> int:
        return self._change(user_id, lambda user: user.sign_out(cause))

    def rename(self, user_id: str, name: str, cause: Cause) -> int:
        sealed = self._personal.seal(user_subject(user_id), "name", name)
        return self._change(user_id, lambda user: user.rename(sealed, cause))

    def change_email(self, user_id: str, email: str, cause: Cause) -> int:
        """Raises `RuleBroken` if it is somebody else's."""
        sealed = self._personal.seal(user_subject(user_id), "email", email.strip())
        reserving = self._personal.keys.reserving(self.name_hash(email), user_id)
        return self._change(user_id, lambda user: user.change_email(sealed, cause), reserving)

    def change_password(self, user_id: str, password: str, cause: Cause) -> int:
        """Raises `InvalidInput` if it is too short or too long."""
        check_password(password)
        sealed = self._personal.seal(user_subject(user_id), "password", self._hasher.hash(password))
        return self._change(user_id, lambda user: user.change_password(sealed, cause))

    def issue_api_token(
        self, user_id: str, cause: Cause, *, label: str, scope: Scope, expires_at: datetime
    ) -> IssuedToken:
        """A token for a program. Raises `RuleBroken` if it would live longer than a year, or there are too many."""
        if expires_at - cause.at > LONGEST_API_TOKEN_LIFE:
            raise RuleBroken("lives-too-long", f"an API token lives at most {LONGEST_API_TOKEN_LIFE.days} days")
        token, token_id = new_token(API_TOKEN_PREFIX), str(uuid4())
        digest, sealed = token_sha256(token), self._personal.seal(user_subject(user_id), "token-label", label)
        self._change(
            user_id,
            lambda user: user.issue_api_token(
                token_id, digest, cause, label_sealed=sealed, scope=scope, expires_at=expires_at
            ),
        )
        return IssuedToken(token, token_id)

    def revoke_api_token(self, user_id: str, token_id: str, cause: Cause) -> int:
        return self._change(user_id, lambda user: user.revoke_api_token(token_id, cause))

    def grant_admin(self, user_id: str, cause: Cause) -> int:
        """Raises `Missing` if there is no such user."""
        return self._lifecycle.change(Site, SITE_ID, lambda site: site.grant_admin(user_id, cause), about=user_id)[1]

    def revoke_admin(self, user_id: str, cause: Cause) -> int:
        return self._lifecycle.change(Site, SITE_ID, lambda site: site.revoke_admin(user_id, cause))[1]

    def name_hash(self, email: str) -> str:
        """What a sign-in name is looked up by; case, width and spaces around do not count."""
        folded = unicodedata.normalize("NFKC", email).strip().casefold()
        return hmac.new(self._name_key, folded.encode(), hashlib.sha256).hexdigest()

    def _change(self, user_id: str, decide: Callable[[User], None], *beside: Beside) -> int:
        return self._lifecycle.change(User, UUID(user_id), decide, beside=beside)[1]


def check_password(password: str) -> None:
    """Raise `InvalidInput` if it is no password of ours. Source: NIST SP 800-63B, 5.1.1.2: length, not composition."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InvalidInput("password", f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")
