"""Every setting, once: from the environment (`WATTAWAY_…`) or a `.env` file, checked at start."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.errors import SettingInvalid
from ops.embedded.valkey import socket_path

ENV_PREFIX = "WATTAWAY_"
ENV_FILE = ".env"


class Settings(BaseSettings):
    """The defaults are those of the embedded servers that `wattaway up` starts."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_file=ENV_FILE, extra="ignore", frozen=True)

    data_dir: Path = Field(Path(".wattaway"), description="Where the embedded servers and secrets live.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="`auto`: readable in a terminal, else JSON."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")

    mqtt_host: str = Field("127.0.0.1", description="MQTT broker.")
    mqtt_port: int = Field(21883, ge=1, le=65535, description="MQTT broker's port.")
    mqtt_username: str = Field("bridge", description="The bridge's MQTT user.")
    mqtt_password: SecretStr = Field(SecretStr(""), description="The bridge's MQTT password.")
    mqtt_client_id: str = Field("wattaway-bridge", description="Names the bridge's persistent session; one per bridge.")

    kafka_bootstrap: str = Field("127.0.0.1:29092", description="Kafka brokers, host:port separated by commas.")
    kafka_topic_prefix: str = Field("", pattern=r"^[A-Za-z0-9._-]{0,64}$", description="Put before every topic name.")
    kafka_partitions: int = Field(4, ge=1, le=256, description="Partitions of a topic when it is created.")
    kafka_replication: int = Field(1, ge=1, le=7, description="Replicas of a topic when it is created.")

    embedded_kafka_controller_port: int = Field(
        29093, ge=1, le=65535, description="The embedded Kafka's controller; its clients' port is in kafka_bootstrap."
    )
    embedded_nats_port: int = Field(
        24222, ge=1, le=65535, description="The embedded NATS's own port, over which it asks who may connect."
    )

    database_url: SecretStr = Field(
        SecretStr(""),
        description="SQLAlchemy URL: mysql+pymysql://… or sqlite:///…; empty: SQLite in the data dir.",
    )
    redis_url: SecretStr = Field(
        SecretStr(""), description="redis://… or unix://…; empty: the embedded Valkey in the data dir."
    )
    redis_prefix: str = Field("wattaway:", description="Put before every Redis key and channel.")

    api_host: str = Field("127.0.0.1", description="Where the API listens; beyond loopback only if you say so.")
    api_port: int = Field(28080, ge=1, le=65535, description="The API's port.")
    bridge_metrics_port: int = Field(29101, ge=0, le=65535, description="Prometheus port of the bridge (0: none).")
    projector_metrics_port: int = Field(
        29102, ge=0, le=65535, description="Prometheus port of the projector (0: none)."
    )

    time_zone: str = Field("UTC", description="IANA zone in which a day begins at midnight, such as Europe/Berlin.")
    reading_max_age_days: int = Field(7300, ge=1, description="Older readings become dead letters.")
    offline_after_s: int = Field(300, ge=5, description="A device that said nothing for so long is shown offline.")
    receipt_interval_ms: int = Field(1000, ge=10, description="How often the bridge tells devices what is in the log.")
    projector_instance: str = Field("projector-1", description="Names one projector; a second one needs another name.")

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{name!r} is not an IANA time zone") from error
        return name

    def resolved_database_url(self) -> str:
        return self.database_url.get_secret_value() or f"sqlite:///{self.data_dir.resolve() / 'wattaway.db'}"

    def database_kind(self) -> str:
        """`sqlite`, `mysql`, …: what the database is, without its credentials."""
        return self.resolved_database_url().split(":", 1)[0].split("+", 1)[0]

    def resolved_redis_url(self) -> str:
        return self.redis_url.get_secret_value() or f"unix://{socket_path(self.data_dir)}"


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process; what the command line says comes first.

    Raises:
        SettingInvalid: names each wrong setting and says why.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        wrong = [f"{ENV_PREFIX}{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        raise SettingInvalid("; ".join(wrong)) from None
