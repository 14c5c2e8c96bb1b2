"""Sealing and opening what is personal, by whose it is and what it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domain.errors import Missing, SealBroken
from domain.lifecycle.cause import user_behind
from domain.ports import KeyStore
from domain.sealing import open_sealed, seal

_SEALED = "_sealed"
# How a field of events was called when it was sealed, where that is not its own name.
_SEALED_AS: Mapping[tuple[str, str], str] = {
    ("user", "label"): "token-label",
    ("device", "name"): "device-name",
    ("device", "location"): "device-location",
}


def user_subject(user_id: str) -> str:
    """Whose key a user's texts are sealed with."""
    return f"user:{user_id}"


def tenant_subject(tenant_id: str) -> str:
    """Whose key the names of a tenant and its devices are sealed with."""
    return f"tenant:{tenant_id}"


class Personal:
    """Seals and opens with the keys of a key store."""

    def __init__(self, keys: KeyStore) -> None:
        self.keys = keys

    def begin(self, subject: str) -> None:
        """Give a new subject its key."""
        self.keys.make(subject)

    def seal(self, subject: str, field: str, text: str) -> str:
        """The sealed text.

        Raises:
            Missing: the subject was forgotten.
        """
        key = self.keys.find(subject)
        if key is None:
            raise Missing("forgotten", "its key was deleted")
        return seal(key, text, f"{subject}/{field}")

    def open(self, subject: str, field: str, sealed: str | None) -> str | None:
        """The text; None for none, or once the subject was forgotten."""
        key = None if sealed is None else self.keys.find(subject)
        if key is None or sealed is None:
            return None
        try:
            return open_sealed(key, sealed, f"{subject}/{field}")
        except SealBroken:
            return None

    def open_members(self, kind: str, subject: str | None, members: Mapping[str, Any]) -> dict[str, Any]:
        """What an event about a thing of this kind says, its sealed members in clear and under their own names.

        Args:
            subject: whose key they were sealed with; None: nobody's that is known, so they stay unread.
        """
        opened: dict[str, Any] = {}
        for name, value in members.items():
            plain = name.removesuffix(_SEALED)
            if plain != name:
                value = None if subject is None else self.open(subject, _SEALED_AS.get((kind, plain), plain), value)
            opened[plain] = value
        return opened

    def open_origin(self, actor: str, origin: str | None) -> str | None:
        """Where an event came from: a user's address is sealed, of strangers only the network stands there in clear."""
        user_id = user_behind(actor)
        if user_id is None or origin is None or "/" in origin:
            return origin
        return self.open(user_subject(user_id), "origin", origin)
