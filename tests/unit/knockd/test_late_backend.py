"""A backend that is found later."""

import pytest

from hyperion.firewall.nft import Backend, NftMissingError
from hyperion.knockd.late_backend import LateBackend


class FakeBackend:
    name = "fake"

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def load(self, commands: str) -> None:
        self.calls.append(("load", commands))

    def check(self, commands: str) -> None:
        self.calls.append(("check", commands))

    def list_text(self, *what: str, handles: bool = False) -> str:
        self.calls.append(("text", *what, *(("handles",) if handles else ())))
        return "text"

    def list_whole(self, *what: str) -> str:
        self.calls.append(("whole", *what))
        return "whole"

    def list_json(self, *what: str) -> str:
        self.calls.append(("json", *what))
        return "json"


def test_it_is_looked_for_until_it_is_there_and_then_no_more() -> None:
    found = FakeBackend()
    answers: list[Backend | None] = [None, None, found]

    def find() -> Backend:
        answer = answers.pop(0)
        if answer is None:
            raise NftMissingError
        return answer

    backend = LateBackend(find)
    for _ in range(2):
        with pytest.raises(NftMissingError, match="not installed"):
            backend.load("add ...")
    assert backend.name == "nftables", "in sentences about it"
    backend.load("add ...")
    backend.check("check")
    assert backend.list_text("table", "inet", "x", handles=True) == "text"
    assert backend.list_json("ruleset") == "json"
    assert backend.name == "fake"
    assert found.calls == [
        ("load", "add ..."),
        ("check", "check"),
        ("text", "table", "inet", "x", "handles"),
        ("json", "ruleset"),
    ]


def test_it_tells_since_when_a_call_is_under_way() -> None:
    class Slow(FakeBackend):
        def load(self, commands: str) -> None:
            seen.append(backend.busy_since)
            raise NftMissingError

    seen: list[float | None] = []
    backend = LateBackend(Slow, clock=lambda: 7.0)
    with pytest.raises(NftMissingError):
        backend.load("x")
    assert (seen, backend.busy_since) == ([7.0], None)
