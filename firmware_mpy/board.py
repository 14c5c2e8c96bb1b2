"""Reads a board's description (`boards/*.json`): which pin does what, which chip meters, and which way round.

A wrong pin can burn a relay or keep a load on, so everything is checked and nothing has a default.
"""

import json

METERS = ("bl0937", "hlw8012", "cse7766", "bl0942")
PULSE_METERS = ("bl0937", "hlw8012")
# 6 to 11 carry the flash, 34 to 39 are inputs alone.
# Source: ESP32-WROOM-32 datasheet, "Pin Definitions".
_FLASH_PINS = (6, 7, 8, 9, 10, 11)
_PIN_MAX = 39
_OUTPUT_PIN_MAX = 33
_SCALE = ("driver", "shunt_uohm", "divider_milli")
_SWITCHED = ("relay", "led", "button")
# What relay, terminals and traces bear; no configuration may lift it.
_RATING = (
    ("max_current_ma", 1_000, 20_000),
    ("max_power_mw", 100_000, 8_000_000),
    ("max_temperature_mc", 40_000, 105_000),
)


class BadBoard(Exception):
    """The description does not fit; the message names the member."""


def read_board(text: str) -> dict:
    """Return the description in `text`, checked. Raises BadBoard."""
    try:
        board = json.loads(text)
    except ValueError:
        raise BadBoard("not JSON") from None
    if not isinstance(board, dict):
        raise BadBoard("not an object")
    _check_members(board, "", ("name", "relay", "button", "led", "meter", "rating"))
    if not isinstance(board["name"], str) or not 0 < len(board["name"]) <= 32:
        raise BadBoard("name: 1 to 32 characters")
    pins: list[int] = []
    for part in _SWITCHED:
        _check_members(board[part], part + ".", ("pin", "active_low"))
        _check_pin(board[part]["pin"], part + ".pin", part != "button", pins)
        if not isinstance(board[part]["active_low"], bool):
            raise BadBoard(part + ".active_low: true or false")
    _check_meter(board["meter"], pins)
    _check_members(board["rating"], "rating.", tuple(name for name, _, _ in _RATING))
    for name, least, most in _RATING:
        _check_number(board["rating"][name], "rating." + name, least, most)
    return board


def _check_meter(meter: "dict", pins: list) -> None:
    driver = meter.get("driver") if isinstance(meter, dict) else None
    if driver not in METERS:
        raise BadBoard("meter.driver: one of " + ", ".join(METERS))
    outputs, inputs = (("sel",), ("cf", "cf1")) if driver in PULSE_METERS else (("tx",), ("rx",))
    names = outputs + inputs
    turned = ("sel_active_low",) if driver in PULSE_METERS else ()
    _check_members(meter, "meter.", names + turned + _SCALE)
    for name in turned:
        # A chip tells the voltage while SEL is high; some boards drive it through a transistor.
        if not isinstance(meter[name], bool):
            raise BadBoard("meter." + name + ": true or false")
    for name in names:
        _check_pin(meter[name], "meter." + name, name in outputs, pins)
    _check_number(meter["shunt_uohm"], "meter.shunt_uohm", 100, 100_000)
    _check_number(meter["divider_milli"], "meter.divider_milli", 100_000, 10_000_000)


def _check_members(part: "object", prefix: str, names: tuple) -> None:
    if not isinstance(part, dict):
        raise BadBoard(prefix[:-1] + ": not an object")
    for name in names:
        if name not in part:
            raise BadBoard(prefix + name + ": missing")
    for name in part:
        if name not in names:
            raise BadBoard(prefix + name + ": unknown")


def _check_number(number: "object", name: str, least: int, most: int) -> None:
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        raise BadBoard(f"{name}: {least} to {most}")


def _check_pin(pin: "object", name: str, drives: bool, pins: list) -> None:
    _check_number(pin, name, 0, _OUTPUT_PIN_MAX if drives else _PIN_MAX)
    if pin in _FLASH_PINS:
        raise BadBoard(name + ": carries the flash")
    if pin in pins:
        raise BadBoard(name + ": doubled")
    pins.append(pin)
