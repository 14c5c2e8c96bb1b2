"""Obeys Improv's commands, whatever they come by: joins the Wi-Fi that it is told, and keeps that with the server's.

Over BLE the standard's authorization is a press of the button, which holds for a minute. A cable is authorization
enough.

Source: improv-wifi.com, "Improv via BLE" (2.4) and "Improv via Serial" (1).
"""

import asyncio

import hal
from access import BadAccess, server_members, wifi_members
from improv import (
    AUTHORIZATION_REQUIRED,
    AUTHORIZED,
    ERROR_PACKET,
    IDENTIFY,
    INVALID_RPC,
    NO_ERROR,
    NOT_AUTHORIZED,
    PROVISIONED,
    PROVISIONING,
    REQUEST_INFO,
    REQUEST_NETWORKS,
    RESULT_PACKET,
    SEND_CA,
    SEND_SERVER,
    SEND_WIFI,
    STATE_PACKET,
    UNABLE_TO_CONNECT,
    UNKNOWN_ERROR,
    UNKNOWN_RPC,
    BadFrame,
    pack_networks,
    pack_rpc,
    pack_strings,
    unpack_strings,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from access import Access
    from hal import Wifi

AUTHORIZED_FOR_MS = 60_000
JOIN_WITHIN_MS = 20_000
_POLL_S = 0.1
_CA_MAX = 3_000


class SetUp:
    """
    Args:
        access: keeps what it is told (`Access`).
        wifi: of the HAL.
        info: firmware's name, its version, the board's name, the socket's name; bytes.
        identify: called to make the socket show itself.
        tell: called with a kind of packet and its data; results without checksum.
        is_load_on: whether a load is on that the protection must be there for.
        over_ble: by BLE, where a button is needed, and command 2 means something else than over serial.

    Attributes:
        state: the standard's.
        knows_server: whether it was told a server in this session.
        obeyed_at: ticks when the last command ended.
    """

    def __init__(
        self,
        access: "Access",
        wifi: "Wifi",
        info: list,
        identify: "Callable[[], None]",
        tell: "Callable[[int, bytes], None]",
        is_load_on: "Callable[[], bool]",
        over_ble: bool,
    ) -> None:
        self._access, self._wifi, self._info = access, wifi, info
        self._identify, self._tell, self._is_load_on, self._over_ble = identify, tell, is_load_on, over_ble
        self._authorized_at = self.obeyed_at = 0
        self.knows_server = False
        self._ca = b""
        self.state = AUTHORIZATION_REQUIRED if over_ble else AUTHORIZED
        if not over_ble and access.knows_wifi and wifi.is_connected():
            self.state = PROVISIONED

    def authorize(self) -> None:
        """The button was pressed."""
        self._authorized_at = hal.ticks_ms()
        if self.state == AUTHORIZATION_REQUIRED:
            self._enter(AUTHORIZED)

    def revoke_if_due(self) -> None:
        """Take back an authorization that nobody has used; look often."""
        if not self._over_ble or self.state != AUTHORIZED:
            return
        if hal.ticks_diff(hal.ticks_ms(), self._authorized_at) >= AUTHORIZED_FOR_MS:
            self._enter(AUTHORIZATION_REQUIRED)

    async def obey(self, command: int, data: bytes) -> None:
        """Do a command, and tell what came of it."""
        self._tell(ERROR_PACKET, bytes([NO_ERROR]))
        try:
            error = await self._do(command, data)
        except (BadFrame, BadAccess):
            error = INVALID_RPC
        except (OSError, ValueError, MemoryError):
            error = UNKNOWN_ERROR
        if error:
            self.refuse(error)
        self.obeyed_at = hal.ticks_ms()

    def refuse(self, error: int) -> None:
        """Tell an error of the standard."""
        self._tell(ERROR_PACKET, bytes([error]))

    async def _do(self, command: int, data: bytes) -> int:
        if command in (SEND_WIFI, SEND_SERVER, SEND_CA):
            if self.state == AUTHORIZATION_REQUIRED:
                return NOT_AUTHORIZED
            if command == SEND_WIFI:
                return await self._take_wifi(wifi_members(unpack_strings(data)))
            return self._take_server(unpack_strings(data)) if command == SEND_SERVER else self._take_ca(data)
        if command not in (IDENTIFY, REQUEST_INFO, REQUEST_NETWORKS):
            return UNKNOWN_RPC
        if data:
            return INVALID_RPC
        if command == REQUEST_INFO:
            self._answer(command, self._info)
        elif command == REQUEST_NETWORKS:
            if self._is_load_on():
                # The radio looks for 2 s, in which no protection runs.
                return NOT_AUTHORIZED
            self._tell_networks(self._wifi.scan())
        elif self._over_ble:
            self._identify()
        else:
            self._enter(self.state)
            if self.state == PROVISIONED:
                self._answer(SEND_WIFI, self._links())
        return NO_ERROR

    async def _take_wifi(self, members: dict) -> int:
        before = self._access.members
        self._enter(PROVISIONING)
        if not await self._join(members):
            self._authorized_at = hal.ticks_ms()
            self._enter(AUTHORIZED)
            if self._access.knows_wifi:
                self._wifi.connect(before["ssid"], before["password"])
            else:
                self._wifi.stop()
            return UNABLE_TO_CONNECT
        self._access.keep(members)
        self._enter(PROVISIONED)
        self._answer(SEND_WIFI, self._links())
        return NO_ERROR

    async def _join(self, members: dict) -> bool:
        try:
            self._wifi.connect(members["ssid"], members["password"])
        except OSError:
            return False
        began = hal.ticks_ms()
        while hal.ticks_diff(hal.ticks_ms(), began) < JOIN_WITHIN_MS:
            if self._wifi.is_connected():
                return True
            await asyncio.sleep(_POLL_S)
        return False

    def _take_server(self, strings: list) -> int:
        members = server_members(strings)
        ca, self._ca = self._ca, b""
        if ca:
            members["ca"] = _certificate(ca)
        self._access.keep(members)
        self.knows_server = True
        self._answer(SEND_SERVER, [])
        return NO_ERROR

    def _take_ca(self, data: bytes) -> int:
        """Hold a part of the certificate; the first byte is 0 for the first one. It is kept with the server."""
        if len(data) < 2 or data[0] > 1 or len(self._ca) + len(data) > _CA_MAX:
            return INVALID_RPC
        if data[0] and not self._ca:
            # The part before came before a restart.
            return INVALID_RPC
        self._ca = (self._ca if data[0] else b"") + bytes(data[1:])
        self._answer(SEND_CA, [])
        return NO_ERROR

    def _tell_networks(self, networks: list) -> None:
        if self._over_ble:
            self._tell(RESULT_PACKET, pack_rpc(REQUEST_NETWORKS, pack_networks(networks)))
            return
        for name, rssi_dbm, authentication in networks:
            wanted = b"NO" if authentication == "NO" else b"YES"
            self._answer(REQUEST_NETWORKS, [name, str(rssi_dbm).encode(), wanted])
        self._answer(REQUEST_NETWORKS, [])

    def _links(self) -> list:
        """Return where the owner goes on: the engine's page, if that is known yet."""
        http = self._access.members.get("http")
        return [http.encode()] if http else []

    def _answer(self, command: int, strings: list) -> None:
        self._tell(RESULT_PACKET, pack_rpc(command, pack_strings(strings)))

    def _enter(self, state: int) -> None:
        self.state = state
        self._tell(STATE_PACKET, bytes([state]))


def _certificate(ca: bytes) -> str:
    """Return `ca` as text. Raises BadAccess if TLS could not use it: the next start would be without a server then."""
    from packet_stream import tls_context

    try:
        tls_context(ca)
        return str(ca, "utf-8")
    except (OSError, ValueError):
        raise BadAccess("ca") from None
