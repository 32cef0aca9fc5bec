"""What tund and the workers must know of each other, passed on by the supervisor."""

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

import pytest

from hyperion.config import ClientConfig
from hyperion.config.settings import KnockSettings, TunSettings
from hyperion.errors import CannotCreateError, ChildError, ConfigError, RefusedError
from hyperion.events import DIAGNOSTIC
from hyperion.proto.control import DeviceDown, DeviceUp, Fault, Listeners, Message, Ready, Stop, TunnelState, WantPort
from hyperion.proto.control_keeper import HostNames
from hyperion.proto.control_tund import DeviceMade, ForgetTarget, ReflectorCounts, TargetState, WantListener
from hyperion.supervisor.crew import Crew
from hyperion.supervisor.kind import TUND
from hyperion.supervisor.plan import fake_plan, real_plan
from hyperion.supervisor.spec import Spec
from hyperion.supervisor.transparent import Transparent
from tests.helpers.rig import Events
from tests.helpers.supervise import client_config

MADE = DeviceMade("hyperion0", ("10.99.0.1", "fd68:7970:6572::a63:1"), shortcut=True)
UP = DeviceUp(MADE.name, MADE.addresses)
ADDRESSES = {"web1": ("10.99.0.10", "fd68:7970:6572::a63:a"), "db1": ("10.99.0.11", "fd68:7970:6572::a63:b")}


class FakeCrew:
    """Remembers who was told what."""

    def __init__(self) -> None:
        self.specs: list[Spec] = []
        self.said: list[tuple[str, Message]] = []

    def add(self, spec: Spec) -> None:
        self.specs.append(spec)

    def tell(self, name: str, message: Message) -> None:
        self.said.append((name, message))

    def tell_helper(self, name: str, message: Message) -> None:
        self.said.append((name, message))

    def news(self) -> list[tuple[str, Message]]:
        said, self.said = self.said, []
        return said


@pytest.fixture
def config(tmp_path: Path) -> ClientConfig:
    path = tmp_path / "settings.json"
    path.write_text('{"servers": {"web1": 1, "db1": 1}, "forwards": []}', encoding="utf-8")
    made = client_config(path)
    servers = [replace(server, virtual_ip=IPv4Address(ADDRESSES[server.name][0])) for server in made.servers]
    return replace(
        made,
        servers=tuple(servers),
        knock=KnockSettings(enabled=False, port=None, window=0),
        tun=TunSettings(IPv4Address("10.99.0.1"), 24, 65_535),
    )


class Scene:
    """Transparent mode, with workers that can be spoken for."""

    def __init__(self, config: ClientConfig) -> None:
        self.transparent = Transparent(fake_plan(config))
        self.crew = FakeCrew()
        self.transparent.start(cast("Crew", self.crew))
        self.tund = self.crew.specs[0]
        self.workers = {name: self.employ(name) for name in ADDRESSES}

    def employ(self, name: str) -> Spec:
        return self.transparent.employ(Spec(name=name, process_name="", entry="", config=Stop()))

    def say(self, spec: Spec, message: Message) -> list[tuple[str, Message]]:
        assert spec.heard is not None
        spec.heard(message)
        return self.crew.news()

    def end(self, spec: Spec) -> list[tuple[str, Message]]:
        assert spec.ended is not None
        spec.ended()
        return self.crew.news()


@pytest.fixture
def scene(config: ClientConfig) -> Scene:
    return Scene(config)


def state(name: str, *pairs: tuple[int, int], up: bool = False, closed: bool = False) -> tuple[str, Message]:
    return "tund", TargetState(name, ADDRESSES[name], up, closed, pairs)


def test_tund_starts_with_its_one_right(scene: Scene) -> None:
    assert scene.tund.kind is TUND
    assert scene.tund.entry == "hyperion.tund"
    assert not scene.transparent.is_up


