"""Plays a phone that sets a socket up over BLE, in virtual time; prints what it was told.

Arguments: the folder of its flash, and the file of the certificate that it brings.
"""

import asyncio
import json
import sys

import hal
import improv
import virtual_time
from access import Access
from flash_layout import record
from set_up import SetUp
from set_up_ble import BleSetUp

INFO = [b"WattAway", b"1.0.0", b"ESP32", b"kettle"]
TOKEN = b"0123456789abcdef" * 4
SERVER = [b"mqtts://example.org", b"kettle", TOKEN, b"https://example.org"]
STATES = {1: "authorization required", 2: "authorized", 3: "provisioning", 4: "provisioned"}


class Phone:
    """Knows the service alone: UUIDs in, values out."""

    def __init__(self) -> None:
        self.server = hal.board.gatt_server

    def send(self, command: int, data: bytes, piece: int = 20) -> None:
        """Write a command in as many pieces as it takes."""
        frame = improv.pack_ble(command, data)
        for at in range(0, len(frame), piece):
            self.server._on_write(frame[at : at + piece])

    def heard(self) -> list:
        """Return what has been notified since the last call."""
        told, self.server._notified = self.server._notified, []
        return [self._read(uuid, value) for uuid, value in told]

    def _read(self, uuid: str, value: bytes) -> list:
        if uuid == improv.STATE_UUID:
            return ["state", STATES[value[0]]]
        if uuid == improv.ERROR_UUID:
            return ["error", value[0]]
        if uuid == improv.CAPABILITIES_UUID:
            return ["capabilities", value[0]]
        command, data = improv.unpack_ble(value)
        return ["result", command, [string.decode() for string in improv.unpack_strings(data)]]


def new_ble(access: Access, identify: "object") -> BleSetUp:
    """Return the set-up over BLE of a socket whose load is off."""
    return BleSetUp(lambda tell, over_ble: SetUp(access, hal.Wifi(), INFO, identify, tell, lambda: False, over_ble))


async def bring(phone: Phone, certificate: bytes) -> None:
    """Send it in parts of 250 bytes."""
    for at in range(0, len(certificate), 250):
        phone.send(improv.SEND_CA, bytes([at > 0]) + certificate[at : at + 250])
        await asyncio.sleep(1)


async def _story() -> None:
    hal.board.flash_dir = sys.argv[1]
    hal.board.networks = [(b"Home", "pass", -70, "WPA2"), (b"Cafe", "", -50, "NO")]
    access, identified = Access(record("access")), []
    set_up = new_ble(access, lambda: identified.append(1))
    phone, running = Phone(), asyncio.create_task(set_up.run())

    async def say(what: str) -> None:
        await asyncio.sleep(1)
        print(json.dumps([what, phone.heard()]))

    await say("start")
    print(json.dumps(["advertised", [phone.server._advertised[-8:].hex()]]))
    phone.send(improv.SEND_WIFI, improv.pack_strings([b"Home", b"pass"]))
    await say("wifi without button")
    for command in (improv.IDENTIFY, improv.REQUEST_INFO, improv.REQUEST_NETWORKS, 0x42):
        phone.send(command, b"")
        await say(str(command))
    print(json.dumps(["identified", [len(identified)]]))
    set_up.authorize()
    await say("button")
    await asyncio.sleep(60)
    await say("a minute later")
    set_up.authorize()
    phone.server._on_write(b"\x01\x02\x01")
    phone.server._on_end()
    phone.send(improv.SEND_WIFI, improv.pack_strings([b"Home", b"wrong"]))
    await asyncio.sleep(25)
    await say("wrong password, after a broken connection")
    hal.board.phone_goes = True
    phone.send(improv.IDENTIFY, b"")
    await say("gone")
    hal.board.phone_goes = False
    hal.board.radio_works = False
    phone.send(improv.SEND_WIFI, improv.pack_strings([b"Home", b"pass"]))
    await say("a radio that refuses")
    hal.board.radio_works = True
    phone.server._on_write(b"\x01\x00\x07")
    await say("wrong checksum")
    with open(sys.argv[2], "rb") as file:
        certificate = file.read()
    await bring(phone, certificate[:-100])
    phone.send(improv.SEND_SERVER, improv.pack_strings(SERVER), 250)
    await say("a certificate that is cut off")
    await bring(phone, certificate)
    await say("certificate")
    phone.send(improv.SEND_SERVER, improv.pack_strings(SERVER), 250)
    await say("server")
    phone.send(improv.SEND_WIFI, improv.pack_strings([b"Home", b"pass"]))
    await say("wifi")
    await running
    print(json.dumps(["kept", Access(record("access")).members]))
    set_up = new_ble(access, lambda: None)
    phone, running = Phone(), asyncio.create_task(set_up.run())
    set_up.authorize()
    phone.send(improv.SEND_WIFI, improv.pack_strings([b"Home", b"pass"]))
    await asyncio.sleep(25)
    phone.heard()
    phone.send(improv.SEND_SERVER, improv.pack_strings([SERVER[0], b"kettle-2", TOKEN]), 250)
    await say("a server after the wifi")
    await running
    print(json.dumps(["kept then", Access(record("access")).members["device_id"]]))


virtual_time.run(_story())
