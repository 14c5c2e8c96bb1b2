"""The command line: help, settings, typing errors and one-line complaints."""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ops.child import ChildFailed
from ops.complaints import complaint
from ops.embedded.ports import LOOPBACK, free_ports, why_not_free
from ops.preflight import check_embedded
from ops.replay import check_plan
from ops.replay_plan import ReplayPlan, parse_shift, parse_speed
from ops.settings import Settings
from ops.settings_table import settings_listing, unknown_settings
from tests.servers import settings_from

COMMANDS = ["up", "run", "simulate", "replay", "set-up", "rebuild", "verify", "migrate", "status", "audit", "settings"]


def wattaway(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(tmp_path: Path, command: str) -> None:
    told = wattaway(tmp_path, command, "--help")
    assert told.returncode == 0
    assert f"wattaway {command}" in told.stdout
    assert "Example" in told.stdout


def test_every_setting_is_printed_with_its_description(tmp_path: Path) -> None:
    told = wattaway(tmp_path, "settings", WATTAWAY_TIME_ZONE="Europe/Berlin")
    assert told.returncode == 0
    for name, field in Settings.model_fields.items():
        assert field.description
        assert f"WATTAWAY_{name.upper()}=" in told.stdout
        assert f"# {field.description}" in told.stdout
    assert "WATTAWAY_TIME_ZONE=Europe/Berlin" in told.stdout
    assert "(default: UTC)" in told.stdout


def test_what_settings_prints_is_a_valid_env_file(tmp_path: Path) -> None:
    first = wattaway(tmp_path, "settings", WATTAWAY_API_PORT="28999").stdout
    (tmp_path / ".env").write_text(first)
    assert "WATTAWAY_API_PORT=28999" in wattaway(tmp_path, "settings").stdout


def test_a_trace_that_cannot_be_replayed_is_said_before_any_server_is_needed(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("when,device_id,power_w\n")
    for name, reason in (("trace.csv", "line 1: no column ts"), ("none.csv", "No such file")):
        told = wattaway(tmp_path, "replay", name)
        assert told.returncode == 2
        assert told.stderr.startswith(f"wattaway: {name}")
        assert reason in told.stderr


@pytest.mark.parametrize("speed", ["60", "max"])
def test_a_replay_into_the_future_is_refused_before_anything_is_opened(tmp_path: Path, speed: str) -> None:
    told = wattaway(tmp_path, "replay", "none.csv", "--speed", speed, "--shift", "now")
    assert told.returncode == 2
    assert told.stderr == "wattaway: --shift now needs --speed 1 or less: faster, the rows would lie in the future\n"


def test_the_example_of_a_replay_is_one_that_is_taken(tmp_path: Path) -> None:
    example = " ".join(wattaway(tmp_path, "replay", "--help").stdout.split()).rpartition("wattaway replay ")[2]
    speed, shift = example.partition("--speed ")[2].split()[0], example.partition("--shift ")[2].split()[0]
    check_plan(ReplayPlan(tmp_path, speed=parse_speed(speed), shift_ms=parse_shift(shift)))


def test_an_env_file_that_is_no_utf_8_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"WATTAWAY_TIME_ZONE=\xe9\n")
    told = wattaway(tmp_path, "settings")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.count("\n") == 1
    assert told.stderr.startswith("wattaway: .env: ")
    assert "UTF-8" in told.stderr


def test_secrets_are_masked() -> None:
    settings = settings_from(
        {
            "WATTAWAY_MQTT_PASSWORD": "hush-1",
            "WATTAWAY_DATABASE_URL": "mysql+pymysql://me:hush-2@db/wattaway",
            "WATTAWAY_REDIS_URL": "redis://:hush-3@cache:6379/0",
        }
    )
    listing = "\n".join(settings_listing(settings))
    assert "hush" not in listing
    assert "mysql+pymysql://me:***@db/wattaway" in listing


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("API_PORT", "99999", "less than or equal to 65535"),
        ("MQTT_PORT", "mqtt", "valid integer"),
        ("TIME_ZONE", "Europe/Atlantis", "not an IANA time zone"),
        ("KAFKA_TOPIC_PREFIX", "a b", "match pattern"),
        ("METRICS_SOURCES", "bridge:29101", "not role=host:port"),
        ("METRICS_SOURCES", "bridge=b:29101,relay=r:99999", "'relay=r:99999' is not role=host:port"),
        ("METRICS_SOURCES", "bridges=b:29101", "with one of bridge, projector"),
        ("MQTT_HOST", "", "at least 1 character"),
        ("DATABASE_URL", "hush-hush", "a database is mysql+pymysql://"),
        ("DATABASE_URL", "mysql://me:hush@db/wattaway", "a database is mysql+pymysql://"),
        ("EVENT_STORE_URL", "mysql+pymysql://me:hush@db:port/wattaway", "a database is mysql+pymysql://"),
        ("REDIS_URL", "localhost:6379", "Redis is redis://host:6379/0"),
        ("REDIS_URL", "redis://:hush@cache:port", "Redis is redis://host:6379/0"),
        ("KAFKA_BOOTSTRAP", "kafka", "'kafka' is not a host and its port"),
        ("KAFKA_BOOTSTRAP", "kafka-1:9092,kafka:abc", "'kafka:abc' is not a host and its port"),
        ("KAFKA_BOOTSTRAP", "127.0.0.1:99999", "'127.0.0.1:99999' is not a host and its port"),
        ("KAFKA_BOOTSTRAP", "", "'' is not a host and its port"),
        ("LOG_FORMAT", "xml", "'auto', 'console' or 'json'"),
    ],
)
def test_a_bad_setting_ends_the_start_with_its_name_and_the_reason(
    tmp_path: Path, name: str, value: str, reason: str
) -> None:
    told = wattaway(tmp_path, "run", "bridge", **{f"WATTAWAY_{name}": value})
    assert told.returncode == 2
    assert told.stderr.count("\n") == 1
    assert f"WATTAWAY_{name}: " in told.stderr
    assert reason in told.stderr
    assert "hush" not in told.stderr