def test_a_device_is_told_to_all_and_all_to_it(scene: Scene) -> None:
    assert scene.say(scene.tund, Ready(1)) == []
    assert scene.say(scene.tund, MADE) == [state("web1"), state("db1"), ("web1", UP), ("db1", UP)]
    assert scene.transparent.is_up
    assert scene.end(scene.tund) == [("web1", DeviceDown()), ("db1", DeviceDown())]
    assert not scene.transparent.is_up


def test_connections_that_nobody_answers_are_told_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    events = Events()
    monkeypatch.setattr("hyperion.log.event", events.event)
    scene.say(scene.tund, MADE)
    for counts in ({"reflected": 9, "unanswered": 0}, {"unanswered": 1}, {"unanswered": 7}):
        scene.say(scene.tund, ReflectorCounts(counts))
    assert events.fields(DIAGNOSTIC) == [{"hyperion.device.name": "hyperion0"}]


def test_a_tunnel_and_its_listeners(scene: Scene) -> None:
    web = scene.workers["web1"]
    assert scene.say(web, Listeners(True, ((22, 40_022),))) == []  # nobody to tell yet
    assert scene.say(scene.tund, MADE)[0] == state("web1", (22, 40_022), closed=True)
    assert scene.say(web, TunnelState(1, 2, None, None)) == [state("web1", (22, 40_022), up=True, closed=True)]
    assert scene.say(web, TunnelState(2, 2, None, None)) == []
    assert scene.say(web, Listeners(False, ())) == [state("web1", up=True)]
    assert scene.say(web, TunnelState(0, 2, "refused", None)) == [state("web1")]


def test_a_worker_that_dies_is_down_and_the_next_one_listens_anew(scene: Scene) -> None:
    web = scene.workers["web1"]
    scene.say(scene.tund, MADE)
    scene.say(web, Listeners(True, ((22, 40_022),)))
    scene.say(web, TunnelState(1, 2, None, None))
    assert scene.end(web) == [state("web1")]
    assert scene.say(web, Ready(2)) == [("web1", UP), state("web1")]


def test_who_ends_turns_new_connections_away_and_keeps_the_others(scene: Scene) -> None:
    web = scene.workers["web1"]
    scene.say(scene.tund, MADE)
    scene.say(web, Listeners(True, ((22, 40_022),)))
    scene.say(web, TunnelState(1, 2, None, None))
    scene.transparent.turn_away()
    assert scene.crew.news() == [state("web1", (22, 40_022), closed=True), state("db1")]
    assert scene.say(web, Listeners(True, ((22, 40_023),))) == [state("web1", (22, 40_023), closed=True)]


def test_one_that_leaves_does_not_speak_for_its_successor(scene: Scene) -> None:
    scene.say(scene.tund, MADE)
    leaving, scene.workers["web1"] = scene.workers["web1"], scene.employ("web1")
    assert scene.say(leaving, Listeners(True, ((22, 1),))) == []
    assert scene.end(leaving) == []
    assert scene.say(scene.workers["web1"], Listeners(True, ((22, 2),))) == [state("web1", (22, 2), closed=True)]


def test_the_connections_of_a_worker_that_is_replaced_hear_of_their_end(scene: Scene) -> None:
    scene.say(scene.tund, MADE)
    leaving = scene.workers["web1"]
    scene.say(leaving, Listeners(True, ((22, 1), (80, 2))))
    scene.workers["web1"] = scene.employ("web1")
    assert scene.say(scene.workers["web1"], Listeners(True, ((22, 3),))) == [
        state("web1", (22, 1), (80, 2), (22, 3), closed=True)
    ]
    # Nobody listens for 80 any more: nobody new is led to where somebody did.
    assert scene.say(scene.workers["web1"], TunnelState(1, 2, None, None)) == [
        state("web1", (22, 1), (22, 3), up=True, closed=True)
    ]
    assert scene.end(leaving) == [state("web1", (22, 3), up=True, closed=True)]


