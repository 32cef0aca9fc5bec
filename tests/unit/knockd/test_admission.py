import pytest

from hyperion.knockd.admission import MAX_SOURCES, MAX_SOURCES_PER_GROUP, Admission, Decision

TTL = 30.0


def sources(count: int) -> list[str]:
    """Each in a network of its own."""
    return [f"10.{number >> 8}.{number & 255}.1" for number in range(count)]


def test_a_grant_begins_is_renewed_and_ends() -> None:
    admission = Admission(TTL)
    assert admission.decide("192.0.2.1", 100) is Decision.ADMIT
    assert admission.decide("192.0.2.1", 100.9) is Decision.FRESH
    assert admission.decide("192.0.2.1", 101) is Decision.RENEW
    assert admission.until("192.0.2.1", 130.9) == 131
    assert admission.next_timeout() == 131
    assert admission.expired(130.9) == []
    assert admission.expired(131) == ["192.0.2.1"]
    assert (len(admission), admission.next_timeout(), admission.until("192.0.2.1", 131)) == (0, None, None)
    assert admission.decide("192.0.2.1", 131) is Decision.ADMIT


def test_after_a_doubt_no_grant_is_too_young_to_be_renewed() -> None:
    admission = Admission(30)
    assert admission.decide("192.0.2.1", 100) is Decision.ADMIT
    admission.doubt(100.2)
    assert admission.decide("192.0.2.1", 100.3) is Decision.RENEW
    assert admission.decide("192.0.2.1", 100.4) is Decision.FRESH


@pytest.mark.parametrize(("decision", "asks"), [(each, each.value in ("admit", "renew")) for each in Decision])
def test_only_a_change_asks_the_firewall(decision: Decision, asks: bool) -> None:
    assert decision.asks_firewall is asks


@pytest.mark.parametrize("ttl", [0.5, 2.0, 30.0])
@pytest.mark.parametrize("every", [0.1, 0.24, 0.4])
def test_who_knocks_in_time_is_never_shut_out(ttl: float, every: float) -> None:
    """As the firewall sees it, which lives by the calls it gets."""
    admission, open_until, now = Admission(ttl), 0.0, 1_000.0
    for _ in range(300):
        if admission.decide("192.0.2.1", now).asks_firewall:
            open_until = now + ttl
        assert open_until >= now + min(ttl / 2, ttl - 1.0 if ttl > 2 else ttl)
        now += every * ttl


def test_a_flood_of_knocks_asks_once_a_second() -> None:
    admission = Admission(TTL)
    asked = sum(admission.decide("192.0.2.1", number / 1_000).asks_firewall for number in range(10_000))
    assert asked == 10


def test_a_one_shot_grant_may_be_gone_so_each_knock_renews_it() -> None:
    admission = Admission(TTL, one_shot=True)
    assert admission.decide("192.0.2.1", 0) is Decision.ADMIT
    assert admission.decide("192.0.2.1", 0) is Decision.RENEW


def test_full_means_closed_for_new_ones_only() -> None:
    admission = Admission(TTL)
    everyone = sources(MAX_SOURCES)
    assert {admission.decide(source, 0) for source in everyone} == {Decision.ADMIT}
    assert admission.decide("192.0.2.1", 1) is Decision.FULL
    assert {admission.decide(source, 2) for source in everyone} == {Decision.RENEW}
    assert len(admission) == MAX_SOURCES
    assert admission.decide("192.0.2.1", 32) is Decision.ADMIT  # all others have ended
    assert len(admission) == 1


def test_one_network_cannot_take_all_places() -> None:
    admission = Admission(TTL)
    for number in range(MAX_SOURCES_PER_GROUP):
        assert admission.decide(f"192.0.2.{number}", 0) is Decision.ADMIT
        assert admission.decide(f"2001:db8::{number:x}", 0) is Decision.ADMIT
    assert admission.decide("192.0.2.200", 0) is Decision.GROUP_FULL
    assert admission.decide("2001:db8::ffff", 0) is Decision.GROUP_FULL
    assert admission.decide("192.0.3.1", 0) is Decision.ADMIT
    assert admission.decide("192.0.2.0", 5) is Decision.RENEW
    admission.forget("192.0.2.1")
    assert admission.decide("192.0.2.200", 5) is Decision.ADMIT


def test_what_the_firewall_would_not_do_is_taken_back() -> None:
    admission = Admission(TTL, max_sources=1)
    admission.decide("192.0.2.1", 0)
    admission.forget("192.0.2.1")
    admission.forget("192.0.2.1")
    assert admission.decide("192.0.2.2", 0) is Decision.ADMIT


def test_a_successor_counts_what_lives_already() -> None:
    admission = Admission(TTL, max_sources=2)
    admission.load({"192.0.2.1": 5, "192.0.2.2": 1, "192.0.2.3": 500}, 100)
    assert len(admission) == 3
    assert admission.decide("192.0.2.4", 100) is Decision.FULL
    assert admission.decide("192.0.2.1", 100) is Decision.RENEW
    assert admission.expired(101) == ["192.0.2.2"]
    assert sorted(admission.expired(130)) == ["192.0.2.1", "192.0.2.3"]


def test_the_same_spelling_is_the_callers_business_and_nonsense_does_no_harm() -> None:
    admission = Admission(TTL)
    assert admission.decide("no address", 0) is Decision.ADMIT
    assert admission.ttl == TTL
