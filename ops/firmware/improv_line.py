"""A socket at the other end of a serial cable, spoken to by Improv, with deadlines.

The firmware's own codec makes and reads the packets (`firmware_mpy/improv.py`).
Source: improv-wifi.com, "Improv via Serial" (1); docs/protocol.md, "Set-up".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import serial

from domain.errors import WattAwayError
from firmware_mpy import improv
from ops.firmware.serial_ports import PortUnusable, unusable

ANSWER_WITHIN_S = 3.0
JOIN_WITHIN_S = 30.0
"""A socket of ours gives up after 20."""
PRESS_WITHIN_S = 60.0
START_WITHIN_S = 20.0
_ASK_EVERY_S = 1.0
_CA_PART_BYTES = 250


class SocketSilent(WattAwayError):
    """No answer in time."""


class SocketRefuses(WattAwayError):
    """An error state of Improv.

    Args:
        message: what the socket says, in words.
        error: its number in the standard.
    """

    def __init__(self, message: str, error: int) -> None:
        super().__init__(message)
        self.error = error


class ImprovLine:
    """The line to one socket; it must not be read by anybody else.

    Args:
        line: an open port whose reads end soon.
    """

    def __init__(self, line: serial.SerialBase) -> None:
        self._line, self._packets = line, improv.SerialPackets()

    def state(self, within_s: float = START_WITHIN_S) -> int:
        """The socket's state, asked for until it answers: it may be starting.

        Raises:
            SocketSilent: it does not.
        """
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            try:
                _, data = self._ask(improv.REQUEST_STATE, b"", _is_state, _ASK_EVERY_S)
            except SocketSilent:
                continue
            return data[0] if data else 0
        raise SocketSilent(f"no socket answers within {within_s:.0f} s: is it the right port, and a firmware of ours?")

    def authorized(self, within_s: float = PRESS_WITHIN_S) -> None:
        """Return once the socket takes a set-up.

        Raises:
            SocketSilent: nobody has pressed its button.
        """
        deadline = time.monotonic() + within_s
        while self.state() == improv.AUTHORIZATION_REQUIRED:
            if time.monotonic() > deadline:
                raise SocketSilent("nobody has pressed the socket's button")
            time.sleep(_ASK_EVERY_S)

    def info(self) -> list[str]:
        """Its firmware, that one's version, its kind of chip, and its name."""
        return [string.decode(errors="replace") for string in self._result(improv.REQUEST_INFO, b"")]

    def join(self, ssid: bytes, password: bytes) -> None:
        """Let it join a Wi-Fi, and return once it has.

        Raises:
            SocketRefuses: it cannot.
            SocketSilent: it does not say.
        """
        data = improv.pack_strings([ssid, password])
        self._ask(
            improv.SEND_WIFI,
            data,
            lambda kind, told: _is_state(kind, told) and told[0] == improv.PROVISIONED,
            JOIN_WITHIN_S,
        )

    def tell_server(self, strings: list[bytes], authority: bytes) -> None:
        """Tell it its servers.

        Args:
            strings: as docs/protocol.md has them for `0xF0`.
            authority: PEM of who signed the servers' certificate; may be empty.

        Raises:
            SocketRefuses, SocketSilent: then it knows nothing of it.
        """
        for at in range(0, len(authority), _CA_PART_BYTES):
            try:
                self._result(improv.SEND_CA, bytes([at > 0]) + authority[at : at + _CA_PART_BYTES])
            except SocketRefuses as error:
                if at and error.error == improv.INVALID_RPC:
                    raise SocketSilent("the socket has restarted, and forgotten the first parts") from error
                raise
        self._result(improv.SEND_SERVER, improv.pack_strings(strings))

    def _result(self, command: int, data: bytes) -> list[bytes]:
        def is_result(kind: int, told: bytes) -> bool:
            return kind == improv.RESULT_PACKET and told[:1] == bytes([command])

        _, told = self._ask(command, data, is_result, ANSWER_WITHIN_S)
        try:
            return improv.unpack_strings(improv.unpack_rpc(told)[1])
        except improv.BadFrame as error:
            raise SocketSilent(f"the socket's answer cannot be read: {error}") from error

    def _ask(
        self, command: int, data: bytes, is_answer: Callable[[int, bytes], bool], within_s: float
    ) -> tuple[int, bytes]:
        try:
            self._line.write(improv.pack_serial(improv.COMMAND_PACKET, improv.pack_rpc(command, data)))
            for kind, told in self._heard(time.monotonic() + within_s):
                if kind == improv.ERROR_PACKET and told and told[0] != improv.NO_ERROR:
                    raise SocketRefuses(_ERRORS.get(told[0], _ERRORS[improv.UNKNOWN_ERROR]), told[0])
                if is_answer(kind, told):
                    return kind, told
        except (serial.SerialException, OSError) as error:
            raise PortUnusable(unusable(str(self._line.port), error)) from error
        raise SocketSilent(f"the socket does not answer within {within_s:.0f} s")

    def _heard(self, deadline: float) -> Iterator[tuple[int, bytes]]:
        while time.monotonic() < deadline:
            yield from self._packets.feed(self._line.read(256))


def _is_state(kind: int, told: bytes) -> bool:
    return kind == improv.STATE_PACKET and len(told) == 1


_ERRORS = {
    improv.INVALID_RPC: "the socket cannot use what it was told",
    improv.UNKNOWN_RPC: "the socket does not know this command: it runs no firmware of ours, or an older one",
    improv.UNABLE_TO_CONNECT: "the socket cannot join the Wi-Fi: a wrong password, or out of reach",
    improv.NOT_AUTHORIZED: "the socket wants its button to be pressed first",
    improv.UNKNOWN_ERROR: "the socket failed for a reason that it does not tell",
}
