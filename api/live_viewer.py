"""Who listens to the live feed: what of it they may see now, and whether they still may listen at all."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from api.asking import Identity, Recognition
from api.deciding import Deciding, Sight

SIGNED_OUT, NOTHING_LEFT, TRY_LATER = 4401, 4403, 1013
"""WebSocket close codes: the session or token counts no more; the right to every device asked for is gone; nobody knows
who may what."""


class LiveViewer:
    """One client of the feed.

    Args:
        wanted: only these devices; None: all that may be seen.
    """

    def __init__(
        self, deciding: Deciding, recognition: Recognition, identity: Identity, wanted: frozenset[str] | None
    ) -> None:
        self._deciding, self._recognition, self._identity = deciding, recognition, identity
        self._wanted = wanted
        self._sight: Sight | None = None
        self._visible: frozenset[str] = frozenset()
        self._saw_something = bool(self.device_ids)
        self._told = self.device_ids
        self.close_code: int | None = None

    @property
    def device_ids(self) -> frozenset[str]:
        """What it may see and asked for, as of this moment."""
        sight = self._deciding.sight(self._identity.principal)
        if sight is not self._sight:
            self._sight = sight
            self._visible = sight.device_id_set if self._wanted is None else sight.device_id_set & self._wanted
        return self._visible

    def sees_others(self) -> bool:
        """Whether it may see other devices than when this was last asked."""
        before, self._told = self._told, self.device_ids
        return before is not self._told and before != self._told

    @property
    def user_id(self) -> str | None:
        return self._identity.principal.user_id

    @property
    def session_key(self) -> str | None:
        return None if self._identity.found is None else self._identity.found.key

    def judge(self, ended_sessions: AbstractSet[str]) -> bool:
        """Whether it may go on; else `close_code` says why not."""
        if not self._deciding.knows_rights:
            self.close_code = TRY_LATER
        elif self.session_key in ended_sessions or not self._recognition.holds(self._identity):
            self.close_code = SIGNED_OUT
        elif self._saw_something and not self.device_ids:
            self.close_code = NOTHING_LEFT
        self._saw_something = self._saw_something or bool(self.device_ids)
        return self.close_code is None
