import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hyperion.log.field import Value
from hyperion.log.template import MAX_SHAPES, Template, Templates

SCALARS = st.one_of(
    st.text(st.characters(min_codepoint=32, exclude_categories=("Cc", "Cs"))),
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
FIELDS = st.dictionaries(st.sampled_from(["a", "b.c", "b.d", "e%s", 'f"', "ü"]), SCALARS)


def build(timestamp: Any, sequence: Any, flat: Any) -> dict[str, Any]:
    return {
        "@timestamp": timestamp,
        "fixed": '100 % "sure" \\u00011',
        "n": {"sequence": sequence, "fields": dict(flat)},
    }


@given(st.lists(FIELDS, min_size=1, max_size=5))
def test_a_line_from_a_template_is_the_line_built_the_long_way(events: list[dict[str, Value]]) -> None:
    templates = Templates()
    for number, flat in enumerate(events * 2):
        line = templates.render(tuple(flat), "2026-01-31T12:00:00.123Z", number, flat, build)
        assert json.loads(line) == build("2026-01-31T12:00:00.123Z", number, flat)


def test_a_value_may_stand_in_several_places_or_in_none() -> None:
    def twice(timestamp: Any, sequence: Any, flat: Any) -> dict[str, Any]:
        return {"one": flat["x"], "two": [flat["x"], flat["x"]]}

    templates = Templates()
    for value in ("v", 7):
        line = templates.render(("s",), "t", 1, {"x": value, "unused": 5}, twice)
        assert json.loads(line) == {"one": value, "two": [value, value]}


def test_foreign_shapes_do_not_pile_up() -> None:
    templates = Templates()
    for number in range(3 * MAX_SHAPES):
        templates.render((str(number),), "t", 1, {f"key{number}": 1}, build)
        assert len(templates._known) <= MAX_SHAPES


@given(FIELDS, st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=2, max_size=2), st.integers(1, 2**40))
def test_with_whole_numbers_it_is_filled_by_hand(fixed: dict[str, Value], numbers: list[int], sequence: int) -> None:
    template = Template(("one", "n.two"), build, fixed)
    holes = (b"2026-01-31T12:00:00.123Z", sequence, *numbers)
    line = template.numbers % tuple(holes[index] for index in template.order)
    flat = fixed | dict(zip(("one", "n.two"), numbers, strict=True))
    assert json.loads(line) == build("2026-01-31T12:00:00.123Z", sequence, flat)
    assert json.loads(template.fill("2026-01-31T12:00:00.123Z", sequence, numbers)) == json.loads(line)
