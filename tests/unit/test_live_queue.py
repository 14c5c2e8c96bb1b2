"""What waits for a live client is never forgotten while something else is being sent."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from api.live_queue import LiveMessage, LiveQueue


@pytest.fixture
def queue() -> LiveQueue:
    return LiveQueue(SimpleNamespace(device_ids=frozenset({"kettle"})))


async def test_a_loss_told_while_the_last_message_is_sent_wakes_the_client(queue: LiveQueue) -> None:
    queue.offer(LiveMessage("readings", [b'{"device_id":"kettle"}'], 1))
    assert queue.take_missed() == (False, 0)
    queue.miss_unknown()
    assert queue.take() is not None
    assert await queue.wait(0.01)
    assert queue.take_missed() == (True, None)
    assert queue.take() is None
    assert not await queue.wait(0.01)


async def test_a_closed_queue_never_lets_its_client_wait(queue: LiveQueue) -> None:
    queue.close()
    assert queue.take() is None
    assert await queue.wait(0.01)
