"""The first user of an installation, made from the command line."""

from __future__ import annotations

from datetime import UTC, datetime

from eventsourcing.persistence import ApplicationRecorder

from domain.errors import InvalidInput, RuleBroken, SettingInvalid
from domain.lifecycle.access import Access
from domain.lifecycle.accounts import check_password
from domain.lifecycle.cause import system_cause
from domain.lifecycle.claim import FirstUser, claim, ownerless_tenants
from domain.lifecycle.mapping import LIFECYCLE_EVENTS
from domain.lifecycle.site import SITE_ID, Site
from domain.lifecycle.tenants import Tenant
from domain.lifecycle.users import User
from ops.application import Application, open_application
from ops.logged_events import logged_events
from ops.set_up_code import drop_set_up_code
from ops.settings import Settings

_TOPICS = tuple(topic for topic, event in LIFECYCLE_EVENTS.items() if issubclass(event, User.Event | Tenant.Event))


def is_set_up(settings: Settings) -> bool:
    """Whether somebody has set this installation up."""
    with open_application(settings) as application:
        return _is_claimed(application)


def set_up(settings: Settings, user: FirstUser) -> int:
    """Make this user the site's admin, and owner of all tenants that have no members; how many those are.

    Raises:
        SettingInvalid: somebody has done so already, or the password is too short or too long.
    """
    with open_application(settings) as application:
        if _is_claimed(application):
            raise SettingInvalid("somebody has set this installation up already; sign in, or ask its admin")
        cause = system_cause("set-up", datetime.now(UTC))
        ownerless = _ownerless(application.lifecycle.log_recorder)
        try:
            claim(application.accounts, application.tenancy, ownerless, user, cause)
        except (InvalidInput, RuleBroken) as error:
            raise SettingInvalid(str(error)) from error
    drop_set_up_code(settings.data_dir)
    return len(ownerless)


def checked_email(email: str) -> str:
    """The email without blanks around it.

    Raises:
        SettingInvalid: it has no `@` with something before and after it.
    """
    local, _, host = email.strip().partition("@")
    if not local or not host or " " in email.strip():
        raise SettingInvalid(f"--email: {email[:80]!r} is no email address")
    return email.strip()


def checked_password(password: str) -> str:
    """The password.

    Raises:
        SettingInvalid: too short or too long.
    """
    try:
        check_password(password)
    except InvalidInput as error:
        raise SettingInvalid(str(error)) from error
    return password


def _is_claimed(application: Application) -> bool:
    return application.lifecycle.find(Site, SITE_ID) is not None


def _ownerless(recorder: ApplicationRecorder) -> list[str]:
    access = Access()
    for _, event in logged_events(recorder, _TOPICS):
        access.apply(event)
    return ownerless_tenants(access)
