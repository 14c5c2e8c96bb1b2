"""JSON as the protocol wants it: UTF-8, no doubled keys, no NaN; MicroPython's own reader takes all of these.

Source: RFC 8259; docs/protocol.md, "MQTT".
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DEPTH_MAX = 8
_ESCAPES = {34: '"', 92: "\\", 47: "/", 98: "\b", 102: "\f", 110: "\n", 114: "\r", 116: "\t"}
_WORDS = ((b"true", True), (b"false", False), (b"null", None))


class NotJson(Exception):
    """The text is not JSON as the protocol wants it."""


def parse(payload: "bytes | memoryview") -> "Any":
    """Return the value of a JSON text. Raises NotJson."""
    text = bytes(payload)
    try:
        str(text, "utf-8")
    except (UnicodeError, ValueError):
        raise NotJson("not UTF-8") from None
    reader = _Reader(text)
    value = reader.value(0)
    if reader.peek() is not None:
        raise NotJson("more follows")
    return value


class _Reader:
    def __init__(self, text: bytes) -> None:
        self._text, self._at = text, 0

    def peek(self) -> "int | None":
        """Return the next byte that is no blank, without taking it."""
        while self._at < len(self._text):
            if self._text[self._at] not in b" \t\r\n":
                return self._text[self._at]
            self._at += 1
        return None

    def value(self, depth: int) -> "Any":
        byte = self.peek()
        if depth > _DEPTH_MAX or byte is None:
            raise NotJson("too deep, or nothing")
        if byte == 123:
            return self._object(depth)
        if byte == 91:
            return self._list(depth)
        if byte == 34:
            return self._string()
        for word, value in _WORDS:
            if self._text[self._at : self._at + len(word)] == word:
                self._at += len(word)
                return value
        return self._number()

    def _take(self, byte: int) -> bool:
        if self.peek() != byte:
            return False
        self._at += 1
        return True

    def _object(self, depth: int) -> dict:
        self._at += 1
        members: dict[str, Any] = {}
        if self._take(125):
            return members
        while True:
            if self.peek() != 34:
                raise NotJson("a key must be a string")
            key = self._string()
            if key in members:
                raise NotJson("a doubled key")
            if not self._take(58):
                raise NotJson("no colon")
            members[key] = self.value(depth + 1)
            if self._take(125):
                return members
            if not self._take(44):
                raise NotJson("no comma")

    def _list(self, depth: int) -> list:
        self._at += 1
        items: list[Any] = []
        if self._take(93):
            return items
        while True:
            items.append(self.value(depth + 1))
            if self._take(93):
                return items
            if not self._take(44):
                raise NotJson("no comma")

    def _string(self) -> str:
        self._at += 1
        parts, start, text = [], self._at, self._text
        while self._at < len(text):
            byte = text[self._at]
            if byte == 34:
                parts.append(str(text[start : self._at], "utf-8"))
                self._at += 1
                return "".join(parts)
            if byte < 32:
                raise NotJson("a control character")
            if byte == 92:
                parts.append(str(text[start : self._at], "utf-8"))
                parts.append(self._escape())
                start = self._at
            else:
                self._at += 1
        raise NotJson("a string without end")

    def _escape(self) -> str:
        byte = self._text[self._at + 1] if self._at + 1 < len(self._text) else 0
        if byte != 117:
            if byte not in _ESCAPES:
                raise NotJson("an unknown escape")
            self._at += 2
            return _ESCAPES[byte]
        unit = self._hex_unit()
        if 0xD800 <= unit < 0xDC00 and self._text[self._at : self._at + 2] == b"\\u":
            low = self._hex_unit()
            if 0xDC00 <= low < 0xE000:
                return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
            raise NotJson("half a surrogate pair")
        if 0xD800 <= unit < 0xE000:
            raise NotJson("half a surrogate pair")
        return chr(unit)

    def _hex_unit(self) -> int:
        digits = self._text[self._at + 2 : self._at + 6]
        if len(digits) != 4 or any(digit not in b"0123456789abcdefABCDEF" for digit in digits):
            raise NotJson("an unknown escape")
        self._at += 6
        return int(str(digits, "utf-8"), 16)

    def _number(self) -> "int | float":
        start = self._at
        if self._text[start : start + 1] == b"-":
            self._at += 1
        first = self._at
        self._digits()
        if self._at - first > 1 and self._text[first] == 48:
            raise NotJson("a leading zero")
        whole = True
        if self._text[self._at : self._at + 1] == b".":
            whole = False
            self._at += 1
            self._digits()
        if self._text[self._at : self._at + 1] in (b"e", b"E"):
            whole = False
            self._at += 1
            if self._text[self._at : self._at + 1] in (b"+", b"-"):
                self._at += 1
            self._digits()
        text = str(self._text[start : self._at], "utf-8")
        if len(text) > 40:
            raise NotJson("a number too long")
        return int(text) if whole else float(text)

    def _digits(self) -> None:
        start = self._at
        while self._at < len(self._text) and 48 <= self._text[self._at] <= 57:
            self._at += 1
        if self._at == start:
            raise NotJson("no value")
