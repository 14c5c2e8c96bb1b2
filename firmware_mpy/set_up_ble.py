"""Set-up over BLE: Improv's service, in a start of the socket that is for nothing else.

BLE and TLS together do not fit into the memory of an ESP32 without PSRAM, so BLE is left by a restart.
"""

import asyncio

import hal
from improv import (
    AUTHORIZATION_REQUIRED,
    CAN_IDENTIFY,
    CAN_SCAN,
    CAN_TELL_INFO,
    CAPABILITIES_UUID,
    COMMAND_UUID,
    ERROR_UUID,
    INVALID_RPC,
    NO_ERROR,
    PROVISIONED,
    RESULT_UUID,
    SERVICE_UUID,
    STATE_UUID,
    BadFrame,
    CommandParts,
    advertisement,
    checksum,
    unpack_ble,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from set_up import SetUp

_CAPABILITIES = CAN_IDENTIFY | CAN_TELL_INFO | CAN_SCAN
SERVER_WITHIN_MS = 30_000
ANSWERED_MS = 1_000
"""An answer needs so long to be on the air, at most."""
_POLL_S = 0.1
_WAITING_MAX = 8
# By the kinds of packets: state, error, command, result; the capabilities behind them.
_CHARACTERISTICS = (
    (STATE_UUID, False),
    (ERROR_UUID, False),
    (COMMAND_UUID, True),
    (RESULT_UUID, False),
    (CAPABILITIES_UUID, False),
)
_STATE, _RESULT, _CAPABILITY = 0, 3, 4


class BleSetUp:
    """
    Args:
        new_set_up: called with `tell` and `over_ble`; the `SetUp`.
    """

    def __init__(self, new_set_up: "Callable[..., SetUp]") -> None:
        self._waiting: list[bytes] = []
        self._parts = CommandParts()
        self._server = hal.GattServer(SERVICE_UUID, _CHARACTERISTICS, self._take, self._parts.forget)
        self._set_up = new_set_up(self._tell, True)
        self._server.set(_CAPABILITY, bytes([_CAPABILITIES]))
        self._server.set(1, bytes([NO_ERROR]))
        self._tell(_STATE + 1, bytes([AUTHORIZATION_REQUIRED]))

    def authorize(self) -> None:
        """The button was pressed."""
        self._set_up.authorize()

    async def run(self) -> None:
        """Obey until the socket has joined a Wi-Fi, and a while longer if it was not told a server before."""
        while not self._is_done():
            self._set_up.revoke_if_due()
            if self._waiting:
                await self._obey(self._waiting.pop(0))
            else:
                await asyncio.sleep(_POLL_S)

    @property
    def has_joined(self) -> bool:
        """Say whether the phone has brought the socket into a Wi-Fi: then `run` ends soon."""
        return self._set_up.state == PROVISIONED

    def _is_done(self) -> bool:
        if not self.has_joined or self._waiting:
            return False
        left_ms = ANSWERED_MS if self._set_up.knows_server else SERVER_WITHIN_MS
        return hal.ticks_diff(hal.ticks_ms(), self._set_up.obeyed_at) >= left_ms

    async def _obey(self, frame: bytes) -> None:
        try:
            command, data = unpack_ble(frame)
        except BadFrame:
            self._set_up.refuse(INVALID_RPC)
            return
        await self._set_up.obey(command, data)

    def _take(self, written: bytes) -> None:
        frame = self._parts.feed(written)
        if frame is not None and len(self._waiting) < _WAITING_MAX:
            self._waiting.append(frame)

    def _tell(self, kind: int, data: bytes) -> None:
        index = kind - 1
        try:
            self._server.set(index, data + bytes([checksum(data)]) if index == _RESULT else data)
            if index == _STATE:
                self._server.advertise(advertisement(data[0], _CAPABILITIES))
        except OSError:
            # The phone goes just now.
            return
