"""Every setting, once: from the environment (`WATTAWAY_…`) or a `.env` file, checked at start."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.errors import SettingInvalid
from ops.embedded.valkey import socket_path

ENV_PREFIX = "WATTAWAY_"
ENV_FILE = ".env"
METRICS_ROLES = ("bridge", "projector", "relay", "dispatcher")
"""Those that serve metrics of their own, each on its `…_metrics_port`."""
_DRIVERS = ("mysql+pymysql", "mariadb+pymysql", "sqlite", "sqlite+pysqlite")


class Settings(BaseSettings):
    """The defaults are those of the embedded servers that `wattaway up` starts."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_file=ENV_FILE, extra="ignore", frozen=True)

    data_dir: Path = Field(Path(".wattaway"), description="Where the embedded servers and secrets live.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="`auto`: readable in a terminal, else JSON."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")

    mqtt_host: str = Field("127.0.0.1", min_length=1, description="MQTT broker.")
    mqtt_port: int = Field(21883, ge=1, le=65535, description="MQTT broker's port.")
    mqtt_tls_ca: str = Field(
        "", description="PEM file of who signed the MQTT broker's certificate; empty: it is asked without TLS."
    )
    mqtt_tls_certificate: str = Field("", description="PEM file of the embedded MQTT broker's chain; empty: no TLS.")
    mqtt_tls_key: str = Field("", description="PEM file of that certificate's private key.")
    mqtt_username: str = Field("bridge", description="The bridge's MQTT user.")
    mqtt_password: SecretStr = Field(SecretStr(""), description="The bridge's MQTT password.")
    mqtt_client_id: str = Field("wattaway-bridge", description="Names the bridge's persistent session; one per bridge.")
    mqtt_dispatcher_username: str = Field("dispatcher", description="The dispatcher's MQTT user.")
    mqtt_dispatcher_password: SecretStr = Field(SecretStr(""), description="The dispatcher's MQTT password.")
    mqtt_dispatcher_client_id: str = Field("wattaway-dispatcher", description="One per dispatcher.")

    mosquitto_passwords: str = Field(
        "", description="Mosquitto's password file, which `wattaway run broker-accounts` keeps; empty: it keeps none."
    )
    mosquitto_acl: str = Field("", description="Mosquitto's ACL file, which the same role keeps.")
    mosquitto_pid_file: str = Field("", description="Where Mosquitto writes its process id: the role sends it SIGHUP.")

    kafka_bootstrap: str = Field("127.0.0.1:29092", description="Kafka brokers, host:port separated by commas.")
    kafka_topic_prefix: str = Field("", pattern=r"^[A-Za-z0-9._-]{0,64}$", description="Put before every topic name.")
    kafka_partitions: int = Field(4, ge=1, le=256, description="Partitions of a topic when it is created.")
    kafka_replication: int = Field(1, ge=1, le=7, description="Replicas of a topic when it is created.")

    embedded_kafka_controller_port: int = Field(
        29093, ge=1, le=65535, description="The embedded Kafka's controller; its clients' port is in kafka_bootstrap."
    )
    embedded_mqtt_listen: Literal["127.0.0.1", "0.0.0.0", "::"] = Field(  # noqa: S104
        "127.0.0.1",
        description="Where the embedded MQTT broker lets sockets in; beyond loopback (`0.0.0.0`, `::`) if you say so.",
    )
    embedded_nats_port: int = Field(
        24222, ge=1, le=65535, description="The embedded NATS's own port, over which it asks who may connect."
    )

    database_url: SecretStr = Field(
        SecretStr(""),
        description="SQLAlchemy URL: mysql+pymysql://… or sqlite:///…; empty: SQLite in the data dir.",
    )
    event_store_url: SecretStr = Field(
        SecretStr(""),
        description="The event store's SQLAlchemy URL; empty: a SQLite file of its own in the data dir, or the "
        "read models' database where that is no SQLite.",
    )
    master_key: SecretStr = Field(
        SecretStr(""),
        description="64 hex digits that wrap the keys of personal data; empty: made once in the data dir.",
    )
    redis_url: SecretStr = Field(
        SecretStr(""), description="redis://… or unix://…; empty: the embedded Valkey in the data dir."
    )
    redis_prefix: str = Field("wattaway:", description="Put before every Redis key and channel.")

    api_host: str = Field(
        "127.0.0.1", min_length=1, description="Where the API listens; beyond loopback only if you say so."
    )
    api_port: int = Field(28080, ge=1, le=65535, description="The API's port.")
    api_tls_certificate: str = Field("", description="PEM file of the API's certificate chain; empty: plain HTTP.")
    api_tls_key: str = Field("", description="PEM file of that certificate's private key.")
    trusted_proxies: str = Field(
        "", description="Addresses or networks, separated by commas, whose X-Forwarded-For and -Proto are believed."
    )
    cors_origins: str = Field(
        "", description="Origins, separated by commas, whose pages may use the API with a token; never with a cookie."
    )
    sign_up: Literal["open", "invitation", "closed"] = Field(
        "invitation", description="Who may sign up after the first user: everybody, whoever is invited, nobody."
    )
    rate_limit_tokens: str = Field("60000/minute", description="Requests of one API token.")
    rate_limit_users: str = Field("6000/minute", description="Requests of one user's sessions.")
    rate_limit_devices: str = Field("600/minute", description="HTTP requests of one device.")
    rate_limit_strangers: str = Field("3000/minute", description="Requests of one address that says not who it is.")
    rate_limit_sign_in: str = Field("20/minute", description="Passwords shown by one address.")
    rate_limit_sign_up: str = Field(
        "10/hour", description="Emails that one address or user may try: sign-ups, changes, and shares with nobody."
    )
    rate_limit_set_up: str = Field("10/minute", description="Set-up codes tried by one address.")
    metrics_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Where roles show their metrics, to whoever asks there; beyond loopback only if you say so.",
    )
    metrics_sources: str = Field(
        "",
        description="Roles on other machines whose metrics the API's /metrics shows as well, one of each: "
        "role=host:port, separated by commas; empty: those of this machine.",
    )
    bridge_metrics_port: int = Field(29101, ge=0, le=65535, description="Prometheus port of the bridge (0: none).")
    projector_metrics_port: int = Field(
        29102, ge=0, le=65535, description="Prometheus port of the projector (0: none)."
    )
    relay_metrics_port: int = Field(29103, ge=0, le=65535, description="Prometheus port of the relay (0: none).")
    dispatcher_metrics_port: int = Field(
        29104, ge=0, le=65535, description="Prometheus port of the dispatcher (0: none)."
    )

    firmware_keys: str = Field(
        "", description="PEM file of the public keys whose signed firmware may be published; empty: none may."
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

    @field_validator("database_url", "event_store_url")
    @classmethod
    def _a_database(cls, url: SecretStr) -> SecretStr:
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            driver = make_url(url.get_secret_value()).drivername if url.get_secret_value() else "sqlite"
        except (ArgumentError, ValueError):  # whose message may hold the password
            driver = ""
        if driver not in _DRIVERS:
            raise ValueError("a database is mysql+pymysql://user:password@host/name or sqlite:///path")
        return url

    @field_validator("redis_url")
    @classmethod
    def _a_redis(cls, url: SecretStr) -> SecretStr:
        from redis import Redis

        try:
            Redis.from_url(url.get_secret_value() or "redis://")
        except ValueError:
            raise ValueError("Redis is redis://host:6379/0, rediss://… or unix:///path") from None
        return url

    @field_validator("kafka_bootstrap")
    @classmethod
    def _brokers(cls, text: str) -> str:
        for one in listed(text) or ("",):
            if not _is_address(one):
                raise ValueError(f"{one!r} is not a host and its port such as kafka-1:9092")
        return text

    @field_validator("master_key")
    @classmethod
    def _a_key(cls, key: SecretStr) -> SecretStr:
        if key.get_secret_value() and not re.fullmatch("[0-9a-fA-F]{64}", key.get_secret_value()):
            raise ValueError("a key is 64 hex digits")
        return key

    @field_validator(
        "rate_limit_tokens",
        "rate_limit_users",
        "rate_limit_devices",
        "rate_limit_strangers",
        "rate_limit_sign_in",
        "rate_limit_sign_up",
        "rate_limit_set_up",
    )
    @classmethod
    def _a_rate(cls, rate: str) -> str:
        if not re.fullmatch("[1-9][0-9]{0,8} ?/ ?(second|minute|hour|day)", rate):
            raise ValueError(f"{rate!r} is not a rate such as 600/minute")
        return rate

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, text: str) -> str:
        for one in listed(text):
            ip_network(one)
        return text

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, text: str) -> str:
        for one in listed(text):
            if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]+", one):
                raise ValueError(f"{one!r} is not an origin such as https://example.org")
        return text

    @field_validator("metrics_sources")
    @classmethod
    def _sources(cls, text: str) -> str:
        for one in listed(text):
            role, _, address = one.partition("=")
            if role not in METRICS_ROLES or not _is_address(address):
                raise ValueError(f"{one!r} is not role=host:port, with one of {', '.join(METRICS_ROLES)}")
        return text

    @property
    def api_url(self) -> str:
        """Where this machine reaches the API."""
        return f"{'https' if self.api_tls_certificate else 'http'}://{_reached(self.api_host)}:{self.api_port}"

    def metrics_url(self, role: str) -> str:
        """Where this machine reaches the metrics of a role that runs on it; empty: it has none."""
        port = getattr(self, f"{role}_metrics_port")
        return f"http://{_reached(self.metrics_host)}:{port}/metrics" if port else ""

    def resolved_metrics_sources(self) -> dict[str, str]:
        """The URLs of the metrics that the API shows beside its own, by role."""
        chosen = dict(one.split("=", 1) for one in listed(self.metrics_sources))
        urls = {role: f"http://{address}/metrics" for role, address in chosen.items()}
        return urls or {role: url for role in METRICS_ROLES if (url := self.metrics_url(role))}

    def resolved_database_url(self) -> str:
        return self.database_url.get_secret_value() or f"sqlite:///{self.data_dir.resolve() / 'wattaway.db'}"

    def resolved_event_store_url(self) -> str:
        if chosen := self.event_store_url.get_secret_value():
            return chosen
        if self.database_kind() != "sqlite":
            return self.resolved_database_url()
        # A file of its own: SQLite lets one transaction write at a time, and the projector's are long.
        return f"sqlite:///{self.data_dir.resolve() / 'events.db'}"

    def database_kind(self) -> str:
        """`sqlite`, `mysql`, …: what the database is, without its credentials."""
        return self.resolved_database_url().split(":", 1)[0].split("+", 1)[0]

    def resolved_redis_url(self) -> str:
        return self.redis_url.get_secret_value() or f"unix://{socket_path(self.data_dir)}"


def _reached(host: str) -> str:
    """The host of a URL under which this machine reaches what listens there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{host}]" if ":" in host else host


def _is_address(text: str) -> bool:
    """Whether it is a host and its port."""
    host, _, port = text.rpartition(":")
    return bool(re.fullmatch(r"[^=/\s]+", host) and re.fullmatch("[0-9]{1,5}", port)) and 1 <= int(port) <= 65535


def listed(text: str) -> tuple[str, ...]:
    """The parts of a setting that are separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process; what the command line says comes first.

    Raises:
        SettingInvalid: names each wrong setting and says why.
    """
    try:
        return Settings(**overrides)
    except UnicodeDecodeError as error:
        raise SettingInvalid(f"{ENV_FILE}: {error}; write it in UTF-8") from None
    except ValidationError as error:
        wrong = [f"{ENV_PREFIX}{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        raise SettingInvalid("; ".join(wrong)) from None
