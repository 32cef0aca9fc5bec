from enum import StrEnum

import pytest

from hyperion.log.field import (
    MAX_DEPTH,
    MAX_FIELDS,
    MAX_INTEGER,
    MAX_ITEMS,
    MAX_KEY_CHARS,
    MAX_STACK_CHARS,
    MAX_TEXT_CHARS,
    clean_text,
    clean_value,
    flatten,
)


class Secretive:
    def __repr__(self) -> str:
        raise AssertionError("a log line asked for a repr")

    __str__ = __repr__


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode and 日本", "plain, ünïcode and 日本"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2J\x00\x7f", r"\x1b[2J\x00\x7f"),
        ("\x85\x9b", r"\x85\x9b"),
        ("\u2028\u2029\u202e\ufeff", r"\u2028\u2029\u202e\ufeff"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\U000e0041"),
        (r"C:\path", r"C:\path"),
    ],
)
def test_what_is_not_printable_becomes_visible(text: str, shown: str) -> None:
    assert clean_text(text) == shown


def test_long_text_is_cut_and_says_so() -> None:
    assert clean_text("x" * MAX_TEXT_CHARS) == "x" * MAX_TEXT_CHARS
    assert clean_text("x" * 2**20) == "x" * MAX_TEXT_CHARS + "[cut from 1048576 chars]"
    assert clean_text("\x1b" * MAX_TEXT_CHARS) == r"\x1b" * (MAX_TEXT_CHARS // 4) + "[cut from 256 chars]"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"secret", "<6 bytes>"),
        (bytearray(3), "<3 bytes>"),
        (memoryview(b"four"), "<4 bytes>"),
        (Secretive(), "<Secretive>"),
        ({"a": Secretive()}, "<dict>"),
        (ValueError("secret"), "<ValueError>"),
        ({1, 2}, "<set>"),
        ((1, "a\n", None, [True, b"x"]), [1, r"a\n", None, [True, "<1 bytes>"]]),
        (Colour.RED, "red"),
        (True, True),
        (1.5, 1.5),
        (MAX_INTEGER, MAX_INTEGER),
        (MAX_INTEGER + 1, "<int of 64 bits>"),
    ],
)
def test_values(value: object, shown: object) -> None:
    cleaned = clean_value(value)
    assert cleaned == shown
    assert type(cleaned) is type(shown)


def test_a_giant_number_is_not_written_out() -> None:
    assert clean_value(-(10**5000)) == "<int of 16610 bits>"


def test_lists_are_bounded_in_length_and_depth() -> None:
    cleaned = clean_value(list(range(MAX_ITEMS + 5)))
    assert cleaned == [*range(MAX_ITEMS), "[+5 items]"]
    loop: list[object] = []
    loop.append(loop)
    deep = clean_value(loop)
    for _ in range(MAX_DEPTH):
        assert isinstance(deep, list)
        deep = deep[0]
    assert deep == "<list>"


def test_mappings_become_dotted_keys_and_none_is_left_out() -> None:
    fields = {"source.ip": "192.0.2.1", "user": {"id": None, "name": "a", "roles": {"x\n": 1}}, "gone": None}
    assert flatten(fields) == {"source.ip": "192.0.2.1", "user.name": "a", r"user.roles.x\n": 1}
    assert flatten({"odd": {7: 1, Secretive(): 2}}) == {"odd.<int>": 1, "odd.<Secretive>": 2}


def test_a_mapping_that_holds_itself_ends() -> None:
    loop: dict[str, object] = {}
    loop["me"] = loop
    assert list(flatten(loop).values()) == ["<dict>"]


def test_the_number_of_fields_and_the_length_of_keys_are_bounded() -> None:
    flat = flatten({f"hyperion.k{number}": number for number in range(MAX_FIELDS + 7)})
    assert flat.pop("hyperion.log.fields_omitted") == 7
    assert len(flat) == MAX_FIELDS
    assert [len(key) for key in flatten({"k" * 500: 1})] == [MAX_KEY_CHARS + len("[cut from 500 chars]")]


def test_a_stack_may_be_longer_than_other_texts() -> None:
    stack = "s" * MAX_STACK_CHARS
    assert flatten({"error.stack_trace": stack}) == {"error.stack_trace": stack}
    assert flatten({"error.stack_trace": b"raw"}) == {"error.stack_trace": "<3 bytes>"}
