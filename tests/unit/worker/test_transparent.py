"""The worker's listeners behind the device. Loopback stands in for the device: it is one, and needs no right."""

import asyncio
import errno
import socket

import pytest

from hyperion.events import DIAGNOSTIC, STREAM_DENIED
from hyperion.proto.control import DeviceDown, DeviceUp, Listeners, WantPort
from hyperion.worker import transparent
from hyperion.worker.transparent import MAX_PORTS, TransparentPorts, listen_on_device
from tests.helpers.rig import Events, Rig, echo, ending, hang_up, service, until

pytestmark = [
    pytest.mark.both_loops,
    pytest.mark.skipif(not hasattr(socket, "SO_BINDTODEVICE"), reason="transparent mode is Linux's"),
]

DEVICE = DeviceUp("lo", ("127.0.0.1", "::1"))


class Heard:
    """What the supervisor is told."""

    def __init__(self) -> None:
        self.all: list[Listeners] = []

    def ports(self) -> dict[int, int]:
        return dict(self.all[-1].ports)


def make(rig: Rig, *, old_server: bool = False) -> tuple[TransparentPorts, Heard]:
    """In the client worker's own place, unless the pool, which knows better, is not to tell it the server's ports."""
    client, heard = rig.client, Heard()
    ports = TransparentPorts(
        client._pool, client._poller, "web1", client._counters, heard.all.append, client._finish_if_drained
    )
    client._transparent = ports
    if old_server:
        client._pool._changed = client._tell
    return ports, heard


async def test_a_listener_for_each_port_that_the_server_allows(events: Events) -> None:
    async with service(echo) as port, Rig(port) as rig:
        ports, heard = make(rig, old_server=True)
        ports.allow([port, 1])
        assert heard.all == []
        rig.client.handle(DEVICE)
        assert heard.all[-1].closed
        assert heard.ports().keys() == {port, 1}
        for host in DEVICE.addresses:
            reader, writer = await asyncio.open_connection(host, heard.ports()[port])
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            assert rig.client.heartbeat().streams == 1
            await hang_up(writer)
            await until(lambda: rig.client.heartbeat().streams == 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", heard.ports()[1])
        assert await ending(reader) == "reset"
        await hang_up(writer)
        assert events.fields(STREAM_DENIED)[-1]["hyperion.forward.local"] == "lo"


async def test_the_servers_own_words_come_first() -> None:
    """What the tunnel told of ports is listened on before the supervisor hears that the tunnel stands."""
    async with service(echo) as port, Rig(port) as rig:
        await rig.state(lambda state: state.up == state.size)
        ports, heard = make(rig)
        rig.client.handle(DEVICE)
        assert heard.all[-1] == Listeners(closed=False, ports=())
        rig.client._pool.tell()
        assert heard.all[-1].closed
        assert heard.ports().keys() == {port}
        count = len(heard.all)
        rig.client._pool.tell()
        assert len(heard.all) == count
        ports.close()


async def test_another_list_opens_and_closes(events: Events) -> None:
    async with service(echo) as port, Rig(port) as rig:
        ports, heard = make(rig, old_server=True)
        ports.device_up(DEVICE)
        ports.allow([port, 1])
        reader, writer = await asyncio.open_connection("127.0.0.1", heard.ports()[port])
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        ports.allow([2])
        # One in use stays: its connection would have lost its way.
        assert heard.ports().keys() == {port, 2}
        writer.write(b"y")
        assert await reader.readexactly(1) == b"y"
        await hang_up(writer)
        await until(lambda: not ports.streams)
        ports.allow([3])
        assert heard.ports().keys() == {3}


async def test_an_old_server_is_asked_port_by_port(events: Events) -> None:
    async with service(echo) as port, Rig(port) as rig:
        ports, heard = make(rig, old_server=True)
        ports.want(port)
        assert heard.all == []
        ports.device_up(DEVICE)
        ports.want(port)
        assert not heard.all[-1].closed
        assert heard.ports().keys() == {port}
        known = heard.ports()[port]
        ports.want(port)
        assert heard.ports()[port] == known
        ports.allow([port])
        count = len(heard.all)
        ports.want(7)  # not allowed
        assert len(heard.all) == count


async def test_a_scan_closes_what_nobody_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transparent, "MAX_PORTS", 3)
    async with service(echo) as port, Rig(port) as rig:
        ports, heard = make(rig, old_server=True)
        ports.device_up(DEVICE)
        ports.want(port)
        reader, writer = await asyncio.open_connection("127.0.0.1", heard.ports()[port])
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        for wanted in range(1, 20):
            ports.want(wanted)
            assert len(heard.ports()) <= 3
        assert heard.ports().keys() == {port, 18, 19}
        writer.write(b"y")
        assert await reader.readexactly(1) == b"y"
        await hang_up(writer)


async def test_the_device_goes_and_comes(events: Events) -> None:
    async with service(echo) as port, Rig(port) as rig:
        await rig.state(lambda state: state.up == state.size)
        ports, heard = make(rig)
        rig.client.handle(DEVICE)
        rig.client.handle(WantPort(port))
        reader, writer = await asyncio.open_connection("127.0.0.1", heard.ports()[port])
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        rig.client.handle(DeviceDown())
        assert await ending(reader) == "reset"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", heard.ports()[port])
        ports.device_up(DEVICE)
        ports.want(port)
        _, second = await asyncio.open_connection("127.0.0.1", heard.ports()[port])
        await hang_up(second)
        await hang_up(writer)


async def test_a_kernel_that_refuses_is_told_once(events: Events) -> None:
    async with Rig(9) as rig:
        ports, heard = make(rig, old_server=True)
        ports.allow([1, 2])
        ports.device_up(DeviceUp("no-such-device", ("127.0.0.1",)))
        ports.allow([1, 2, 3])
        assert heard.ports() == {}
        assert len(events.fields(DIAGNOSTIC)) == 1


def test_both_families_have_the_same_port() -> None:
    sockets = listen_on_device("lo", DEVICE.addresses)
    assert len({sock.getsockname()[1] for sock in sockets}) == 1
    for sock in sockets:
        sock.close()


def test_a_port_that_one_family_has_already_is_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    real = transparent._bind

    def refuse_first(device: str, address: str, port: int) -> socket.socket:
        tried.append(port)
        if len(tried) == 2:
            raise OSError(errno.EADDRINUSE, "taken")
        return real(device, address, port)

    monkeypatch.setattr(transparent, "_bind", refuse_first)
    for sock in listen_on_device("lo", DEVICE.addresses):
        sock.close()
    assert len(tried) == 4


def test_as_many_ports_as_a_server_can_tell() -> None:
    from hyperion.proto import extensions

    assert MAX_PORTS == extensions.MAX_PORTS
