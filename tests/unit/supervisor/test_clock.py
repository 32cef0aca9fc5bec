from hyperion.proto.control import ClientWorkerConfig, Drain, KnockOrder, LogSettings
from hyperion.supervisor.clock import with_skew
from hyperion.supervisor.spec import Spec

KEY = bytes(32)


def spec(knock: KnockOrder | None) -> Spec:
    config = ClientWorkerConfig("web1", "192.0.2.1", 8443, KEY, KEY, KEY, 2, (), LogSettings(), knock=knock)
    return Spec("web1", "hyp-web1", "x:y", config)


def skew_of(spec: Spec) -> int | None:
    assert isinstance(spec.config, ClientWorkerConfig)
    assert spec.config.knock is not None
    return spec.config.knock.skew_ms


def test_the_next_worker_begins_with_what_was_learned() -> None:
    before = spec(KnockOrder(KEY, 8443))
    after = with_skew(before, -7_000)
    assert skew_of(after) == -7_000
    assert skew_of(before) is None
    assert skew_of(with_skew(after, None)) == -7_000
    assert (after.name, after.entry) == (before.name, before.entry)


def test_who_does_not_knock_needs_no_clock() -> None:
    assert with_skew(spec(None), 5) == spec(None)
    other = Spec("0", "hyp-0", "x:y", Drain(1.0))
    assert with_skew(other, 5) is other
