import pytest

from hyperion.config.name import is_name


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("web1", True),
        ("a", True),
        ("a" * 64, True),
        ("bücher-1.example_2", True),
        ("", False),
        ("a" * 65, False),
        ("a b", False),
        ("a\tb", False),
        ("a\u00a0b", False),
        ("a\u3000b", False),
        ("a/b", False),
        ("a:b", False),
        ("a\x1bb", False),
        ("a\u202eb", False),
        ("a\x7f", False),
        ("a\n", False),
        ("-web1", False),
        ("-", False),
        ("web-", True),
        ("web1,web2", False),
    ],
)
def test_names(name: str, good: bool) -> None:
    assert is_name(name) is good
