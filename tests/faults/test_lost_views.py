"""The views in Redis may be lost at any time: answers stay right, and the views heal."""

from __future__ import annotations

import time

import pytest

from tests.faults.chain import Chain

pytestmark = pytest.mark.faults

_HEALED_WITHIN_S = 5.0


@pytest.mark.long_on_stack
def test_answers_stay_right_and_views_heal_within_5_s_after_flushall(chain: Chain) -> None:
    chain.start("api")
    with chain.under_load() as load:
        before = chain.wait_for_latest(load.device_ids)
        chain.flush_views()
        flushed_s = time.monotonic()
        while not chain.views_are_complete():
            assert time.monotonic() - flushed_s < _HEALED_WITHIN_S
            now = chain.latest(load.device_ids)
            assert all(now[device_id] >= seq for device_id, seq in before.items()), (before, now)
        after = chain.latest(load.device_ids)
        assert all(after[device_id] >= seq for device_id, seq in before.items()), (before, after)
    chain.judge()


@pytest.mark.long_on_stack
def test_answers_stay_right_while_redis_is_gone(chain: Chain) -> None:
    chain.start("api")
    with chain.under_load() as load:
        before = chain.wait_for_latest(load.device_ids)
        chain.kill9("redis")
        load.wait_for_receipts(300)
        without = chain.latest(load.device_ids)
        assert all(without[device_id] >= seq for device_id, seq in before.items()), (before, without)
        chain.restart("redis")
    chain.judge()


def test_nothing_is_lost_when_the_database_is_killed(stack_chain: Chain) -> None:
    with stack_chain.under_load() as load:
        stack_chain.kill9("database")
        load.wait_for_receipts(300)
        stack_chain.restart("database")
        load.wait_for_receipts(200)
    stack_chain.judge()
