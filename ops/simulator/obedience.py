"""How a socket obeys: each command once, none that has expired, and the same answer to one that comes again.

No network in here; docs/protocol.md, "Command", says what a socket must do.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from domain.clock import Clock
from domain.command_wire import WireCommand, decode_command
from domain.errors import PayloadRejected
from domain.lifecycle.devices import DeviceConfiguration
from domain.wire import CommandReport, encode_status

REMEMBERED_IDS = 64


def _never() -> bool:
    return False


@dataclass
class CommandFaults:
    """What may go wrong between engine and socket; asked anew for each command that comes.

    Args:
        loses_command: it is lost on its way to the socket.
        loses_answer: the socket does it, but its answer is lost.
        answer_after_s: how long the answer takes.
    """

    loses_command: Callable[[], bool] = _never
    loses_answer: Callable[[], bool] = _never
    answer_after_s: float = 0.0


class Obedience:
    """A socket's relay and configuration, and the commands it remembers; all of it outlasts a restart.

    Args:
        act: does what a command says beyond relay and configuration; called once for each id.
    """

    def __init__(self, clock: Clock, act: Callable[[WireCommand], None]) -> None:
        self._clock, self._act = clock, act
        self._answers: OrderedDict[str, bytes] = OrderedDict()
        self.relay = True
        self.config = DeviceConfiguration()
        self.config_version = 0

    def obey(self, payload: bytes) -> bytes | None:
        """Do what a payload of the commands topic says, if it is to be done; the answer for the status topic.

        None: it is no command that this socket can read.
        """
        try:
            command = decode_command(payload)
        except PayloadRejected:
            return None
        answer = self._answers.get(command.id)
        if answer is None:
            answer = encode_status(self._decide(command))
            self._answers[command.id] = answer
            while len(self._answers) > REMEMBERED_IDS:
                self._answers.popitem(last=False)
        return answer

    def _decide(self, command: WireCommand) -> CommandReport:
        now_ms = self._clock.now_ms()
        if now_ms >= command.expires_at:
            return CommandReport(command.id, "rejected", reason="expired", at=now_ms)
        match command.type:
            case "switch":
                self.relay = bool(command.relay)
            case "toggle":
                self.relay = not self.relay
            case "calibrate":
                # A simulated meter has no tolerance that another one could tell.
                return CommandReport(command.id, "rejected", reason="too_far_off", at=now_ms)
            case "configure" if command.config is not None and command.version is not None:
                self.config, self.config_version = command.config, command.version
        self._act(command)
        return CommandReport(command.id, "done", relay=self.relay, at=now_ms)
