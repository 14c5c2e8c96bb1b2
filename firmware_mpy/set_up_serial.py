"""Set-up over the serial cable: Improv's packets on the console, between the lines of the log."""

import asyncio

import hal
from improv import COMMAND_PACKET, INVALID_RPC, BadFrame, SerialPackets, pack_serial, unpack_rpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from set_up import SetUp

_POLL_S = 0.05


class SerialSetUp:
    """
    Args:
        new_set_up: called with `tell` and `over_ble`; the `SetUp`.
    """

    def __init__(self, new_set_up: "Callable[..., SetUp]") -> None:
        self._console = hal.Console()
        self._packets = SerialPackets()
        self._set_up = new_set_up(self._tell, False)

    async def run(self) -> None:
        """Obey, for ever."""
        buffer = bytearray(64)
        while True:
            count = self._console.read(buffer)
            for kind, data in self._packets.feed(memoryview(buffer)[:count]):
                await self._take(kind, data)
            if not count:
                await asyncio.sleep(_POLL_S)

    async def _take(self, kind: int, data: bytes) -> None:
        # A wrong checksum is told, as the standard wants it; what is no command is nothing for a device.
        if kind == -1 and data[0] == COMMAND_PACKET:
            self._set_up.refuse(INVALID_RPC)
        if kind != COMMAND_PACKET:
            return
        try:
            command, members = unpack_rpc(data)
        except BadFrame:
            self._set_up.refuse(INVALID_RPC)
            return
        await self._set_up.obey(command, members)

    def _tell(self, kind: int, data: bytes) -> None:
        self._console.write(pack_serial(kind, data))
