"""Secrets that are not in a file: variables of the environment, and what a person types.

Fetches each once. Does not keep the environment's copy: what was read is removed from ``os.environ``, and
remembered here, so that a reload finds it again and a child does not inherit it.
"""

import os
from collections.abc import Callable, Mapping, MutableMapping

from hyperion.errors import BadKeyError

#: Asks the question on the terminal without echo, and returns the answer.
Prompt = Callable[[str], str]

#: Read for a passphrase unless ``passphrase_env`` names another.
DEFAULT_VARIABLE = "HYPERION_PASSPHRASE"

#: Shortest passphrase that a prompt takes, characters. Whoever captured a knock can try passphrases at home, a few
#: dozen a second on one core: shorter ones fall in days. (What a variable holds is left to who put it there.)
MIN_PASSPHRASE_CHARS = 8


class Secrets:
    """Fetches secrets for one process and remembers them. Shows none."""

    def __init__(self, prompt: Prompt | None, environ: MutableMapping[str, str] | None = None) -> None:
        """``prompt`` is ``None`` where there is no terminal to ask on."""
        self._prompt = prompt
        self._environ = os.environ if environ is None else environ
        self._variables: dict[str, str] = {}
        self._answers: dict[str, str] = {}
        self._given: str | None = None
        #: Whether one was taken from the environment that this process was started with, and is still to be seen there.
        self.taken = False

    def __repr__(self) -> str:
        return "Secrets(hidden)"

    def give(self, passphrase: str) -> None:
        """A passphrase that came another way: it goes before every variable, and nobody is asked.

        Raises ``BadKeyError`` if it is too short.
        """
        self._given = _checked(passphrase)

    def export(self) -> dict[str, dict[str, str]]:
        """All that was fetched, for another process of the same program. Never for a log."""
        answers = self._answers if self._given is None else {**self._answers, "": self._given}
        return {"variables": dict(self._variables), "answers": dict(answers)}

    def restore(self, exported: Mapping[str, Mapping[str, str]]) -> None:
        """Knows what another process had fetched."""
        self._variables.update(exported["variables"])
        self._answers.update(exported["answers"])
        self._given = self._answers.pop("", None)

    def stop_asking(self) -> None:
        """From now on nobody is asked: a reload in a running program must not wait for a person."""
        self._prompt = None

    def variable(self, name: str) -> str | None:
        """The variable's value, or ``None`` if it is not set or empty.

        Removed from the environment, so that no child inherits it. That is all it can do: the kernel keeps the block
        the process was started with, and /proc/self/environ shows it to the same user and to root for our whole life.
        """
        value = self._environ.pop(name, None)
        if value:
            self._variables[name] = value
            self.taken = True
        return self._variables.get(name)

    def passphrase(self, variable: str, question: str) -> str:
        """What was given, else from the variable if it is set, else from the person at the terminal.

        Raises ``BadKeyError`` if there is neither, or the answer is too short.
        """
        given = self.variable(variable)
        if self._given is not None:
            return self._given
        if given is not None:
            return given
        if question not in self._answers:
            self._answers[question] = self._ask(variable, question)
        return self._answers[question]

    def _ask(self, variable: str, question: str) -> str:
        if self._prompt is None:
            raise BadKeyError(
                f"no passphrase: variable {variable} is not set, and there is no terminal to ask on",
                hint=f"set {variable}, or start this in a terminal",
            )
        return _checked(self._prompt(question))


def _checked(passphrase: str) -> str:
    if len(passphrase) < MIN_PASSPHRASE_CHARS:
        raise BadKeyError(
            f"the passphrase has fewer than {MIN_PASSPHRASE_CHARS} characters",
            hint="take four or more random words: whoever records one knock can try passphrases at home",
        )
    return passphrase
