"""``proto.control``: each direction is a closed union, the largest message fits, and secrets do not show."""

import msgspec
import pytest

from hyperion.proto import control
from hyperion.proto.admins import AdminRule, Roster
from hyperion.proto.control import (
    MAX_MESSAGE_BYTES,
    ClientWorkerConfig,
    DeviceDown,
    DeviceUp,
    Drain,
    Fault,
    ForwardRule,
    Heartbeat,
    Knocked,
    Listeners,
    LogSettings,
    Message,
    Poll,
    Ready,
    ServerPolicy,
    ServerWorkerConfig,
    SessionClosed,
    SessionOpened,
    SocksConfig,
    Stop,
    SupervisorToWorker,
    TunnelState,
    WantPort,
    WorkerToSupervisor,
)

SECRET = bytes(range(100, 132))
PSK = bytes(range(150, 182))
RULE = AdminRule(public_key=b"\x07" * 32, name="web1", allow=(22, 443))


def server_config(admins: tuple[AdminRule, ...] = (RULE,)) -> ServerWorkerConfig:
    return ServerWorkerConfig(
        worker="0",
        static_secret=SECRET,
        psk=PSK,
        admins=Roster.of(admins),
        handshake_timeout=3.0,
        server_name="web1",
        log=LogSettings(),
    )


CLIENT_CONFIG = ClientWorkerConfig(
    server="web1",
    host="192.0.2.1",
    port=8443,
    server_public=b"\x08" * 32,
    static_secret=SECRET,
    psk=PSK,
    pool_size=2,
    forwards=(ForwardRule(local="127.0.0.1:2222", remote_port=22),),
    log=LogSettings(format="json", level="debug"),
)
DOWN: list[SupervisorToWorker] = [
    server_config(),
    CLIENT_CONFIG,
    SocksConfig(("127.0.0.1:1080",), (), LogSettings()),
    ServerPolicy(admins=Roster.of([RULE]), handshake_timeout=1.5),
    Knocked("192.0.2.1", "5f2c9a1e"),
    Poll(),
    DeviceUp("hyperion0", ("10.99.0.1",)),
    DeviceDown(),
    WantPort(22),
    Drain(timeout=30.0),
    Stop(),
]
UP: list[WorkerToSupervisor] = [
    Ready(pid=17),
    Listeners(closed=True, ports=((22, 40_022),)),
    Heartbeat(sessions=1, streams=2, sessions_total=3, streams_total=4, bytes_in=5, bytes_out=6),
    TunnelState(up=1, size=2, reason=None, round_trip=0.01),
    TunnelState(
        up=0,
        size=2,
        reason="refused",
        round_trip=None,
        message="connection refused by 192.0.2.1:8443",
        hint="is it running?",
        since=1.5,
        last_error_at=2.5,
        next_attempt_at=3.5,
        agent="hyperion/1",
        server_name="web1",
        skew_ms=-20,
        ports=(22, 443),
    ),
    SessionOpened(id="5f2c", source="192.0.2.9", source_port=4711, admin="alice", agent=None, at=1.5),
    SessionClosed(id="5f2c"),
    Fault(reason="boom", exit_code=70),
]
DOWN_DECODER: msgspec.msgpack.Decoder[SupervisorToWorker] = msgspec.msgpack.Decoder(SupervisorToWorker)
UP_DECODER: msgspec.msgpack.Decoder[WorkerToSupervisor] = msgspec.msgpack.Decoder(WorkerToSupervisor)


@pytest.mark.parametrize("message", DOWN, ids=lambda message: type(message).__name__)
def test_to_the_worker(message: Message) -> None:
    wire = msgspec.msgpack.encode(message)
    assert DOWN_DECODER.decode(wire) == message
    with pytest.raises(msgspec.ValidationError):
        UP_DECODER.decode(wire)


@pytest.mark.parametrize("message", UP, ids=lambda message: type(message).__name__)
def test_to_the_supervisor(message: Message) -> None:
    wire = msgspec.msgpack.encode(message)
    assert UP_DECODER.decode(wire) == message
    with pytest.raises(msgspec.ValidationError):
        DOWN_DECODER.decode(wire)


def test_every_message_is_in_one_union() -> None:
    known = {type(message) for message in [*DOWN, *UP]}
    defined = {kind for kind in vars(control).values() if isinstance(kind, type) and issubclass(kind, Message)}
    # A helper's word: it is in the unions of knockd and tund.
    assert defined - {Message, control.Pulse} == known


@pytest.mark.parametrize("wire", [{"t": "nonsense"}, {"t": "stop", "more": 1}, {"t": "drain"}, {}, []])
def test_unknown_messages_are_refused(wire: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        DOWN_DECODER.decode(msgspec.msgpack.encode(wire))


@pytest.mark.parametrize("config", [server_config(), CLIENT_CONFIG], ids=lambda config: type(config).__name__)
def test_secrets_do_not_show(config: Message) -> None:
    shown = f"{config!r} {config} {config:}"
    for secret in (SECRET, PSK):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown
    # rich and its tracebacks ask here, not for the repr
    assert not {SECRET, PSK} & {item for pair in config.__rich_repr__() for item in pair}


def rule(number: int, lists: int, ports: int) -> AdminRule:
    first = 60_000 - ports - number % lists
    name = "SHA256:" + "x" * 16
    return AdminRule(public_key=bytes(32), name=name, allow=tuple(range(first, first + ports)), expires=2e9)


@pytest.mark.parametrize(("admins", "lists", "ports"), [(900, 5, 200), (600, 600, 10), (170, 170, 100)])
def test_the_largest_configuration_fits(admins: int, lists: int, ports: int) -> None:
    rules = tuple(rule(number, lists, ports) for number in range(admins))
    assert len({each.allow for each in rules}) == lists
    assert len(msgspec.msgpack.encode(server_config(rules))) <= MAX_MESSAGE_BYTES
