"""The independent peer pushes a real server worker: huge bodies, stalled readers, streams dropped in a hurry."""

import hashlib
import os
import random
import threading
from collections.abc import Iterator

import pytest

from tests.integration.worker_process import WorkerProcess, server_worker
from tests.peer.mux import DATA, RST, SYN
from tests.peer.noise import public_of
from tests.peer.peer import PeerClient
from tests.peer.services import EchoService
from tests.peer.session import PeerStream

SERVER_SECRET, ADMIN_SECRET, PSK = bytes([0x22] * 32), bytes([0x11] * 32), bytes(range(32))
SERVER, ADMIN = public_of(SERVER_SECRET), public_of(ADMIN_SECRET)
MIB = 1 << 20

#: The worker, its port, the echo it may reach.
Target = tuple[WorkerProcess, int, int]


@pytest.fixture
def target() -> Iterator[Target]:
    with EchoService() as echo:
        worker, port = server_worker(SERVER_SECRET, PSK, {ADMIN: (echo.port,)})
        with worker:
            yield worker, port, echo.port


def connect(target: Target, *, plain: bool = False) -> PeerClient:
    return PeerClient("127.0.0.1", target[1], SERVER, ADMIN_SECRET, PSK, plain=plain)


def start_echo(stream: PeerStream, data: bytes) -> threading.Thread:
    def send() -> None:
        stream.write(data)
        stream.finish()

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "extended"])
def test_bodies_as_large_as_the_window(target: Target, plain: bool) -> None:
    """What hashicorp/yamux does: one Data frame for all the credit there is."""
    data = random.Random(1).randbytes(8 * MIB)
    with connect(target, plain=plain) as client:
        client.session.mux.split = 64 * MIB
        stream = client.open(target[2])
        writer = start_echo(stream, data)
        assert hashlib.sha256(stream.read_all()).digest() == hashlib.sha256(data).digest()
        writer.join()
        assert max(stream.state.sent_sizes) > 200_000
        assert client.session.mux.violations == []


def test_a_stalled_stream_stops_no_other(target: Target) -> None:
    with connect(target) as client:
        stalled, others = client.open(target[2]), [client.open(target[2]) for _ in range(20)]
        writer = start_echo(stalled, bytes(4 * MIB))  # nobody reads the answer, so this stops when all buffers are full
        for number, stream in enumerate(others):
            data = random.Random(number).randbytes(MIB)
            sender = start_echo(stream, data)
            assert stream.read_all() == data
            sender.join()
        assert len(stalled.state.inbox) <= 262_144  # the worker keeps to the window that was never renewed
        assert len(stalled.read_all()) == 4 * MIB
        writer.join()
        assert client.session.mux.violations == []


def test_1000_streams_opened_and_reset_leak_nothing(target: Target) -> None:
    """As many as a peer may reset in a second before they are answered."""
    worker, _, echo_port = target
    descriptors = f"/proc/{worker.process.pid}/fd"
    before = len(os.listdir(descriptors))
    with connect(target) as client:
        for number in range(1_000):
            stream_id = 2 * number + 1
            client.session.send_raw_frame(DATA, SYN, stream_id, 2, echo_port.to_bytes(2, "big"))
            client.session.send_raw_frame(DATA, RST, stream_id, 0)
        client.session.ping(1)
        client.session.mux._next_id = 3_001
        assert client.session.mux.go_away is None
        stream = client.open(echo_port)
        stream.write(b"alive")
        assert stream.read_exactly(5) == b"alive"
    beat = worker.wait_idle()
    assert beat.sessions_total == 1
    assert len(os.listdir(descriptors)) == before


def test_half_open_streams_fill_the_table_and_no_more(target: Target) -> None:
    """512 streams that never ask for a port: the 513th ends this session, not the worker."""
    with connect(target) as client:
        for number in range(512):
            client.session.send_raw_frame(DATA, SYN, 2 * number + 1, 0)
        client.session.ping(1)
        client.session.send_raw_frame(DATA, SYN, 1_025, 0)
        assert client.session.wait_end() == "go-away"
        assert client.session.mux.go_away == 2
    with connect(target) as client:
        stream = client.open(target[2])
        stream.write(b"next")
        assert stream.read_exactly(4) == b"next"


def test_a_flood_of_pings_without_reading_ends_the_session_only(target: Target) -> None:
    with connect(target) as flooder, connect(target) as honest:
        pings = b"".join(bytes.fromhex("0002000100000000") + value.to_bytes(4, "big") for value in range(5_000))
        for at in range(0, len(pings), 12 * 1_000):
            flooder.session.send_raw_record(pings[at : at + 12 * 1_000])
        assert flooder.session.wait_end() in {"go-away", "eof", "reset"}
        honest.session.ping(5)
        assert honest.session.mux.violations == []