@pytest.mark.parametrize("name", ["DATABASE_URL", "EVENT_STORE_URL"])
@pytest.mark.parametrize(
    ("path", "reason"),
    [("notes.txt", "file is not a database"), ("absent/x.db", "No such file"), ("ro.db", "readonly database")],
)
def test_a_path_that_is_no_database_is_one_line_that_names_the_setting(
    tmp_path: Path, name: str, path: str, reason: str
) -> None:
    (tmp_path / "notes.txt").write_text("eggs, flour, milk\n" * 100)
    url = f"sqlite:///{tmp_path / path}"
    if path == "ro.db":  # so that it holds for root, too, who may write everywhere
        sqlite3.connect(tmp_path / path).execute("CREATE TABLE t (n)").connection.close()
        (tmp_path / "file:ro.db?mode=ro.migrate.lock").touch()
        url = "sqlite:///file:ro.db?mode=ro&uri=true"
    told = wattaway(tmp_path, "migrate", WATTAWAY_DATA_DIR=".", **{f"WATTAWAY_{name}": url})
    assert told.returncode == 2
    assert told.stderr.count("\n") == 1
    assert told.stderr.startswith(f"wattaway: WATTAWAY_{name}: ")
    assert reason in told.stderr


def test_a_misspelt_setting_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    told = wattaway(tmp_path, "settings", WATTAWAY_MQTT_PROT="1")
    assert told.returncode == 0
    assert "WATTAWAY_MQTT_PROT is not a setting; did you mean WATTAWAY_MQTT_PORT?" in told.stderr


def test_a_misspelt_setting_in_a_file_is_told_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WATTAWAY_API_PROT=1\nOTHER=2\n")
    assert unknown_settings({}, tmp_path / ".env") == {"WATTAWAY_API_PROT": "WATTAWAY_API_PORT"}


def test_an_unknown_role_names_the_known_ones(tmp_path: Path) -> None:
    told = wattaway(tmp_path, "run", "brigde")
    assert told.returncode == 2
    for role in ("api", "bridge", "broker-accounts", "device-auth", "dispatcher", "projector", "relay"):
        assert role in told.stderr


def test_metrics_are_looked_for_where_the_settings_say() -> None:
    assert settings_from({"WATTAWAY_RELAY_METRICS_PORT": "0"}).resolved_metrics_sources() == {
        "bridge": "http://127.0.0.1:29101/metrics",
        "projector": "http://127.0.0.1:29102/metrics",
        "dispatcher": "http://127.0.0.1:29104/metrics",
    }
    assert settings_from({"WATTAWAY_METRICS_HOST": "::"}).metrics_url("relay") == "http://[::1]:29103/metrics"
    elsewhere = settings_from({"WATTAWAY_METRICS_SOURCES": "bridge=one.example:29101, relay=[fd00::2]:9"})
    assert elsewhere.resolved_metrics_sources() == {
        "bridge": "http://one.example:29101/metrics",
        "relay": "http://[fd00::2]:9/metrics",
    }


