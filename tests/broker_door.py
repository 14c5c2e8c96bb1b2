"""Lets devices through the MQTT broker's door: registers them in the event store that the session's broker follows."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import ExitStack

from ops.embedded.nats import wait_until_let_in
from ops.registering import Registration, registration
from ops.settings import Settings


class BrokerDoor:
    """Of one set of servers, for a whole session; what is registered stays so.

    Args:
        settings: with the event store that the broker follows.
        opens_at_once: whether the broker asks, so that nobody need wait until it has been told.
    """

    def __init__(self, settings: Settings, *, opens_at_once: bool) -> None:
        self.settings, self._opens_at_once = settings, opens_at_once
        self._turn, self._stack = threading.Lock(), ExitStack()
        self._registration: Registration | None = None
        self._admitted: dict[str, str] = {}

    def admit(self, device_ids: Iterable[str]) -> Mapping[str, str]:
        """The devices' tokens; once this returns they may connect."""
        wanted = list(device_ids)
        with self._turn:
            new = [device_id for device_id in wanted if device_id not in self._admitted]
            if new:
                tokens, refused = self._register(new)
                assert not refused, refused
                if not self._opens_at_once:
                    address = (self.settings.mqtt_host, self.settings.mqtt_port)
                    wait_until_let_in(address, new[-1], tokens[new[-1]])
                self._admitted.update(tokens)
            return {device_id: self._admitted[device_id] for device_id in wanted}

    def _register(self, device_ids: list[str]) -> tuple[dict[str, str], dict[str, str]]:
        if self._registration is None:
            self._registration = self._stack.enter_context(registration(self.settings, role="test"))
        return self._registration.tokens(device_ids)

    def close(self) -> None:
        self._stack.close()
