"""Whatever dies between a socket and the log, no receipted reading is lost."""

from __future__ import annotations

import time

import pytest

from tests.faults.chain import Chain

pytestmark = pytest.mark.faults


def test_nothing_is_lost_when_the_bridge_is_killed(chain: Chain) -> None:
    with chain.under_load() as load:
        for _ in range(2):
            chain.kill9("bridge")
            chain.restart("bridge")
            load.wait_for_receipts(200)
    chain.judge()


def test_nothing_is_lost_when_the_mqtt_broker_is_killed(chain: Chain) -> None:
    with chain.under_load() as load:
        chain.kill9("mqtt")
        chain.restart("mqtt")
        load.wait_for_receipts(300)
    chain.judge()


@pytest.mark.long
def test_nothing_is_lost_when_kafka_is_killed(chain: Chain) -> None:
    with chain.under_load() as load:
        chain.kill9("kafka")
        chain.restart("kafka")
        load.wait_for_receipts(300)
    chain.judge()


@pytest.mark.long
def test_readings_flow_on_without_one_of_three_kafka_nodes(stack_chain: Chain) -> None:
    with stack_chain.under_load() as load:
        stack_chain.kill9("kafka-2")
        load.wait_for_receipts(1000)
    stack_chain.judge()


@pytest.mark.long
@pytest.mark.timeout(400)
def test_nothing_is_lost_when_each_kafka_node_is_killed_in_turn(stack_chain: Chain) -> None:
    with stack_chain.under_load() as load:
        for node in ("kafka-1", "kafka-2", "kafka-3"):
            stack_chain.kill9(node)
            load.wait_for_receipts(500)
            stack_chain.restart(node)
    stack_chain.judge()


@pytest.mark.long
@pytest.mark.timeout(400)
def test_nothing_is_lost_when_kafka_is_gone_for_30_s(chain: Chain) -> None:
    with chain.under_load() as load:
        chain.kill9("kafka")
        time.sleep(30)  # The fault itself: so long nobody can append.
        chain.restart("kafka")
        load.wait_for_receipts(3000, within_s=120)
    chain.judge()


@pytest.mark.long
@pytest.mark.timeout(400)
def test_nothing_is_lost_when_bridge_and_brokers_die_again_and_again(chain: Chain) -> None:
    with chain.under_load(sockets=40) as load:
        for name in ("bridge", "mqtt", "kafka", "bridge", "mqtt", "bridge", "kafka"):
            chain.kill9(name)
            chain.restart(name)
            load.wait_for_receipts(200, within_s=120)
    chain.judge()