def test_a_port_in_use_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        told = wattaway(tmp_path, "up", WATTAWAY_MQTT_PORT=str(port))
    assert told.returncode == 2
    assert told.stderr.count("\n") == 1
    assert f"WATTAWAY_MQTT_PORT: port {port} on 127.0.0.1 is in use" in told.stderr
    assert not (tmp_path / ".wattaway" / "kafka").exists()


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("nowhere.invalid", "nowhere.invalid is no address of this machine"),
        ("192.0.2.1", "cannot be listened on: Cannot assign requested address"),
    ],
)
def test_a_host_that_is_not_ours_is_not_said_to_be_in_use(host: str, reason: str) -> None:
    (port,) = free_ports(1)
    assert reason in why_not_free(port, host)
    assert why_not_free(port) == ""


def test_a_port_that_only_root_may_take_is_not_said_to_be_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")  # root, who runs the tests here and there, is not

    monkeypatch.setattr("ops.embedded.ports.socket.socket.bind", denied)
    assert why_not_free(80) == "port 80 on 127.0.0.1 cannot be listened on: Permission denied; choose another one"


def test_a_number_that_is_no_port_is_said_to_be_none() -> None:
    assert why_not_free(65_536) == "port 65536 is not between 1 and 65535"


def test_the_same_port_twice_is_named() -> None:
    (port,) = free_ports(1)
    settings = settings_from({"WATTAWAY_MQTT_PORT": str(port), "WATTAWAY_API_PORT": str(port)})
    with pytest.raises(Exception, match=rf"WATTAWAY_API_PORT: port {port} is also WATTAWAY_MQTT_PORT"):
        check_embedded(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [("KAFKA_BOOTSTRAP", "kafka-1:9092"), ("KAFKA_BOOTSTRAP", "127.0.0.1:1,127.0.0.1:2"), ("MQTT_HOST", "broker")],
)
def test_up_refuses_settings_that_point_at_other_servers(name: str, value: str) -> None:
    settings = settings_from({f"WATTAWAY_{name}": value})
    with pytest.raises(Exception, match=rf"WATTAWAY_{name}: .*wattaway run ROLE"):
        check_embedded(settings)


@pytest.mark.parametrize(
    ("command", "dependency", "setting"),
    [
        ("run bridge", "kafka", "WATTAWAY_KAFKA_BOOTSTRAP"),
        ("run projector", "kafka", "WATTAWAY_KAFKA_BOOTSTRAP"),
        ("run relay", "database", "WATTAWAY_DATABASE_URL"),
        ("run api", "database", "WATTAWAY_DATABASE_URL"),
        ("migrate", "database", "WATTAWAY_DATABASE_URL"),
        ("verify", "database", "WATTAWAY_DATABASE_URL"),
    ],
)
def test_a_server_out_of_reach_is_one_line_that_says_what_to_do(
    tmp_path: Path, command: str, dependency: str, setting: str
) -> None:
    kafka, mqtt, database = free_ports(3)
    told = wattaway(
        tmp_path,
        *command.split(),
        WATTAWAY_KAFKA_BOOTSTRAP=f"{LOOPBACK}:{kafka}",
        WATTAWAY_MQTT_PORT=str(mqtt),
        WATTAWAY_DATABASE_URL=f"mysql+pymysql://ada:swordfish@{LOOPBACK}:{database}/wattaway",
        WATTAWAY_BRIDGE_METRICS_PORT="0",
        WATTAWAY_PROJECTOR_METRICS_PORT="0",
        WATTAWAY_RELAY_METRICS_PORT="0",
        WATTAWAY_LOG_LEVEL="error",
    )
    assert told.returncode == 1
    # What the Kafka client itself logs is JSON.
    (line,) = [line for line in told.stderr.splitlines() if not line.startswith("{")]
    assert line.startswith(f"wattaway: {dependency} is unavailable: ")
    assert LOOPBACK in line
    assert setting in line
    assert "swordfish" not in told.stderr


def test_a_full_disk_is_said_with_its_file() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/data/x.db")
    assert complaint(full) == "the disk is full (/data/x.db); make room, then start again"


def test_an_embedded_server_that_does_not_start_blames_no_setting() -> None:
    assert complaint(ChildFailed("kafka", "it ended with 1")) == "kafka is unavailable: it ended with 1"
