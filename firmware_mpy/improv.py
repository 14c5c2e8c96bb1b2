"""The frames of Improv, the open standard by which a phone or a computer tells a device its Wi-Fi, over BLE or serial.

Pure: the same in CPython, where `wattaway firmware provision` speaks them from the other end. Strings stay bytes here:
whoever stores them decides whether they are text.

Source: improv-wifi.com, "Improv via BLE" (2.4) and "Improv via Serial" (1).
"""

SERVICE_UUID = "00467768-6228-2272-4663-277478268000"
STATE_UUID = "00467768-6228-2272-4663-277478268001"
ERROR_UUID = "00467768-6228-2272-4663-277478268002"
COMMAND_UUID = "00467768-6228-2272-4663-277478268003"
RESULT_UUID = "00467768-6228-2272-4663-277478268004"
CAPABILITIES_UUID = "00467768-6228-2272-4663-277478268005"
SERVICE_DATA_UUID = 0x4677

CAN_IDENTIFY = 1
CAN_TELL_INFO = 2
CAN_SCAN = 4

AUTHORIZATION_REQUIRED = 1
AUTHORIZED = 2
PROVISIONING = 3
PROVISIONED = 4

NO_ERROR = 0
INVALID_RPC = 1
UNKNOWN_RPC = 2
UNABLE_TO_CONNECT = 3
NOT_AUTHORIZED = 4
UNKNOWN_ERROR = 0xFF

SEND_WIFI = 1
IDENTIFY = 2
REQUEST_STATE = 2
"""What 2 means over serial, where there is nothing to be read without asking."""
REQUEST_INFO = 3
REQUEST_NETWORKS = 4
SEND_SERVER = 0xF0
"""Ours, not the standard's: MQTT server, device id, token and, optionally, HTTP server."""
SEND_CA = 0xF1
"""Ours, too: a part of the certificate that the servers' is signed with; before `SEND_SERVER`."""

STATE_PACKET = 1
ERROR_PACKET = 2
COMMAND_PACKET = 3
RESULT_PACKET = 4

_HEADER = b"IMPROV\x01"
_HEAD_SIZE = 9
_LENGTH_MAX = 255
_COMMAND_MAX = 3 + _LENGTH_MAX


class BadFrame(ValueError):
    """Not a frame of the standard; the message says why."""


def checksum(data: bytes) -> int:
    """Return the sum of all bytes, its lowest 8 bits."""
    return sum(data) & 0xFF


def pack_strings(strings: "list[bytes]") -> bytes:
    """Return strings, each after its length. Raises BadFrame."""
    packed = b""
    for string in strings:
        if len(string) > _LENGTH_MAX:
            raise BadFrame("a string is longer than 255 bytes")
        packed += bytes([len(string)]) + string
    if len(packed) > _LENGTH_MAX:
        raise BadFrame("the strings are longer than 255 bytes")
    return packed


def unpack_strings(data: bytes) -> "list[bytes]":
    """Return the strings in `data`. Raises BadFrame."""
    strings, at = [], 0
    while at < len(data):
        end = at + 1 + data[at]
        if end > len(data):
            raise BadFrame("a string ends behind the data")
        strings.append(bytes(data[at + 1 : end]))
        at = end
    return strings


def pack_rpc(command: int, data: bytes) -> bytes:
    """Return a command or result as it stands in a serial packet; BLE adds a checksum (`pack_ble`)."""
    if len(data) > _LENGTH_MAX:
        raise BadFrame("longer than 255 bytes")
    return bytes([command, len(data)]) + data


def unpack_rpc(frame: bytes) -> "tuple[int, bytes]":
    """Return command and data of what `pack_rpc` made. Raises BadFrame."""
    if len(frame) < 2 or len(frame) != 2 + frame[1]:
        raise BadFrame("the length is wrong")
    return frame[0], bytes(frame[2:])


def pack_ble(command: int, data: bytes) -> bytes:
    """Return a command or result as it stands in a BLE characteristic."""
    frame = pack_rpc(command, data)
    return frame + bytes([checksum(frame)])


def unpack_ble(frame: bytes) -> "tuple[int, bytes]":
    """Return command and data of what `pack_ble` made. Raises BadFrame."""
    if len(frame) < 3 or checksum(frame[:-1]) != frame[-1]:
        raise BadFrame("the checksum is wrong")
    return unpack_rpc(frame[:-1])


def pack_networks(networks: "list[tuple]") -> bytes:
    """Return as many (name, dBm, kind of authentication) as one BLE result holds, in their order."""
    packed = b""
    for name, rssi_dbm, authentication in networks:
        one = pack_strings([name, str(rssi_dbm).encode(), authentication.encode()])
        if len(packed) + len(one) > _LENGTH_MAX:
            break
        packed += one
    return packed


def advertisement(state: int, capabilities: int) -> bytes:
    """Return what is advertised: flags, the service, and its data with the state; 31 bytes, as many as there may be.

    Source: Bluetooth Core Specification Supplement, part A, 1.1, 1.3 and 1.11.
    """
    flags = b"\x02\x01\x06"
    service = b"\x11\x07" + uuid_bytes(SERVICE_UUID)
    uuid = SERVICE_DATA_UUID
    return flags + service + bytes([9, 0x16, uuid & 0xFF, uuid >> 8, state, capabilities, 0, 0, 0, 0])


def uuid_bytes(uuid: str) -> bytes:
    """Return a UUID as it goes over the air: lowest byte first."""
    digits = uuid.replace("-", "")
    return bytes([int(digits[at : at + 2], 16) for at in range(30, -2, -2)])


def pack_serial(kind: int, data: bytes) -> bytes:
    """Return a serial packet, a new line behind it so that it ends in a log, too."""
    if len(data) > _LENGTH_MAX:
        raise BadFrame("longer than 255 bytes")
    packet = _HEADER + bytes([kind, len(data)]) + data
    return packet + bytes([checksum(packet), 10])


class CommandParts:
    """Puts a BLE command together from the writes that it came in."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, part: bytes) -> "bytes | None":
        """Return the command once it is whole; a longer write than was announced ends it, too."""
        self._held += bytes(part)
        if len(self._held) < 2 or len(self._held) < 3 + self._held[1]:
            return None
        whole, self._held = self._held[:_COMMAND_MAX], b""
        return whole

    def forget(self) -> None:
        """Begin anew, as after a connection has ended."""
        self._held = b""


class SerialPackets:
    """Finds packets on a line that carries a log, too."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, received: bytes) -> "list[tuple[int, bytes]]":
        """Return (kind, data) of each packet that is whole now. A wrong checksum is kind -1, with what it was for."""
        self._held.extend(received)
        found: list[tuple[int, bytes]] = []
        while True:
            self._seek()
            if len(self._held) < _HEAD_SIZE or len(self._held) <= _HEAD_SIZE + self._held[8]:
                return found
            end = _HEAD_SIZE + self._held[8]
            if checksum(self._held[:end]) == self._held[end]:
                found.append((self._held[7], bytes(self._held[_HEAD_SIZE:end])))
                self._held = self._held[end + 1 :]
            else:
                # Its length may be wrong, too: what seems to be inside may be a packet of its own.
                found.append((-1, bytes([self._held[7]])))
                self._held = self._held[1:]

    def _seek(self) -> None:
        """Drop what can not begin a packet."""
        at = self._held.find(_HEADER[:1])
        while at >= 0:
            begin = bytes(self._held[at : at + len(_HEADER)])
            if begin == _HEADER[: len(begin)]:
                break
            at = self._held.find(_HEADER[:1], at + 1)
        self._held = self._held[at:] if at >= 0 else bytearray()
