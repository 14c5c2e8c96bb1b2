"""Signing in, setting up and signing up: what is sent, and the answers as OpenAPI describes them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from api.inputs import Email, Input, Name, Password
from api.schemas import Answer
from domain.device_ids import DEVICE_ID_PATTERN

# Longer than any password may be, so that a wrong one is just wrong.
_AnyPassword = Annotated[str, Field(max_length=1000)]


class Credentials(Input):
    """What somebody signs in with."""

    email: str = Field(max_length=254, examples=["ann@example.org"])
    password: _AnyPassword


class PasswordAgain(Input):
    """The password of whoever is signed in."""

    password: _AnyPassword


class SetUp(Input):
    """The first user, who becomes the site's admin."""

    code: str = Field(max_length=200, description="The one-time code that `wattaway up` shows.")
    email: Email
    name: Name
    password: Password
    tenant_name: Name | None = Field(None, description="What one's own tenant is called.")


class SignUp(Input):
    """A new user."""

    email: Email
    name: Name
    password: Password
    tenant_name: Name | None = Field(None, description="What one's own tenant is called; without an invitation only.")
    invitation: str | None = Field(None, max_length=200, examples=["wai_…"])


class Session(Answer):
    """One's own session."""

    user_id: str
    name: str | None
    email: str | None
    admin: bool
    csrf_token: str = Field(description="Goes into the header `X-CSRF-Token` of every request that changes something.")
    authenticated_at: datetime = Field(description="When the password was shown.")
    reauthentication_after: datetime = Field(description="From then on, what is dangerous asks for it once more.")
    expires_at: datetime = Field(description="Then at the latest; a week without use ends it, too.")


class SetUpState(Answer):
    """Whether somebody has to set this installation up."""

    needed: bool
    sign_up: Literal["open", "invitation", "closed"]


class SignUpAccepted(Answer):
    """The same whether or not the email was free: sign in to find out."""

    status: Literal["accepted"]


class DeviceItself(Answer):
    """What a device asks for with its own token."""

    device_id: str = Field(pattern=DEVICE_ID_PATTERN)
    server_time: datetime
    config_version: int = Field(description="0: it was never configured.")
    config: dict[str, Any] = Field(description="The desired configuration, in the units of the MQTT protocol.")
