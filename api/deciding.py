"""What routes decide with: may the asker do that, who causes it, and the work itself, in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from eventsourcing.persistence import InterfaceError, Notification, OperationalError
from starlette.requests import HTTPConnection

from api.addresses import client_address, network_of
from api.correlation import correlation_id
from api.denial_notes import DenialNotes, DeniedAttempt
from api.people import People
from api.problems import ReauthenticationNeeded
from bridges.event_follower import EventFollower
from domain.clock import Clock, to_instant
from domain.errors import Denied, DependencyUnavailable, Missing
from domain.lifecycle.access import Access
from domain.lifecycle.accounts import Accounts
from domain.lifecycle.cause import Cause
from domain.lifecycle.departure import Farewell
from domain.lifecycle.devices import Device
from domain.lifecycle.firmware import FirmwareReleases, ReleaseDirectory
from domain.lifecycle.lifecycle import Lifecycle
from domain.lifecycle.mapping import LIFECYCLE_EVENTS
from domain.lifecycle.personal import Personal, user_subject
from domain.lifecycle.policy import (
    REAUTHENTICATION,
    Action,
    Principal,
    require_device,
    require_site,
    require_tenant,
)
from domain.lifecycle.publishing import Publishing
from domain.lifecycle.site import Site
from domain.lifecycle.sockets import Sockets
from domain.lifecycle.tenancy import Tenancy
from domain.lifecycle.tenants import Tenant
from domain.lifecycle.users import User

R = TypeVar("R")

REAUTHENTICATED_FOR = timedelta(minutes=10)
RIGHTS_HOLD_FOR_S = 10.0
_OVERDUE_S = 2.0
_THREADS = 8
_MOST_SIGHTS = 1000
# One argon2 takes 64 MiB and a core for tens of ms: whoever tries passwords must not hold up everybody else.
_PASSWORD_THREADS = 2
_FOLLOWED = tuple(
    topic
    for topic, event in LIFECYCLE_EVENTS.items()
    if issubclass(event, User.Event | Tenant.Event | Device.Event | Site.Event | FirmwareReleases.Event)
)


class Application(Protocol):
    """What decides about people and sockets; blocking."""

    @property
    def lifecycle(self) -> Lifecycle: ...
    @property
    def personal(self) -> Personal: ...
    @property
    def accounts(self) -> Accounts: ...
    @property
    def tenancy(self) -> Tenancy: ...
    @property
    def sockets(self) -> Sockets: ...
    @property
    def firmware(self) -> Publishing: ...


class Sight:
    """The devices that somebody may see, as of one revision of the access directory."""

    def __init__(self, revision: int, device_ids: Sequence[str]) -> None:
        self.revision = revision
        self.device_ids = device_ids
        """In order."""
        self.device_id_set = frozenset(device_ids)


class Deciding:
    """The application as routes use it, with what follows the event store always at hand.

    Args:
        rights_hold_for_s: how long who may what is taken from memory while the event store is away.
    """

    def __init__(self, application: Application, clock: Clock, rights_hold_for_s: float = RIGHTS_HOLD_FOR_S) -> None:
        self.access, self._rights_hold_for_s = Access(), rights_hold_for_s
        self.lifecycle, self.personal = application.lifecycle, application.personal
        self.accounts, self.tenancy, self.sockets = application.accounts, application.tenancy, application.sockets
        self.firmware, self.releases = application.firmware, ReleaseDirectory()
        self.people = People(self.personal)
        self.farewell = Farewell(self.lifecycle, self.personal)
        self.follower = EventFollower(self.lifecycle.log_recorder, self._fold, topics=_FOLLOWED)
        self.denials = DenialNotes(self.lifecycle)
        self._clock = clock
        self._sights: dict[str, Sight] = {}
        self._threads = ThreadPoolExecutor(_THREADS, "deciding")
        self._password_threads = ThreadPoolExecutor(_PASSWORD_THREADS, "passwords")

    def _fold(self, events: Sequence[Notification]) -> None:
        for event in events:
            decided = self.lifecycle.mapper.to_domain_event(event)
            self.access.apply(decided)
            self.releases.apply(decided)

    def now(self) -> datetime:
        return to_instant(self._clock.now_ms())

    @property
    def knows_rights(self) -> bool:
        """Whether it was read lately who may what; what was taken away since then may still be thought to hold."""
        return self.follower.age_s < self._rights_hold_for_s

    def require_rights(self) -> None:
        """Return if it is known who may what. Raises `DependencyUnavailable`."""
        if not self.knows_rights:
            raise DependencyUnavailable("event store", f"not read for {self.follower.age_s:.0f} s")

    async def probe(self) -> str:
        """How the event store is; raises `DependencyUnavailable` if nothing could be read from it lately."""
        age_s = self.follower.age_s
        if age_s > min(_OVERDUE_S, self._rights_hold_for_s):
            raise DependencyUnavailable("event store", f"not read for {age_s:.1f} s")
        return f"read up to event {self.follower.position}"

    def sight(self, principal: Principal) -> Sight:
        """The devices that the asker may see; found anew only after something has changed."""
        user_id = principal.user_id or ""
        known = self._sights.get(user_id)
        if known is None or known.revision != self.access.revision:
            known = Sight(self.access.revision, self.access.device_ids_of(user_id))
            if len(self._sights) >= _MOST_SIGHTS:
                self._sights.clear()
            self._sights[user_id] = known
        return known

    # --- may the asker do that? -------------------------------------------------------------------------

    async def allow_device(self, request: HTTPConnection, principal: Principal, action: Action, device_id: str) -> None:
        """Return if the asker may do that with the device.

        Raises:
            Missing: there is none, or the asker may not see it.
            Denied: the asker may see it, but not do that.
            ReauthenticationNeeded: it is dangerous, and the session has not shown its password lately.
        """
        try:
            require_device(self.access, principal, action, device_id)
        except (Missing, Denied) as refusal:
            known = device_id in self.access.devices
            self._note(request, principal, action, f"device:{device_id}" if known else None, refusal)
            raise
        self._check_password_age(request, principal, action, f"device:{device_id}")

    async def allow_tenant(self, request: HTTPConnection, principal: Principal, action: Action, tenant_id: str) -> None:
        """The same for a tenant."""
        try:
            require_tenant(self.access, principal, action, tenant_id)
        except (Missing, Denied) as refusal:
            known = tenant_id in self.access.tenants
            self._note(request, principal, action, f"tenant:{tenant_id}" if known else None, refusal)
            raise
        self._check_password_age(request, principal, action, f"tenant:{tenant_id}")

    async def allow_site(self, request: HTTPConnection, principal: Principal, action: Action) -> None:
        """The same for what belongs to nobody in particular."""
        try:
            require_site(self.access, principal, action)
        except Denied as refusal:
            self._note(request, principal, action, "site", refusal)
            raise
        self._check_password_age(request, principal, action, "site")

    def _check_password_age(
        self, connection: HTTPConnection, principal: Principal, action: Action, subject: str
    ) -> None:
        if action in REAUTHENTICATION and principal.is_session:
            shown_at = principal.authenticated_at
            if shown_at is None or self.now() - shown_at > REAUTHENTICATED_FOR:
                refusal = ReauthenticationNeeded()
                self.note_denial(connection, principal, action, subject, refusal.kind)
                raise refusal

    def _note(
        self,
        connection: HTTPConnection,
        principal: Principal,
        action: Action,
        subject: str | None,
        refusal: Missing | Denied,
    ) -> None:
        # What does not exist was denied to nobody.
        if subject is not None:
            self.note_denial(connection, principal, action, subject, refusal.kind)

    def note_denial(
        self, connection: HTTPConnection, principal: Principal | None, action: str, subject: str, reason: str
    ) -> None:
        """Let the auditors know of a denied attempt, soon."""
        at, actor = self.now(), _actor(principal)
        correlated, address = correlation_id(connection.scope), client_address(connection.scope)

        def make_cause() -> Cause:
            return Cause(at, actor, correlated, self._origin(principal, address))

        self.denials.note(DeniedAttempt(action, subject, reason, actor, make_cause))

    # --- who causes it? ---------------------------------------------------------------------------------

    async def prepare_cause(self, connection: HTTPConnection, principal: Principal) -> None:
        """Seal where the asker is, which may ask the database, so that `cause` need not."""
        address = client_address(connection.scope)
        connection.state.origin = await self.look(lambda: self._origin(principal, address))

    def cause(self, connection: HTTPConnection, principal: Principal | None) -> Cause:
        """Who causes what this request decides, when and from where; blocks unless it was prepared."""
        state: dict[str, Any] = connection.scope.setdefault("state", {})
        origin = state.get("origin") or self._origin(principal, client_address(connection.scope))
        return Cause(self.now(), _actor(principal), correlation_id(connection.scope), origin)

    def _origin(self, principal: Principal | None, address: str) -> str:
        if principal is None or principal.user_id is None:
            return network_of(address)
        try:
            return self.personal.seal(user_subject(principal.user_id), "origin", address)
        except Missing:
            # Forgotten meanwhile.
            return network_of(address)

    # --- the work ---------------------------------------------------------------------------------------

    async def decide(self, work: Callable[[], R], *, hashes: bool = False) -> R:
        """What `work` returns, after whatever it decided counts for the next request here, too.

        Args:
            hashes: it hashes a password: few at a time.
        Raises:
            DependencyUnavailable: the event store is out of reach; it may have been decided all the same.
            Whatever `work` raises.
        """

        def decide() -> tuple[R, int]:
            result = work()
            return result, self.lifecycle.log_recorder.max_notification_id() or 0

        result, newest = await (self.check_password(decide) if hashes else self.look(decide))
        await self.follower.catch_up(newest)
        return result

    async def look(self, question: Callable[[], R]) -> R:
        """What `question` returns, asked in a thread; it decides nothing."""
        return await _in_thread(self._threads, question)

    async def check_password(self, check: Callable[[], R]) -> R:
        """The same for what hashes a password: few at a time."""
        return await _in_thread(self._password_threads, check)

    async def close(self) -> None:
        """Let what runs end."""
        for threads in (self._threads, self._password_threads):
            await asyncio.to_thread(threads.shutdown, cancel_futures=True)


async def _in_thread(threads: ThreadPoolExecutor, work: Callable[[], R]) -> R:
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, work)
    except (OperationalError, InterfaceError) as error:
        raise DependencyUnavailable("database", str(error)[:300]) from error


def _actor(principal: Principal | None) -> str:
    return "anonymous" if principal is None else principal.actor
