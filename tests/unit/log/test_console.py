import pytest

from hyperion.events import SESSION_OPENED
from hyperion.log.console import ConsoleRenderer
from hyperion.log.ecs import MAX_LINE_BYTES
from hyperion.log.field import Value


def render(fields: dict[str, Value], *, colour: bool = False) -> str:
    event = {
        "what": SESSION_OPENED,
        "fields": fields,
        "level": "warning",
        "event": "session opened",
        "timestamp": "2026-01-31T12:00:00.123Z",
        "sequence": 1,
    }
    line = ConsoleRenderer(colour=colour)(None, "msg", event)
    assert len(line) <= MAX_LINE_BYTES
    return line.decode()


def test_one_line_for_people() -> None:
    fields: dict[str, Value] = {
        "event.reason": "drain",
        "hyperion.session.id": "5f",
        "source.port": 7,
        "event.end": "x",
    }
    expected = "12:00:00.123Z warning  session opened reason=drain session.id=5f source.port=7 code=HYP2001I"
    assert render(fields) == expected


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a b", '"a b"'),
        ("a user.name=root", '"a user.name=root"'),
        ('"quoted"', r'"\"quoted\""'),
        ("", '""'),
        (["a", 1, None], '["a",1,null]'),
        (True, "true"),
        (1.5, "1.5"),
    ],
)
def test_a_value_cannot_pass_for_a_field(value: Value, shown: str) -> None:
    assert f" x={shown} code=" in render({"x": value})


def test_only_the_level_is_coloured() -> None:
    assert render({}, colour=True) == "12:00:00.123Z \x1b[33mwarning \x1b[0m session opened code=HYP2001I"


def test_a_long_line_is_cut_between_characters() -> None:
    line = render({f"k{number}": "日" * 250 for number in range(20)})
    assert line.endswith("日 [cut]")
