"""A device's aggregate does what a plain model of it does, whatever is decided in whatever order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from domain.errors import Missing, RuleBroken
from domain.lifecycle.cause import Cause
from domain.lifecycle.devices import Device, DeviceConfiguration, device_aggregate_id
from domain.lifecycle.mapping import LIFECYCLE_EVENTS, decode_lifecycle_event
from domain.lifecycle.tokens import device_token_hashes

USERS = st.sampled_from(["ann", "bob", "cy"])
PERMISSIONS = st.sampled_from(["view", "switch", "manage"])
TOKENS = [letter * 64 for letter in "abcdef"]
CONFIGURATIONS = st.builds(
    DeviceConfiguration,
    interval_ms=st.none() | st.sampled_from([1000, 5000]),
    power_on=st.sampled_from([None, "off", "last", "outage-aware"]),
)


class DeviceAgainstAModel(RuleBasedStateMachine):
    """The model: a handful of plain attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        hashes = device_token_hashes(TOKENS[0])
        self.device = Device.register("d1", "tenant", hashes, self._cause(), name_sealed="name")
        self.stored: list[tuple[str, bytes]] = []
        self.in_use, self.version, self.config = True, 0, DeviceConfiguration()
        self.shares: dict[str, str] = {}
        self.name, self.location = "name", None
        self.changes = 1

    def _cause(self) -> Cause:
        self.now += timedelta(seconds=1)
        return Cause(self.now, "user:tester", "correlation")

    def _while_in_use(self, decide: Callable[[], object]) -> bool:
        """Decide, which is allowed only in use; whether it was."""
        if self.in_use:
            decide()
            self.changes += 1
            return True
        with pytest.raises(RuleBroken) as broken:
            decide()
        assert broken.value.kind == "decommissioned"
        return False

    @rule(name=st.sampled_from(["a", "b"]), location=st.none() | st.sampled_from(["x", "y"]))
    def described(self, name: str, location: Any) -> None:
        if self._while_in_use(lambda: self.device.describe(name, location, self._cause())):
            self.name, self.location = name, location

    @rule(config=CONFIGURATIONS)
    def configured(self, config: DeviceConfiguration) -> None:
        said: list[int] = []
        if self._while_in_use(lambda: said.append(self.device.configure(config, self._cause()))):
            if self.version == 0 or config != self.config:
                self.version, self.config = self.version + 1, config
            else:
                self.changes -= 1
            assert said == [self.version]

    @rule(token=st.sampled_from(TOKENS))
    def token_rotated(self, token: str) -> None:
        self._while_in_use(lambda: self.device.rotate_token(device_token_hashes(token), self._cause()))

    @rule(token=st.sampled_from(TOKENS))
    def used_again(self, token: str) -> None:
        if not self.in_use:
            self.device.use_again(device_token_hashes(token), self._cause())
            self.in_use = True
            self.changes += 1
            return
        with pytest.raises(RuleBroken):
            self.device.use_again(device_token_hashes(token), self._cause())

    @rule(user=USERS, permission=PERMISSIONS)
    def shared(self, user: str, permission: Any) -> None:
        if self._while_in_use(lambda: self.device.share(user, permission, self._cause())):
            self.shares[user] = permission

    @rule(user=USERS)
    def unshared(self, user: str) -> None:
        if user in self.shares:
            self.device.unshare(user, self._cause())
            del self.shares[user]
            self.changes += 1
            return
        with pytest.raises(Missing):
            self.device.unshare(user, self._cause())

    @rule()
    def decommissioned(self) -> None:
        if self._while_in_use(lambda: self.device.decommission(self._cause())):
            self.in_use, self.shares = False, {}

    @invariant()
    def it_is_what_the_model_says(self) -> None:
        _compare(self.device, self)

    @invariant()
    def its_events_are_plain_json_that_folds_to_the_same(self) -> None:
        events = self.device.collect_events()
        self.stored += [(type(event).TOPIC, msgspec.json.encode(event)) for event in events]  # type: ignore[attr-defined]
        assert len(self.stored) == self.changes
        device: Any = None
        for topic, state in self.stored:
            assert topic in LIFECYCLE_EVENTS
            device = decode_lifecycle_event(topic, state).mutate(device)
        _compare(device, self)

    @invariant()
    def no_event_shows_a_secret_that_counted_before(self) -> None:
        for _, state in self.stored:
            assert not msgspec.json.decode(state)["before"].keys() & {"token_sha256", "broker_hash"}


def _compare(device: Device, model: DeviceAgainstAModel) -> None:
    assert device.id == device_aggregate_id("d1")
    assert (device.commissioned, device.config_version, device.shares) == (model.in_use, model.version, model.shares)
    assert (device.name_sealed, device.location_sealed) == (model.name, model.location)
    assert msgspec.convert(device.config, DeviceConfiguration) == model.config


DeviceAgainstAModel.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
test_a_device_is_what_a_plain_model_says = DeviceAgainstAModel.TestCase
