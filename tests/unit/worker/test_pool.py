"""The tunnels of a client, and who waits for one."""

import asyncio
import contextlib
import os
import time
from typing import Any

import pytest

from hyperion.backoff import Backoff
from hyperion.events import INTERNAL_ERROR, STREAM_FAILED, TUNNEL_DOWN, TUNNEL_UP
from hyperion.worker import pool
from hyperion.worker.deadlines import Deadlines
from tests.helpers.rig import Events, Rig, echo, ending, hang_up, service, until

pytestmark = pytest.mark.both_loops


async def test_a_lost_tunnel_comes_back_and_the_listener_lives(events: Events) -> None:
    async with service(echo) as port, Rig(port, pool_size=2, link=True) as rig:
        assert rig.link is not None
        for _ in range(3):
            rig.link.cut()
            await rig.state(lambda state: state.up == 0)
            assert await rig.exchange(b"x") == b"x"  # waited for the tunnel
            await rig.up(2)
        assert set(events.reasons(TUNNEL_DOWN)) <= {"peer-closed", "connection-lost"}


async def test_a_stream_waits_for_a_tunnel_that_comes_up_later(events: Events) -> None:
    async with service(echo) as port, Rig(port, link=True) as rig:
        assert rig.link is not None
        rig.link.stop_accepting()
        rig.link.cut()
        await rig.state(lambda state: state.up == 0)
        waiting = asyncio.create_task(rig.exchange(b"patience"))
        await until(lambda: len(rig.client._pool._waiting) == 1)
        await rig.link.start()
        assert await waiting == b"patience"


async def test_a_stream_waits_no_longer_than_it_may(events: Events) -> None:
    async with Rig(9, link=True) as rig:
        assert rig.link is not None
        waiters = rig.client._pool
        waiters._waiting = Deadlines(0.1, waiters._waited_too_long)
        rig.link.stop_accepting()
        rig.link.cut()
        await rig.state(lambda state: state.up == 0)
        reader, writer = await rig.open()
        assert await ending(reader, 3) == "reset"
        await hang_up(writer)
        assert events.reasons(STREAM_FAILED) == ["no-tunnel"]


async def test_no_more_wait_than_may(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_WAITING", 2)
    async with Rig(9, link=True) as rig:
        assert rig.link is not None
        rig.link.stop_accepting()
        rig.link.cut()
        await rig.state(lambda state: state.up == 0)
        streams = [await rig.open() for _ in range(3)]
        done, _ = await asyncio.wait(
            [asyncio.create_task(ending(reader)) for reader, _ in streams], return_when=asyncio.FIRST_COMPLETED
        )
        assert [task.result() for task in done] == ["reset"]
        for _, writer in streams:
            await hang_up(writer)
        await rig.link.start()


async def test_an_old_connection_is_replaced_before_it_is_dropped(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MAX_AGE_SECONDS", 0.2)
    async with service(echo) as port, Rig(port, link=True) as rig:
        reader, writer = await rig.open()
        for turn in range(20):
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            assert rig.client._pool._up_count() >= 1, turn  # never without a tunnel
            assert await rig.exchange(b"new") == b"new"
            await asyncio.sleep(0.05)
        assert rig.link is not None
        assert rig.link.connections >= 4
        await hang_up(writer)
        assert TUNNEL_DOWN not in [item.what for item in events.all]


async def test_an_old_connection_stays_while_there_is_no_new_one(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MAX_AGE_SECONDS", 0.2)
    async with service(echo) as port, Rig(port, link=True) as rig:
        assert rig.link is not None
        rig.link.stop_accepting()
        await until(lambda: events.reasons(TUNNEL_DOWN))  # it tried
        assert events.reasons(TUNNEL_DOWN)[0] == "refused"
        assert await rig.exchange(b"still") == b"still"
        assert rig.states[-1].up == 1
        await rig.link.start()
        await until(lambda: len(events.fields(TUNNEL_UP)) >= 2)
        assert await rig.exchange(b"new") == b"new"


async def test_new_streams_go_to_the_emptier_connection(events: Events) -> None:
    async with service(echo) as port, Rig(port, pool_size=2) as rig:
        streams = []
        for _ in range(6):
            reader, writer = await rig.open()
            writer.write(b"x")
            await reader.readexactly(1)
            streams.append(writer)
        assert [len(tunnel.owners) for tunnel in rig.client_tunnels()] == [3, 3]
        for writer in streams:
            await hang_up(writer)


async def test_closing_resets_those_who_wait(events: Events) -> None:
    async with Rig(9, link=True) as rig:
        assert rig.link is not None
        rig.link.stop_accepting()
        rig.link.cut()
        await rig.state(lambda state: state.up == 0)
        reader, writer = await rig.open()
        await until(lambda: len(rig.client._pool._waiting) == 1)
        await rig.client._pool.close("stop")
        assert await ending(reader) == "reset"
        with contextlib.suppress(ConnectionError):
            await hang_up(writer)


async def test_a_bug_costs_a_pause_and_not_the_slot(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "REVIVE_SECONDS", 0.01)
    real, faults = pool.Pool._connect_once, 2

    async def faulty(self: pool.Pool) -> pool.Member | None:
        nonlocal faults
        faults -= 1
        if faults >= 0:
            raise ZeroDivisionError
        return await real(self)

    monkeypatch.setattr(pool.Pool, "_connect_once", faulty)
    async with service(echo) as port, Rig(port, pool_size=1) as rig:
        assert await rig.exchange(b"x") == b"x"
    assert [fields["error.type"] for fields in events.fields(INTERNAL_ERROR)] == ["ZeroDivisionError"] * 2


async def test_a_state_says_what_an_operator_wants_to_know(events: Events) -> None:
    before = time.time()
    async with service(echo) as port, Rig(port, pool_size=2, link=True) as rig:
        await rig.state(lambda state: state.up == 2 and state.round_trip is not None)
        state = rig.states[-1]
        assert (state.reason, state.message, state.hint, state.next_attempt_at) == (None, None, None, None)
        assert state.since is not None
        assert before <= state.since <= time.time()
        assert (state.agent or "").startswith("hyperion/")
        assert state.server_name == "rig"
        assert state.ports == (port,)
        assert abs(state.skew_ms or 0) < 5_000
        assert rig.link is not None
        rig.link.stop_accepting()
        rig.link.cut()
        await rig.state(lambda state: state.up == 0 and state.message is not None)
        down = rig.states[-1]
        assert down.reason == "refused"
        assert (down.message or "").startswith("connection refused by 127.0.0.1")
        assert down.hint
        assert down.since is not None
        assert down.since >= state.since
        assert down.last_error_at is not None
        assert down.server_name == "rig"  # what it said last
        await rig.state(lambda state: state.next_attempt_at is not None)
        await rig.link.start()
        await rig.state(lambda state: state.up == 2 and state.next_attempt_at is None)
        assert rig.states[-1].last_error_at == rig.states[-1].last_error_at
        assert rig.states[-1].message is None


async def test_two_forks_of_one_process_do_nothing_in_step() -> None:
    """Workers are forked from a process that has imported everything."""

    def delay_in_a_fork() -> bytes:
        read, write = os.pipe()
        child = os.fork()  # noqa: TID251 - what is asked is what a fork inherits
        if not child:
            try:
                unused: Any = None
                made = pool.Pool(unused, 1, lambda _: None)
                os.write(write, repr(Backoff(1.0, 15.0).delay(0, made._chance)).encode())
            finally:
                os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        with open(read, "rb") as file:
            return file.read()

    one, other = delay_in_a_fork(), delay_in_a_fork()
    assert one
    assert other
    assert one != other
