import re

import pytest

from hyperion.errors import ConfigError, InternalError
from hyperion.log.fault import MAX_FRAMES, error_fields


def caught(exc: BaseException) -> BaseException:
    try:
        raise exc
    except type(exc) as error:
        return error


def test_type_message_and_place() -> None:
    fields = error_fields(caught(ConnectionResetError(104, "reset by peer")))
    assert fields["error.type"] == "ConnectionResetError"
    assert fields["error.message"] == "[Errno 104] reset by peer"
    assert re.fullmatch(r"log/test_fault\.py:\d+ caught", str(fields["error.stack_trace"]))


def test_an_exception_that_carries_bytes_or_objects_keeps_its_text_to_itself() -> None:
    for error in (
        UnicodeDecodeError("utf-8", b"s3cret", 0, 1, "bad"),
        ValueError(b"s3cret"),
        KeyError(("s3cret",)),
        OSError(2, "no", b"s3cret"),
    ):
        fields = error_fields(error)
        assert fields == {"error.type": type(error).__name__}


def test_causes_and_locals_stay_out() -> None:
    error = caught(KeyError("outer"))
    error.__cause__ = caught(ValueError("s3cret"))
    error.add_note("s3cret")
    assert "s3cret" not in str(error_fields(error))
    assert error_fields(error)["error.message"] == "outer"


def dig(depth: int) -> None:
    if depth == 0:
        raise RecursionError("deep")
    dig(depth - 1)


def test_a_deep_stack_keeps_its_inner_end() -> None:
    try:
        dig(200)
    except RecursionError as error:
        stack = str(error_fields(error)["error.stack_trace"]).split(" > ")
    assert len(stack) == MAX_FRAMES
    assert {frame.rsplit(" ", 1)[1] for frame in stack} == {"dig"}


def test_a_broken_text_does_not_break_the_log() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert error_fields(Broken("x", None, 1)) == {"error.type": "Broken", "error.message": "x 1"}


@pytest.mark.parametrize(("kind", "has_stack"), [(ConfigError, False), (InternalError, True), (ValueError, True)])
def test_an_error_of_ours_needs_no_stack(kind: type[Exception], has_stack: bool) -> None:
    fields = error_fields(caught(kind("said in words")))
    assert fields["error.message"] == "said in words"
    assert ("error.stack_trace" in fields) is has_stack
