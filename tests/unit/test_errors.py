import pytest

from hyperion import errors
from hyperion.errors import ConfigError, HyperionError, one_line

# A promise to scripts and to systemd units: a change here breaks somebody's automation.
EXIT_CODES = {
    "UsageError": 2,
    "NotRunningError": 3,
    "BadKeyError": 65,
    "ConfigMissingError": 66,
    "UnreachableError": 69,
    "InternalError": 70,
    "ChildError": 70,
    "CannotCreateError": 73,
    "TemporaryError": 75,
    "ProtocolMismatchError": 76,
    "RefusedError": 77,
    "ConfigError": 78,
}


def test_exit_codes_are_frozen() -> None:
    found = {
        name: kind.exit_code
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, HyperionError) and kind is not HyperionError
    }
    assert found == EXIT_CODES


def test_message_and_hint() -> None:
    error = ConfigError("it does not work", hint="try this")
    assert (str(error), error.message, error.hint) == ("it does not work", "it does not work", "try this")
    assert ConfigError("x").hint is None


@pytest.mark.parametrize("bad", ["\n", "\r", "\x1b[2J", "\x00", "\x85", "\u2028", "\u202e", "\udc80"])
def test_a_file_name_cannot_forge_a_second_line(bad: str) -> None:
    error = HyperionError(f"no file a{bad}b", hint=f"chmod 600 a{bad}b")
    assert error.message.isprintable()
    assert error.hint is not None
    assert error.hint.isprintable()
    assert str(error).startswith("no file a\\")
    assert error.args == (error.message,)


def test_printable_text_stays_as_it_is() -> None:
    assert one_line("café 東京 /tmp/x") == "café 東京 /tmp/x"
