import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperion.cli.fence import BEGIN, END, put, remove
from hyperion.errors import CannotCreateError

LINES = st.lists(st.sampled_from(["Host *\n", "  User bob\n", "\n", "# x\r\n", "\udcff\n"]), max_size=5)
TEXTS = st.builds(lambda lines, end: "".join(lines) + end, LINES, st.sampled_from(["", "no newline"]))
PARTS = st.sampled_from(["", "Host a\n", "Host a\n\nMatch all\n"])


@given(text=TEXTS, first=PARTS, second=PARTS)
def test_the_rest_stays_byte_for_byte(text: str, first: str, second: str) -> None:
    once = put(text, first)
    assert once.startswith(f"{BEGIN}\n{first}{END}\n")
    assert once.endswith(text)
    assert put(once, first) == once
    assert put(once, second) == put(text, second)
    assert remove(once) == text
    assert remove(text) == text


@given(above=TEXTS.filter(lambda text: text.endswith("\n")), below=TEXTS)
def test_a_fence_that_was_moved_stays_where_it_is(above: str, below: str) -> None:
    moved = f"{above}{BEGIN}\nold\n{END}\n{below}"
    assert put(moved, "new\n") == f"{above}{BEGIN}\nnew\n{END}\n{below}"
    assert remove(moved) == above + below


def test_the_words_of_another_version() -> None:
    assert remove(f"a\n# >>> hyperion >>> by an older one\nx\n{END}\nb\n") == "a\nb\n"


@pytest.mark.parametrize("text", [f"{BEGIN}\n", f"{END}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{BEGIN}\n{END}\n"])
def test_half_a_fence_is_left_alone(text: str) -> None:
    for change in (remove, lambda each: put(each, "x\n")):
        with pytest.raises(CannotCreateError, match="are not a pair"):
            change(text)
