from hyperion.tund.mapping import Target


def test_pairs_replace_what_was_known_both_ways() -> None:
    target = Target("web1")
    target.set_listeners([(22, 40_001), (80, 40_002)], closed=True)
    assert (target.listeners, target.remote_ports) == ({22: 40_001, 80: 40_002}, {40_001: 22, 40_002: 80})
    target.set_listeners([(443, 40_003)], closed=False)
    assert (target.listeners, target.remote_ports, target.closed) == ({443: 40_003}, {40_003: 443}, False)


def test_a_worker_that_died_still_gets_its_resets_through() -> None:
    target = Target("web1")
    target.set_listeners([(22, 40_001)], closed=True)
    target.set_listeners([], closed=False)
    assert target.remote_ports == {40_001: 22}
    assert not target.closed


def test_nobody_is_led_to_ports_that_a_living_worker_gave_up() -> None:
    target = Target("web1", up=True)
    target.set_listeners([(22, 40_001)], closed=True)
    target.set_listeners([], closed=True)
    assert (target.listeners, target.remote_ports) == ({}, {})
