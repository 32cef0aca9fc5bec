import random

import pytest

from hyperion.supervisor.restart import (
    BUDGET_WINDOW,
    EXIT_CONFIG,
    EXIT_REFUSED,
    LONG_LIFE,
    LONGEST_WAIT,
    MAX_BOOT_ATTEMPTS,
    MAX_RESTARTS,
    GiveUp,
    Restart,
    RestartBudget,
    RestartPolicy,
)


def policy(limit: int = 1000, *, ready: bool = True) -> RestartPolicy:
    made = RestartPolicy(RestartBudget(limit))
    if ready:
        made.ready()
    return made


def waits(made: RestartPolicy, lives: list[float]) -> list[float]:
    """How long after each end of a life (seconds long) the next is started."""
    now, found = 1000.0, []
    for life in lives:
        made.started(now)
        verdict = made.ended(-11, now + life)
        assert isinstance(verdict, Restart)
        found.append(round(verdict.at - now - life, 6))
        now = verdict.at
    return found


def test_each_failure_doubles_the_wait_up_to_half_a_minute() -> None:
    assert waits(policy(), [0.0] * 11) == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]


def test_a_long_life_starts_afresh() -> None:
    assert waits(policy(), [0, 0, 0, LONG_LIFE - 0.001, LONG_LIFE, 0]) == [0.1, 0.2, 0.4, 0.8, 0.1, 0.2]


@pytest.mark.parametrize("ready", [False, True])
@pytest.mark.parametrize(
    ("code", "why"), [(EXIT_CONFIG, "its configuration cannot work"), (EXIT_REFUSED, "it lacks a right")]
)
def test_what_a_restart_cannot_mend_is_not_tried_again(ready: bool, code: int, why: str) -> None:
    made = policy(ready=ready)
    made.started(0.0)
    assert made.ended(code, 1.0) == GiveUp(why)
    assert made.restarts == 0


@pytest.mark.parametrize("code", [None, 0, 1, 70, -9])
def test_what_never_was_ready_is_given_up(code: int | None) -> None:
    made = policy(ready=False)
    verdicts = []
    for attempt in range(MAX_BOOT_ATTEMPTS):
        made.started(float(attempt))
        verdicts.append(made.ended(code, attempt + 0.1))
    assert [type(verdict) for verdict in verdicts] == [Restart] * (MAX_BOOT_ATTEMPTS - 1) + [GiveUp]
    assert verdicts[-1] == GiveUp("it ended 5 times before it was ready")


def test_a_patient_one_goes_on_trying_if_it_can_help() -> None:
    made = RestartPolicy(RestartBudget(1000), patient=True)
    for attempt in range(50):
        made.started(100.0 * attempt)
        verdict = made.ended(1, 100.0 * attempt + 0.1)
        assert isinstance(verdict, Restart)
        assert verdict.at <= 100.0 * attempt + 0.1 + LONGEST_WAIT
    assert isinstance(made.ended(78, 6_000.0), GiveUp)


def test_what_was_ready_once_is_never_given_up() -> None:
    made = policy(ready=False)
    made.started(0.0)
    made.ended(1, 0.1)
    made.ready()
    assert len(waits(made, [0.0] * 100)) == 100


def test_no_minute_sees_more_restarts_than_the_budget() -> None:
    rng = random.Random(3)
    budget = RestartBudget()
    policies = [RestartPolicy(budget) for _ in range(15)]
    now, times = 0.0, []
    for _ in range(2000):
        now += rng.random() * 0.2
        made = rng.choice(policies)
        made.ready()
        made.started(now - rng.random() * 100)
        verdict = made.ended(-9, now)
        assert isinstance(verdict, Restart)
        assert verdict.at > now
        times.append(verdict.at)
    times.sort()
    most = max(len([time for time in times if start <= time < start + BUDGET_WINDOW]) for start in times)
    assert most == MAX_RESTARTS


def test_a_single_crash_loop_stays_far_below_twenty_a_minute() -> None:
    now, starts = 0.0, []
    made = policy(MAX_RESTARTS)
    while now < 60:
        made.started(now)
        verdict = made.ended(1, now)
        assert isinstance(verdict, Restart)
        now = verdict.at
        starts.append(now)
    assert len([start for start in starts if start < 60]) <= 10


def test_a_larger_crew_may_be_restarted_once_each() -> None:
    budget = RestartBudget(40)
    assert [budget.reserve(5.0, 5.0) for _ in range(40)] == [5.0] * 40
    assert budget.reserve(5.0, 5.0) == 65.0


def test_one_that_was_ready_may_be_wanted_back_soon() -> None:
    made = RestartPolicy(RestartBudget(1000), 0.5)
    made.ready()
    assert waits(made, [0.0] * 5) == [0.1, 0.2, 0.4, 0.8, 1.6], "not ready in these lives"
    for _ in range(3):
        made.started(0.0)
        made.ready()
        assert made.ended(-9, 1.0) == Restart(1.5)


def test_what_counts_as_a_long_life_may_differ() -> None:
    made = RestartPolicy(RestartBudget(1000), 0.5, 1.5)
    made.ready()
    assert waits(made, [0.0, 0.0, 1.4, 1.5, 0.0]) == [0.1, 0.2, 0.4, 0.1, 0.2]


def test_the_budget_forgets() -> None:
    budget = RestartBudget(1)
    assert budget.reserve(0.0, 0.0) == 0.0
    assert budget.reserve(1.0, 1.0) == 60.0
    assert budget.reserve(130.0, 130.0) == 130.0
