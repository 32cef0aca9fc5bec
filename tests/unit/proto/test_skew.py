import pytest

from hyperion.proto.skew import is_far


@pytest.mark.parametrize(
    ("skew", "far"), [(None, False), (0, False), (5_000, False), (-5_000, False), (5_001, True), (-5_001, True)]
)
def test_what_is_told(skew: int | None, far: bool) -> None:
    assert is_far(skew) is far
