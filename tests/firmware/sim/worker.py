"""Answers calls of the firmware's functions, one JSON line each, until its input ends."""

import json
import sys


def _unpacked(value: "object") -> "object":
    if isinstance(value, dict) and "hex" in value:
        return bytes.fromhex(value["hex"])
    if isinstance(value, list):
        return [_unpacked(item) for item in value]
    return value


def _plain(answer: "object") -> "object":
    if isinstance(answer, (bytes, bytearray)):
        return {"hex": bytes(answer).hex()}
    if isinstance(answer, (list, tuple)):
        return [_plain(item) for item in answer]
    if isinstance(answer, dict):
        return {key: _plain(item) for key, item in answer.items()}
    return answer


def _answer(request: dict) -> dict:
    try:
        function = getattr(__import__(request["module"]), request["function"])
        return {"answer": _plain(function(*_unpacked(request["arguments"])))}
    except Exception as error:
        return {"error": type(error).__name__}


def main() -> None:
    """Answer line by line."""
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))))


main()
