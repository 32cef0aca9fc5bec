import datetime
from pathlib import Path

import pytest

from hyperion.config.complaint import KeyPath, looks_like_a_key, quoted, shown, spell, wrong


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ((), ""),
        (("listen",), "listen"),
        (("knock", "enabled"), "[knock] enabled"),
        (("egress", "allow", 0), "[egress] allow #1"),
        (("server", 1, "addr"), "[[server]] #2 addr"),
        (("server", 1), "[[server]] #2"),
    ],
)
def test_spell(key: KeyPath, expected: str) -> None:
    assert spell(key) == expected


def test_wrong() -> None:
    error = wrong(Path("a.toml"), ("knock", "enabled"), "true or false", "5", hint="h")
    assert (str(error), error.hint) == ("a.toml: [knock] enabled: expected true or false, got 5", "h")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true"),
        (70000, "70000"),
        (-1.5, "-1.5"),
        (2**64, "a number"),
        ("text", '"text"'),
        ({}, "a section"),
        ([], "a list"),
        (datetime.date(2026, 1, 1), "a date or time"),
    ],
)
def test_shown(value: object, expected: str) -> None:
    assert shown(value, ("listen",)) == expected


@pytest.mark.parametrize("value", [123456789, 1.5, "secret"])
@pytest.mark.parametrize(
    "key",
    [
        ("key", "value"),
        ("key", "salt"),
        ("key", "env_var"),
        ("server", 0, "key_value"),
        ("identity", "admin_pubkeys", 0),
    ],
)
def test_values_of_secret_keys_are_not_shown(value: object, key: KeyPath) -> None:
    assert str(value) not in shown(value, key)


@pytest.mark.parametrize("key", ["A" * 43 + "=", "A" * 43, " " + "a/+" * 14 + "a= ", "0f" * 32])
def test_what_looks_like_a_key_is_withheld(key: str) -> None:
    assert looks_like_a_key(key)
    assert quoted(key) == f"a text of {len(key)} characters"


def test_a_key_inside_a_text_is_withheld() -> None:
    assert quoted("x" + "A" * 43 + "=/") == "a text of 46 characters"
    assert not looks_like_a_key("/" + "A" * 43)


def test_long_texts_are_cut() -> None:
    assert quoted("ab " * 1000) == '"' + "ab " * 20 + '..."'


def test_a_number_that_python_refuses_to_print() -> None:
    assert shown(10**5000, ("listen",)) == "a number"