def test_a_server_that_a_reload_removed_is_forgotten_when_its_worker_has_left(
    scene: Scene, config: ClientConfig
) -> None:
    scene.say(scene.tund, MADE)
    leaving = scene.workers["web1"]
    scene.say(leaving, Listeners(True, ((22, 1),)))
    scene.say(leaving, TunnelState(1, 2, None, None))
    scene.transparent.retarget(fake_plan(replace(config, servers=config.servers[1:])))
    assert scene.crew.news() == [state("web1", (22, 1), closed=True), state("db1")]
    scene.transparent.retarget(fake_plan(replace(config, servers=config.servers[1:])))
    assert scene.crew.news() == [state("web1", (22, 1), closed=True), state("db1")]
    assert scene.end(leaving) == [("tund", ForgetTarget("web1"))]


def test_a_server_that_comes_back_while_its_worker_leaves(scene: Scene, config: ClientConfig) -> None:
    scene.say(scene.tund, MADE)
    leaving = scene.workers["web1"]
    scene.say(leaving, Listeners(True, ((22, 1),)))
    scene.transparent.retarget(fake_plan(replace(config, servers=config.servers[1:])))
    scene.employ("web1")
    scene.crew.news()
    scene.transparent.retarget(fake_plan(config))
    assert scene.crew.news() == [state("web1", (22, 1)), state("db1")]
    assert scene.end(leaving) == [state("web1")]


def test_an_address_that_another_server_has_now_is_not_kept(scene: Scene, config: ClientConfig) -> None:
    scene.say(scene.tund, MADE)
    scene.say(scene.workers["web1"], Listeners(True, ((22, 1),)))
    moved = replace(config.servers[1], virtual_ip=IPv4Address(ADDRESSES["web1"][0]))
    scene.transparent.retarget(fake_plan(replace(config, servers=(moved,))))
    assert scene.crew.news()[0] == ("tund", ForgetTarget("web1"))
    assert scene.end(scene.workers["web1"]) == []


def test_a_port_that_is_asked_for(scene: Scene) -> None:
    assert scene.say(scene.tund, WantListener("web1", 80)) == [("web1", WantPort(80))]
    assert scene.say(scene.tund, WantListener("nobody", 80)) == []


def test_a_reload(scene: Scene, config: ClientConfig) -> None:
    scene.say(scene.tund, MADE)
    moved = replace(config.servers[1], virtual_ip=IPv4Address("10.99.0.10"))
    scene.transparent.check(fake_plan(replace(config, servers=(moved,))))
    scene.transparent.retarget(fake_plan(replace(config, servers=(moved,))))
    said: list[Any] = scene.crew.news()
    assert said[0] == ("tund", ForgetTarget("web1"))
    assert said[1][1].addresses == ADDRESSES["web1"]
    with pytest.raises(ConfigError, match="fixed"):
        scene.transparent.check(fake_plan(replace(config, tun=replace(config.tun, mtu=1_500))))


@pytest.mark.parametrize(
    ("code", "kind"), [(77, RefusedError), (78, ConfigError), (73, CannotCreateError), (70, ChildError)]
)
def test_a_refusal_in_tunds_own_words(scene: Scene, code: int, kind: type[Exception]) -> None:
    given = ChildError("tund cannot start")
    assert scene.transparent.refusal(given) is given
    scene.say(scene.tund, Fault("it is in use (10.0.0.0/8)", code, "take another"))
    error = scene.transparent.refusal(given)
    assert type(error) is kind
    if code != 70:
        assert (str(error), error.hint) == ("transparent mode: it is in use (10.0.0.0/8)", "take another")


def test_what_does_not_go_with_the_device_has_a_keeper(config: ClientConfig, tmp_path: Path) -> None:
    crew = FakeCrew()
    plan = real_plan(config, {"web1": ("192.0.2.1",), "Bad Name": ("192.0.2.2",)}, apply=True)
    assert Transparent(plan).is_real
    assert not Transparent(fake_plan(config)).is_real
    Transparent(plan, tmp_path / "hosts").start(cast("Crew", crew))
    assert [spec.name for spec in crew.specs] == ["tund", "rules", "hosts"]
    assert crew.specs[1].config == plan.rule
    assert crew.specs[2].config == HostNames(str(tmp_path / "hosts"), (("192.0.2.1", "web1.hyperion"),))
