"""What an operator may choose about who gets in and how often anybody may ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

from api.deciding import RIGHTS_HOLD_FOR_S
from api.rate_limits import Who

SignUpMode = Literal["open", "invitation", "closed"]
RATE_LIMITS: Mapping[Who, str] = {
    "tokens": "60000/minute",
    "users": "6000/minute",
    "devices": "600/minute",
    "strangers": "3000/minute",
    "sign-in": "20/minute",
    "sign-up": "10/hour",
    "set-up": "10/minute",
}


@dataclass(frozen=True)
class Protection:
    """The defaults are good behind nothing at all.

    Args:
        sign_up: who may become a user: everybody, whoever has an invitation, nobody.
        rate_limits: by whom they are for.
        cors_origins: pages of other origins that may ask with a token (never with a cookie).
        hold_set_up_code: around a first sign-up: whether this is the one-time code, which is used up if all goes well;
            blocks.
        rights_hold_for_s: how long who may what is taken from memory while the event store is away.
    """

    sign_up: SignUpMode = "invitation"
    rate_limits: Mapping[Who, str] = field(default_factory=lambda: RATE_LIMITS)
    cors_origins: tuple[str, ...] = ()
    hold_set_up_code: Callable[[str], AbstractContextManager[bool]] = lambda _code: nullcontext(False)
    rights_hold_for_s: float = RIGHTS_HOLD_FOR_S
