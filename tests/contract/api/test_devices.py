"""Devices and latest readings: the same right answer with Redis, without it, and while it is being refilled."""

from __future__ import annotations

import msgspec
import pytest

from api.schemas import Device, LatestReadings, Page, Reading
from tests.contract.api.conftest import NOW_MS
from tests.contract.api.corner import ApiCorner, reading


def add_fleet(api: ApiCorner, count: int) -> list[str]:
    names = [f"socket-{number:03d}" for number in range(count)]
    for number, name in enumerate(names):
        api.add_device(name, online=True, presence_at_ms=NOW_MS - 5_000)
        api.add_readings(name, [reading(NOW_MS - 1000 * back, 1000 * number + back) for back in (20, 10, 1)])
    return names


async def test_latest_is_the_document_of_the_log_byte_for_byte(api: ApiCorner) -> None:
    api.add_device("kettle")
    api.add_readings("kettle", [reading(NOW_MS - 10_000, 5), reading(NOW_MS - 1_000, 98_200, relay=1, energy_mwh=7)])
    document = await api.show_latest("kettle")
    answer = await api.client.get("/api/v1/devices/kettle/latest")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.content == document
    assert Reading.model_validate_json(document).power_w == 98.2


async def test_after_flushall_the_answers_are_the_same(api: ApiCorner) -> None:
    names = add_fleet(api, 5)
    for name in names:
        await api.show_latest(name)
    paths = ["devices", "devices/socket-003", "devices/socket-003/latest"]
    before = [await api.get(path) for path in paths]
    await api.redis.flushall()
    assert [await api.get(path) for path in paths] == before


async def test_a_half_filled_redis_is_not_believed(api: ApiCorner) -> None:
    """After FLUSHALL an old reading from a backlog may be written before the views are refilled."""
    api.add_device("kettle")
    api.add_readings("kettle", [reading(NOW_MS - 60_000, 1)])
    await api.show_latest("kettle", complete=False)
    api.add_readings("kettle", [reading(NOW_MS - 1_000, 2)])
    assert (await api.get("devices/kettle/latest"))["power_w"] == 0.002


async def test_latest_of_many_names_those_without_a_reading(api: ApiCorner) -> None:
    add_fleet(api, 2)
    api.add_device("silent")
    answer = await api.get("latest", device=["socket-001", "silent", "nobody", "socket-001"])
    LatestReadings.model_validate(answer)
    assert [item["device_id"] for item in answer["items"]] == ["socket-001"]
    assert answer["missing"] == ["silent", "nobody"]


async def test_devices_come_by_id_in_pages_that_fit_together(api: ApiCorner) -> None:
    names = add_fleet(api, 7)
    seen, cursor = [], ""
    while cursor is not None:
        answer = await api.get("devices", limit=3, **({"cursor": cursor} if cursor else {}))
        Page[Device].model_validate(answer)
        seen += [item["device_id"] for item in answer["items"]]
        cursor = answer["next_cursor"]
    assert seen == names


async def test_the_online_filter_pages_through_matching_devices_only(api: ApiCorner) -> None:
    names = add_fleet(api, 9)
    for name in ("off-1", "off-2", "off-3"):
        api.add_device(name, online=False, presence_at_ms=NOW_MS)
    seen, cursor = [], ""
    while cursor is not None:
        answer = await api.get("devices", limit=3, online="true", **({"cursor": cursor} if cursor else {}))
        seen += answer["items"]
        cursor = answer["next_cursor"]
    assert [item["device_id"] for item in seen] == names
    assert all(item["online"] for item in seen)
    gone = await api.get("devices", online="false")
    assert [item["device_id"] for item in gone["items"]] == ["off-1", "off-2", "off-3"]


@pytest.mark.parametrize(
    ("online", "presence_age_s", "reading_age_s", "expected"),
    [
        (True, 10, None, True),
        (True, 10_000, 10, True),
        (True, 10_000, 10_000, False),
        (False, 10, 20, False),
        (False, 20, 10, True),
        (None, None, 10, True),
        (None, None, 301, False),
        (False, 10, None, False),
    ],
)
async def test_online_means_not_gone_and_heard_lately(
    api: ApiCorner, online: bool | None, presence_age_s: int | None, reading_age_s: int | None, expected: bool
) -> None:
    presence_at = None if presence_age_s is None else NOW_MS - 1000 * presence_age_s
    api.add_device("socket", online=online, presence_at_ms=presence_at, firmware="1.4.0", config=7)
    if reading_age_s is not None:
        received_at = NOW_MS - 1000 * reading_age_s
        api.add_readings("socket", [reading(received_at - 50, 1, received_at_ms=received_at)])
    answer = await api.get("devices/socket")
    Device.model_validate(answer)
    assert answer["online"] is expected
    assert answer["firmware"] == "1.4.0"


async def test_unknown_and_silent_devices_are_told_apart(api: ApiCorner) -> None:
    api.add_device("silent")
    assert (await api.get("devices/silent/latest", status=404))["type"] == "/problems/no-reading"
    assert (await api.get("devices/nobody/latest", status=404))["type"] == "/problems/unknown-device"
    for path in ("devices/nobody", "devices/nobody/readings", "devices/nobody/daily"):
        assert (await api.get(path, status=404))["type"] == "/problems/unknown-device"


async def test_fleet_adds_up_who_is_online(api: ApiCorner) -> None:
    for name in add_fleet(api, 3):
        await api.show_latest(name)
    api.add_device("gone", online=False, presence_at_ms=NOW_MS)
    api.add_readings(
        "gone", [reading(NOW_MS - 3_600_000, 50_000, energy_mwh=100), reading(NOW_MS - 3_000_000, 1, energy_mwh=900)]
    )
    answer = await api.get("fleet")
    assert (answer["devices"], answer["online"]) == (4, 3)
    assert answer["power_w"] == pytest.approx(3.003)
    assert answer["energy_today_wh"] == pytest.approx(0.8)
    assert answer["time_zone"] == "Europe/Berlin"


async def test_redis_documents_are_not_rewritten(api: ApiCorner) -> None:
    """What stands in Redis is shown as it stands there, further members and all."""
    api.add_device("kettle")
    api.add_readings("kettle", [reading(NOW_MS, 1)])
    document = msgspec.json.encode({**msgspec.json.decode(await api.show_latest("kettle")), "up_ms": 5})
    await api.redis.hset(f"{api.prefix}latest", "kettle", document)
    assert (await api.client.get("/api/v1/devices/kettle/latest")).content == document
