"""A tunnel of its own for one caller."""

import asyncio
import os
import socket

import pytest

from hyperion.events import STREAM_DENIED
from hyperion.proto.handover import Answer, Ending
from hyperion.rendezvous import ask
from hyperion.worker.connector import ConnectFailed, Target
from hyperion.worker.single import SingleTunnel
from tests.helpers.calls import Call
from tests.helpers.rig import ADMIN_SECRET, PSK, SERVER, Events, Rig, echo, noise, send_all, service, until
from tests.peer.services import closed_port

pytestmark = pytest.mark.both_loops


async def called(tunnel: SingleTunnel, port: int) -> Call:
    control, theirs = socket.socketpair()
    stream, local = socket.socketpair()
    with local:
        ask(control, port, local)
    tunnel.adopt(theirs)
    return await Call.open(control, stream)


async def test_one_stream_from_knock_to_goodbye(events: Events) -> None:
    data = noise(2_000_000)
    async with service(echo) as port, Rig(port) as rig:
        tunnel = SingleTunnel(rig.target())
        await tunnel.open((os.geteuid(),))
        made = await called(tunnel, port)
        assert await made.answer() is Answer.OK
        received, _ = await asyncio.gather(made.reader.read(), send_all(made.writer, data))
        assert received == data
        assert await made.ending() is Ending.CLEAN
        made.close()
        await until(lambda: len(rig.server_tunnels()) == 2)
        await tunnel.close()
        await until(lambda: len(rig.server_tunnels()) == 1)


async def test_a_denied_port(events: Events) -> None:
    async with service(echo) as port, Rig(port, allow=()) as rig:
        tunnel = SingleTunnel(rig.target())
        await tunnel.open((os.geteuid(),))
        made = await called(tunnel, port)
        assert await made.answer() is Answer.DENIED
        made.close()
        await tunnel.close()
        assert events.reasons(STREAM_DENIED)


async def test_a_tunnel_that_breaks(events: Events) -> None:
    async with service(echo) as port, Rig(port, link=True) as rig:
        assert rig.link is not None
        tunnel = SingleTunnel(Target("web1", "127.0.0.1", rig.link.port, SERVER, ADMIN_SECRET, PSK))
        await tunnel.open((os.geteuid(),))
        made = await called(tunnel, port)
        assert await made.answer() is Answer.OK
        rig.link.cut()
        assert await made.ending() is Ending.BROKEN
        made.close()
        late = await called(tunnel, port)
        assert await late.answer() is Answer.NO_TUNNEL
        assert await late.reason() == "closed"
        late.close()
        await tunnel.close()


async def test_nobody_there() -> None:
    port = closed_port()
    tunnel = SingleTunnel(Target("web1", "127.0.0.1", port, SERVER, ADMIN_SECRET, PSK))
    with pytest.raises(ConnectFailed, match="connection refused"):
        await tunnel.open((os.geteuid(),))
    await tunnel.close()
