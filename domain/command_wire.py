"""Commands on the wire, engine → socket, exactly as docs/protocol.md says."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from domain.clock import to_ms
from domain.errors import PayloadRejected
from domain.lifecycle.commands import CommandType, Order, Reference
from domain.lifecycle.devices import DeviceConfiguration
from domain.strict_json import decode_strict_json
from domain.wire import MAX_PAYLOAD_BYTES, AtMs

MEMBERS_OF: dict[str, tuple[str, ...]] = {
    "switch": ("relay",),
    "configure": ("config", "version"),
    "calibrate": ("reference",),
}
"""What a type needs besides `id`, `type` and `expires_at`."""


class WireCommand(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a socket shall do, once, unless it has expired."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    type: CommandType
    relay: bool | None = None
    config: DeviceConfiguration | None = None
    version: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    reference: Reference | None = None
    expires_at: AtMs

    def __post_init__(self) -> None:
        for name in MEMBERS_OF.get(self.type, ()):
            if getattr(self, name) is None:
                raise ValueError(f"`{self.type}` needs `{name}`")


_encode = msgspec.json.Encoder().encode


def encode_command(command: WireCommand) -> bytes:
    return _encode(command)


def wire_command(command_id: UUID, order: Order, expires_at: datetime) -> WireCommand:
    """An order as its socket gets it."""
    return WireCommand(
        id=str(command_id),
        type=order.type,
        relay=order.relay,
        config=order.config,
        version=order.config_version,
        reference=order.reference,
        expires_at=to_ms(expires_at),
    )


def decode_command(payload: bytes) -> WireCommand:
    """A command as a socket reads it; members that it does not know are ignored.

    Raises:
        PayloadRejected: too large, not JSON, of an unknown type, or a member is missing or wrong.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadRejected("too_large", f"{len(payload)} bytes are more than {MAX_PAYLOAD_BYTES}")
    try:
        return msgspec.convert(decode_strict_json(payload), WireCommand)
    except msgspec.ValidationError as error:
        raise PayloadRejected("schema", str(error)) from error
