"""How long a simulated socket waits before it connects again: longer each time, up to a limit, and never in step."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from domain.errors import DependencyUnavailable
from ops.embedded.ports import LOOPBACK, free_ports
from ops.simulator.socket_device import Endpoint, LinkTiming, SocketDevice, Tally

TIMING = LinkTiming(first_backoff_s=1, longest_backoff_s=60)
LIMITS_S = (1, 2, 4, 8, 16, 32, 60, 60, 60)


def a_socket(device_id: str = "d1", *, port: int = 9) -> SocketDevice:
    return SocketDevice(
        device_id,
        token="x" * 64,
        boot="0badcafe",
        endpoint=Endpoint(LOOPBACK, port),
        gate=asyncio.Semaphore(1),
        tally=Tally(),
        timing=TIMING,
    )


def waits_s(device: SocketDevice, attempts: int, *, times: int = 200) -> list[float]:
    """What it may wait after so many attempts in a row that came to nothing."""
    device._attempts = attempts
    return [device._backoff_s() for _ in range(times)]


@pytest.mark.parametrize(("attempts", "limit_s"), list(enumerate(LIMITS_S, 1)))
def test_the_wait_lies_between_half_of_its_limit_and_all_of_it(attempts: int, limit_s: float) -> None:
    waits = waits_s(a_socket(), attempts)
    assert all(limit_s / 2 <= wait_s <= limit_s for wait_s in waits)
    # Over the whole of that, or a fleet would come back in bunches.
    assert min(waits) < limit_s * 0.6
    assert max(waits) > limit_s * 0.9


def test_after_a_night_without_a_broker_it_still_waits_no_longer_than_the_longest() -> None:
    for attempts in (17, 2_000, 10**6):
        assert max(waits_s(a_socket(), attempts)) <= TIMING.longest_backoff_s


def test_sockets_that_lost_the_same_broker_do_not_come_back_in_step() -> None:
    fleet = [a_socket(f"d{number}") for number in range(100)]
    assert len({waits_s(device, 3, times=1)[0] for device in fleet}) == len(fleet)


async def test_each_refused_connection_makes_the_next_wait_longer_and_a_puback_starts_anew() -> None:
    (port,) = free_ports(1)
    device = a_socket(port=port)
    device._random = Random(1)
    waits = []
    for limit_s in LIMITS_S:
        with pytest.raises(DependencyUnavailable):
            await device._connect()
        waits.append(device._backoff_s())
        assert limit_s / 2 <= waits[-1] <= limit_s
    assert waits[:6] == sorted(waits[:6])
    device._on_puback([])
    assert device._backoff_s() <= TIMING.first_backoff_s
