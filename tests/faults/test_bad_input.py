"""Doubles and poison harm nobody: each reading counts once, each poisoned byte is kept as a dead letter."""

from __future__ import annotations

import pytest

from tests.faults.chain import Chain
from tests.faults.mischief import append_poison_records, send_each_reading_three_times, send_five_percent_poison
from tests.faults.oracle import dead_letters, refused_bytes, wait_until_logged

pytestmark = pytest.mark.faults


def test_readings_sent_three_times_count_once(chain: Chain) -> None:
    with chain.under_load():
        sent = send_each_reading_three_times(chain.world, 200)
    wait_until_logged(chain.world, sent.good)
    chain.judge()


def test_five_percent_poison_becomes_dead_letters_and_the_rest_flows_on(chain: Chain) -> None:
    with chain.under_load():
        sent = send_five_percent_poison(chain.world, 600)
    wait_until_logged(chain.world, sent.good)
    chain.judge()
    assert {letter.raw_bytes() for letter in dead_letters(chain.world)} == sent.poison
    assert sorted(refused_bytes(chain.world)) == sorted(sent.poison)


@pytest.mark.long_on_stack
def test_foreign_records_in_the_log_become_dead_letters_and_the_rest_flows_on(chain: Chain) -> None:
    with chain.under_load() as load:
        poison = append_poison_records(chain.world, 50)
        load.wait_for_receipts(200)
    chain.judge()
    assert sorted(refused_bytes(chain.world)) == sorted(poison)
