"""The maps in the two handshake payloads, with a MessagePack codec small enough to check by eye.

Knows maps, strings, unsigned integers and arrays of them: all the extensions use. An empty payload is plain version 1.
"""

from collections.abc import Mapping

Value = int | str | list[int]


def encode_extensions(values: Mapping[str, Value]) -> bytes:
    """A MessagePack map of at most 15 entries."""
    body = b"".join(_text(key) + _value(value) for key, value in values.items())
    return bytes([0x80 | len(values)]) + body


def decode_extensions(payload: bytes) -> dict[str, Value]:
    """The map, or ``{}`` for an empty payload. Raises ``ValueError`` for anything else."""
    if not payload:
        return {}
    values, end = _read(payload, 0)
    if not isinstance(values, dict) or end != len(payload):
        raise ValueError("the payload is not one map")
    return values


def _value(value: Value) -> bytes:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return _unsigned(value)
    return b"\xdc" + len(value).to_bytes(2, "big") + b"".join(_unsigned(item) for item in value)


def _text(text: str) -> bytes:
    raw = text.encode()
    return (bytes([0xA0 | len(raw)]) if len(raw) < 32 else bytes([0xD9, len(raw)])) + raw


def _unsigned(value: int) -> bytes:
    if value < 0x80:
        return bytes([value])
    for code, size in ((0xCC, 1), (0xCD, 2), (0xCE, 4)):
        if value < 1 << (8 * size):
            return bytes([code]) + value.to_bytes(size, "big")
    return b"\xcf" + value.to_bytes(8, "big")


#: first byte -> (kind, bytes of length or of number that follow)
_SIZED = {
    0xCC: ("int", 1), 0xCD: ("int", 2), 0xCE: ("int", 4), 0xCF: ("int", 8),
    0xD9: ("str", 1), 0xDA: ("str", 2),
    0xDC: ("array", 2), 0xDD: ("array", 4),
    0xDE: ("map", 2),
}  # fmt: skip


def _read(data: bytes, at: int) -> tuple[object, int]:
    kind, size, at = _head(data, at)
    if kind == "int":
        return size, at
    if kind == "str":
        return data[at : at + size].decode(), at + size
    items = []
    for _ in range(size * 2 if kind == "map" else size):
        item, at = _read(data, at)
        items.append(item)
    return (dict(zip(items[::2], items[1::2], strict=True)) if kind == "map" else items), at


def _head(data: bytes, at: int) -> tuple[str, int, int]:
    if at >= len(data):
        raise ValueError("the payload ends too soon")
    first = data[at]
    if first < 0x80:
        return "int", first, at + 1
    for mask, base, kind in ((0xF0, 0x80, "map"), (0xF0, 0x90, "array"), (0xE0, 0xA0, "str")):
        if first & mask == base:
            return kind, first & ~mask & 0xFF, at + 1
    if first not in _SIZED:
        raise ValueError(f"type byte {first:#x} is not used here")
    kind, width = _SIZED[first]
    return kind, int.from_bytes(data[at + 1 : at + 1 + width], "big"), at + 1 + width
