from hyperion.worker.gate import MAX_UNPROVEN, MAX_UNPROVEN_PER_SOURCE, Gate


def test_one_source_may_take_eight_places() -> None:
    gate = Gate()
    assert [gate.enter("10.0.0.1") for _ in range(10)] == [True] * MAX_UNPROVEN_PER_SOURCE + [False] * 2
    assert gate.enter("10.0.0.2")
    assert gate.unproven == MAX_UNPROVEN_PER_SOURCE + 1


def test_all_sources_together_may_take_sixty_four() -> None:
    gate = Gate()
    entered = [gate.enter(f"10.0.0.{number}") for number in range(100)]
    assert entered == [True] * MAX_UNPROVEN + [False] * (100 - MAX_UNPROVEN)


def test_who_leaves_makes_room_for_one() -> None:
    gate = Gate(limit=2, per_source=1)
    assert gate.enter("a")
    assert not gate.enter("a")
    gate.leave("a")
    assert gate.enter("a")
    assert gate.enter("b")
    assert not gate.enter("c")
    gate.leave("b")
    assert gate.enter("c")


def test_a_million_refused_sources_cost_no_memory() -> None:
    gate = Gate(limit=1)
    assert gate.enter("first")
    for number in range(1000):
        assert not gate.enter(str(number))
    gate.leave("first")
    assert gate.unproven == 0
    assert not gate._sources
