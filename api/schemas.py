"""The answers as OpenAPI describes them; the routes send bytes, and a test holds those against these models."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from api.buckets import Resolution
from domain.device_ids import DEVICE_ID_PATTERN


class Answer(BaseModel):
    """Exactly these members."""

    model_config = ConfigDict(extra="forbid")


class Reading(Answer):
    """The newest reading of a device: the document of topic `wattaway.readings.v1`. Absent members were not sent."""

    device_id: str = Field(pattern=DEVICE_ID_PATTERN, examples=["kitchen-kettle"])
    boot: str = Field(description="Random at each start of the device.", examples=["9f3a61c2"])
    seq: int = Field(description="Counts readings since `boot`.", examples=[17])
    measured_at: datetime
    received_at: datetime
    power_w: float = Field(examples=[98.2])
    voltage_v: float | None = Field(None, examples=[230.1])
    current_a: float | None = Field(None, examples=[0.431])
    energy_wh: float | None = Field(None, description="The device's lifetime counter.", examples=[123456.789])
    relay: bool | None = Field(None, description="Whether the socket is switched on.")
    temperature_c: float | None = Field(None, examples=[41.2])
    rssi_dbm: int | None = Field(None, examples=[-61])
    up_ms: int | None = Field(None, description="Set if the device had no clock: `measured_at` is then an estimate.")


class Device(Answer):
    """A device, whether it is there, and what it said last."""

    device_id: str = Field(examples=["kitchen-kettle"])
    name: str | None = Field(description="Null if it was forgotten together with its tenant.")
    location: str | None
    tenant_id: str
    may: list[str] = Field(description="What you may do with it, of the policy's `device.…`; some ask for a password.")
    config_desired_version: int = Field(description="0: it was never configured. Compare with `config`.")
    online: bool = Field(description="It said so, or a reading came after its goodbye, and it was heard lately.")
    last_seen_at: datetime | None
    first_seen_at: datetime | None = Field(description="Null: registered, and not heard of yet.")
    boot: str | None
    firmware: str | None
    config: int | None = Field(description="The configuration's version that the device has reported.")
    latest: Reading | None


Item = TypeVar("Item")


class Page(Answer, Generic[Item]):
    """Some items; `next_cursor` fetches the next ones and is null on the last page."""

    items: list[Item]
    next_cursor: str | None


class LatestReadings(Answer):
    """The newest reading of each device asked for."""

    items: list[Reading]
    missing: list[str] = Field(description="Devices without a reading.")


class RawPoint(Answer):
    """One reading."""

    at: datetime
    power_w: float
    voltage_v: float | None
    current_a: float | None
    energy_wh: float | None = Field(description="The device's lifetime counter.")
    relay: bool | None
    temperature_c: float | None
    rssi_dbm: int | None
    boot: str
    seq: int


class BucketPoint(Answer):
    """The readings from `at` until the next bucket."""

    at: datetime
    power_mean_w: float = Field(description="Mean of the readings.")
    power_min_w: float
    power_max_w: float
    energy_wh: float | None = Field(description="Used in this bucket: the counter's steps, without resets and gaps.")
    readings: int


class Series(Answer):
    """Points by time from `from` up to, but without, `to`; buckets without readings are left out."""

    device_id: str
    resolution: Resolution
    from_: datetime = Field(alias="from")
    to: datetime
    time_zone: str = Field(description="A bucket of `1d` begins at midnight here.", examples=["Europe/Berlin"])
    next_cursor: str | None
    points: list[BucketPoint] | list[RawPoint]


class Day(Answer):
    """One local day of a device."""

    day: date
    starts_at: datetime
    ends_at: datetime
    energy_wh: float | None
    power_mean_w: float = Field(description="Mean of the readings.")
    power_min_w: float
    power_max_w: float
    readings: int
    coverage: float = Field(ge=0, le=1, description="Share of the day's quarter hours so far that hold a reading.")
    first_at: datetime
    last_at: datetime
    computed_at: datetime = Field(description="Days that are over may be up to 10 min old.")


class Daily(Answer):
    """Daily statistics; days without readings are left out."""

    device_id: str
    time_zone: str
    items: list[Day]


class Fleet(Answer):
    """The devices that you may see, at most a few seconds old."""

    at: datetime
    time_zone: str
    devices: int
    online: int
    power_w: float = Field(description="Sum of the newest readings of the devices that are online.")
    energy_today_wh: float = Field(description="Since local midnight.")
    dead_letters: int | None = Field(description="For the site's admins; null for others.")
    dead_letters_24h: int | None
    readings_per_min: float | None = Field(description="As projected in the last minute; null just after a start.")


class DeadLetter(Answer):
    """Input that could not be taken."""

    topic: str = Field(description="`dead-letters`, or the topic of a record that could not be projected.")
    partition: int
    offset: int
    received_at: datetime
    device_id: str | None
    boot: str | None
    seq: int | None
    reason: str = Field(examples=["clock_ahead"])
    detail: str
    origin: str = Field(examples=["mqtt:devices/kitchen-kettle/data"])
    raw_bytes: int = Field(description="How many bytes came.")
    raw_url: str = Field(description="Where those bytes are.")


class WrongParameter(Answer):
    """One parameter and what is wrong with it."""

    parameter: str
    detail: str


class Problem(Answer):
    """RFC 9457."""

    type: str = Field(examples=["/problems/unknown-device"])
    title: str
    status: int
    detail: str
    instance: str
    errors: list[WrongParameter] | None = None
    dependency: str | None = None


class DependencyState(Answer):
    """Whether a server behind the API answers."""

    name: str
    ok: bool
    latency_ms: float
    detail: str


class Readiness(Answer):
    """Whether every dependency answers; each one, for the site's admins."""

    status: Literal["ready", "unavailable"]
    dependencies: list[DependencyState]


class Health(Answer):
    """The process runs."""

    status: Literal["ok"]


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of the problem documents that a route may answer with."""
    texts = {
        400: "Malformed request",
        401: "Nobody knows who asks; see WWW-Authenticate",
        403: "The asker may not do that, or not so",
        404: "Nothing is there, or nothing that the asker may see",
        406: "No such representation",
        409: "What is forbids it now",
        413: "The body is too large",
        415: "Not a kind of body that is taken",
        416: "There is no such part; see Content-Range",
        422: "A parameter is wrong",
        429: "Too often; see Retry-After",
        503: "A server behind the API is away; see Retry-After",
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": texts[status], "content": {"application/problem+json": {"schema": schema}}}
        for status in statuses
    }


def json_answer(model: type[BaseModel], example: object) -> dict[str, Any]:
    """The OpenAPI entry of a JSON answer with an example."""
    return {"model": model, "content": {"application/json": {"example": example}}}
