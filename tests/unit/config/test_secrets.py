import pytest

from hyperion.config.secrets import Secrets
from hyperion.errors import BadKeyError


def test_a_variable_is_taken_once_and_remembered() -> None:
    environ = {"PSK": "canary", "OTHER": "x"}
    secrets = Secrets(None, environ)
    assert [secrets.variable("PSK"), secrets.variable("PSK")] == ["canary", "canary"]
    assert environ == {"OTHER": "x"}
    assert "canary" not in repr(secrets)


def test_an_empty_variable_is_not_set() -> None:
    environ = {"PSK": ""}
    assert Secrets(None, environ).variable("PSK") is None


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_TEST_PSK", "canary")
    import os

    assert Secrets(None).variable("HYPERION_TEST_PSK") == "canary"
    assert "HYPERION_TEST_PSK" not in os.environ


def test_passphrase_from_the_variable_first() -> None:
    secrets = Secrets(lambda question: pytest.fail("asked"), {"P": "short"})
    assert secrets.passphrase("P", "passphrase: ") == "short"


def test_passphrase_is_asked_for_once() -> None:
    questions: list[str] = []

    def prompt(question: str) -> str:
        questions.append(question)
        return "long enough"

    secrets = Secrets(prompt, {})
    assert {secrets.passphrase("P", "passphrase: ") for _ in range(3)} == {"long enough"}
    secrets.stop_asking()
    assert secrets.passphrase("P", "passphrase: ") == "long enough"
    assert questions == ["passphrase: "]


def test_nobody_to_ask() -> None:
    secrets = Secrets(lambda _: "long enough", {})
    secrets.stop_asking()
    for nobody in (secrets, Secrets(None, {})):
        with pytest.raises(BadKeyError, match=r"variable MY_VARIABLE is not set, and there is no terminal") as caught:
            nobody.passphrase("MY_VARIABLE", "passphrase: ")
        assert caught.value.hint is not None
        assert "MY_VARIABLE" in caught.value.hint


@pytest.mark.parametrize("answer", ["", "canary7", "       "])
def test_a_short_answer_is_refused(answer: str) -> None:
    with pytest.raises(BadKeyError, match=r"^the passphrase has fewer than 8 characters$") as caught:
        Secrets(lambda _: answer, {}).passphrase("P", "passphrase: ")
    assert caught.value.hint is not None
    assert "random words" in caught.value.hint


def test_eight_characters_are_enough() -> None:
    assert Secrets(lambda _: "éééééééé", {}).passphrase("P", "passphrase: ") == "éééééééé"


def test_what_is_given_goes_before_all_else() -> None:
    environ = {"V": "from the variable"}
    secrets = Secrets(None, environ)
    secrets.give("eight or more")
    assert secrets.passphrase("V", "?") == "eight or more"
    assert environ == {}  # although it was not needed, it is no longer to be seen
    with pytest.raises(BadKeyError, match="fewer than 8"):
        Secrets(None, {}).give("seven77")


def test_what_one_process_fetched_the_next_one_knows() -> None:
    asked: list[str] = []

    def prompt(question: str) -> str:
        asked.append(question)
        return "typed by a person"

    first = Secrets(prompt, {"V": "a variable"})
    assert not first.taken
    first.variable("V")
    first.passphrase("MISSING", "who? ")
    assert first.taken
    second = Secrets(None, {})
    second.restore(first.export())
    assert second.variable("V") == "a variable"
    assert second.passphrase("MISSING", "who? ") == "typed by a person"
    assert asked == ["who? "]
    assert not second.taken  # it is not in the environment of that process

    first.give("given, not typed")
    third = Secrets(None, {})
    third.restore(first.export())
    assert third.passphrase("MISSING", "another question") == "given, not typed"
    assert "typed" not in repr(third)
