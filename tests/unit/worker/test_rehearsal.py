from hyperion.worker.rehearsal import rehearse


def test_sessions_are_really_played() -> None:
    """The request, its answer, eight bytes there and as many back."""
    assert rehearse(2) == 2 * (2 + 1 + 8 + 8)
