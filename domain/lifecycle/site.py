"""The installation itself: whoever signs up first claims it, and its admins."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from domain.errors import Missing, RuleBroken
from domain.lifecycle.cause import Cause
from domain.lifecycle.entity import Entity, FirstEvent, LifecycleEvent, id_of

SITE_ID: UUID = id_of("site", "this")


class Site(Entity):
    """Exists once; to create it a second time is a conflict, so there is one first admin."""

    TOPIC = "wattaway.site"

    class Event(LifecycleEvent):
        """Of the site."""

    class Claimed(Event, FirstEvent):
        TOPIC = "wattaway.site-claimed.v1"
        user_id: str

    class AdminGranted(Event):
        TOPIC = "wattaway.site-admin-granted.v1"
        user_id: str

        def apply(self, aggregate: Any) -> None:
            aggregate.admins.append(self.user_id)

    class AdminRevoked(Event):
        TOPIC = "wattaway.site-admin-revoked.v1"
        user_id: str

        def apply(self, aggregate: Any) -> None:
            aggregate.admins.remove(self.user_id)

    def __init__(self, user_id: str) -> None:
        self.admins = [user_id]

    @classmethod
    def claim(cls, user_id: str, cause: Cause) -> Site:
        """The site of its first admin."""
        return cls.begin(cls.Claimed, cause, SITE_ID, user_id=user_id)

    def grant_admin(self, user_id: str, cause: Cause) -> None:
        if user_id in self.admins:
            raise RuleBroken("already-admin", "this user is an admin already")
        self.decide(self.AdminGranted, cause, user_id=user_id)

    def revoke_admin(self, user_id: str, cause: Cause) -> None:
        if user_id not in self.admins:
            raise Missing("unknown-admin", "this user is no admin")
        if self.admins == [user_id]:
            raise RuleBroken("last-admin", "a site keeps at least one admin")
        self.decide(self.AdminRevoked, cause, user_id=user_id)
