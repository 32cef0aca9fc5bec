from hypothesis import given
from hypothesis import strategies as st

from hyperion.proto.connect import ConnectStatus, encode_request
from hyperion.proto.handover import (
    MAX_PREAMBLE_BYTES,
    Answer,
    Handover,
    decode_answer,
    decode_handover,
    encode_handover,
)

ports = st.integers(0, 0xFFFF)
preambles = st.binary(max_size=MAX_PREAMBLE_BYTES)


@given(ports, preambles)
def test_what_is_asked_arrives_however_it_is_cut(port: int, preamble: bytes) -> None:
    """A reader that asks for what is missing never reads a byte too many."""
    data = encode_handover(port, preamble)
    assert data.startswith(encode_request(port))
    taken = bytearray()
    while (found := decode_handover(taken))[0] is None:
        assert found[1] > 0
        assert len(taken) + found[1] <= len(data)
        taken += data[len(taken) : len(taken) + max(1, found[1] // 2)]
    assert found == (Handover(port, preamble), 0)
    assert taken == data


@given(st.binary(max_size=2))
def test_a_part_is_none(data: bytes) -> None:
    assert decode_handover(data) == (None, 3 - len(data))


def test_the_first_answers_are_those_of_the_wire() -> None:
    assert {status.name: int(status) for status in ConnectStatus}.items() <= {
        answer.name: int(answer) for answer in Answer
    }.items()
    assert [decode_answer(value) for value in (0, 3, 4, 255)] == [Answer.OK, Answer.NO_TUNNEL, None, None]
