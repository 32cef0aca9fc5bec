"""The pieces of the bench do what they say. Nothing here looks at a clock: a figure is never a test."""

import contextlib
import getpass
import hashlib
import socket
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import bulk, payload, service, stats, storm
from bench.bulk import Header, NothingAskedError, Operation, TransferError
from bench.echo import EchoService
from bench.memory import measure_idle_streams
from bench.peers import TwoRelays, port_is_open, stop_all
from bench.plan import Plan
from bench.ssh import AES128_GCM, SshForward, ssh_command, sshd_config
from bench.targets import SSH_AES
from bench.tunnel import PUBLIC_KEY, Options, client_config, server_config

SIZES = [0, 1, payload.BLOCK_BYTES - 1, payload.BLOCK_BYTES, payload.BLOCK_BYTES + 1, 3 * payload.BLOCK_BYTES + 7]


@pytest.fixture(scope="module")
def service_ports() -> Iterator[dict[str, int]]:
    child, ports = service.start()
    with child:
        yield ports
    assert child.killed == []


@pytest.fixture
def echo_address() -> Iterator[tuple[str, int]]:
    stopping = threading.Event()
    echo = EchoService()
    thread = threading.Thread(target=echo.run, args=(stopping.is_set, 0.01))
    thread.start()
    yield "127.0.0.1", echo.port
    stopping.set()
    thread.join(10)
    echo.close()


class TestStatistics:
    def test_spread_keeps_median_and_range(self) -> None:
        found = stats.spread([3.0, 1.0, 2.0])
        assert (found.median, found.low, found.high, found.count) == (2.0, 1.0, 3.0, 3)
        assert found.percent == 50.0

    def test_a_median_of_zero_has_no_spread_in_percent(self) -> None:
        assert stats.spread([0.0, 0.0]).percent == 0.0

    def test_ratio_is_that_of_the_medians(self) -> None:
        assert stats.ratio([10, 90, 20], [5, 1000, 5]) == 4.0

    @pytest.mark.parametrize("theirs", [[], [0.0]])
    def test_no_ratio_to_nothing(self, theirs: list[float]) -> None:
        with pytest.raises(ValueError, match=r"no values|is 0"):
            stats.ratio([1.0], theirs)

    @pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)])
    def test_quantile_is_a_value_that_was_seen(self, share: float, expected: float) -> None:
        assert stats.quantile([float(value) for value in range(100, 0, -1)], share) == expected

    def test_slope(self) -> None:
        assert stats.slope([(0, 100), (500, 600), (1000, 1100)]) == pytest.approx(1.0)


class TestPayload:
    @pytest.mark.parametrize("size", SIZES)
    def test_digest_is_that_of_the_blocks(self, size: int) -> None:
        data = b"".join(bytes(block) for block in payload.blocks(size))
        assert len(data) == size
        assert hashlib.sha256(data).digest() == payload.digest(size)

    def test_no_two_blocks_are_equal(self) -> None:
        blocks = [bytes(block) for block in payload.blocks(4 * payload.BLOCK_BYTES)]
        assert len(set(blocks)) == 4

    def test_another_seed_gives_other_bytes(self) -> None:
        assert payload.digest(1000, seed=1) != payload.digest(1000, seed=2)


class TestBulk:
    def test_header_comes_back(self) -> None:
        header = Header(Operation.DOWNLOAD, True, 123)
        assert Header.decode(header.encode()) == header

    @pytest.mark.parametrize(
        "data", [b"X" + bytes(9), b"U\x02" + bytes(8), b"U\x00" + b"\xff" * 8], ids=["operation", "flag", "size"]
    )
    def test_other_headers_are_refused(self, data: bytes) -> None:
        with pytest.raises(TransferError, match="not a header"):
            Header.decode(data)

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("move", [bulk.upload, bulk.download])
    def test_bytes_arrive(self, service_ports: dict[str, int], move: Callable[..., bulk.Transfer], size: int) -> None:
        seen: list[int] = []
        done = move(("127.0.0.1", service_ports["bulk"]), size, hashed=True, progress=seen.append)
        assert done.sent_digest == done.received_digest == payload.digest(size).hex()
        assert seen[-1:] == ([size] if size else [])

    def test_without_hashing_nothing_is_hashed(self, service_ports: dict[str, int]) -> None:
        done = bulk.upload(("127.0.0.1", service_ports["bulk"]), 1000)
        assert done.sent_digest == done.received_digest == bulk.NO_DIGEST.hex()

    def test_an_altered_byte_is_seen(self) -> None:
        with (
            liar(lambda data: data[:-1] + bytes([data[-1] ^ 1])) as address,
            pytest.raises(TransferError, match="hash"),
        ):
            bulk.download(address, 1000, hashed=True)

    def test_an_early_end_is_seen(self) -> None:
        with liar(lambda data: data[:-1]) as address, pytest.raises(TransferError, match="1 of 1000 bytes early"):
            bulk.download(address, 1000, hashed=True)

    def test_a_look_at_the_port_is_no_transfer(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            ours.close()
            with pytest.raises(NothingAskedError):
                bulk.serve(theirs)


class TestSmallWork:
    def test_storm_makes_every_connection(self, echo_address: tuple[str, int]) -> None:
        made = storm.Storm(echo_address, total=150, concurrency=64)
        made.run()
        assert (made.started, made.done, made.failed) == (150, 150, 0)

    def test_refused_connections_are_no_figure(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
        with pytest.raises(TransferError, match="10 of 10 connections failed"):
            storm.connections_per_second(address, 10, 4)

    def test_warm_up_does_not_count(self, echo_address: tuple[str, int]) -> None:
        assert len(storm.round_trips(echo_address, 1024, count=5, warm_up=3)) == 5

    def test_idle_connections_stay_open(self, echo_address: tuple[str, int]) -> None:
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(connection) for connection in storm.open_idle(echo_address, 20)]
            for connection in opened:
                connection.sendall(b"still here")
                assert bulk.read_exactly(connection, 10) == b"still here"


class TestPeers:
    def test_two_relays_carry_both_services(self, service_ports: dict[str, int]) -> None:
        peer = TwoRelays()
        with contextlib.closing(contextlib.ExitStack()) as stack:
            stack.callback(stop_all, [peer])
            peer.start(service_ports)
            bulk.upload(peer.address("bulk"), 1_000_003, hashed=True)
            bulk.download(peer.address("bulk"), 1_000_003, hashed=True)
            assert storm.connections_per_second(peer.address("echo"), 20, 8) > 0
            address = peer.address("echo")
        assert not port_is_open(address)

    @pytest.mark.needs("sshd", "ssh", "ssh-keygen")
    def test_ssh_carries_both_services(self, service_ports: dict[str, int], tmp_path: Path) -> None:
        peer = SshForward(SSH_AES, AES128_GCM, tmp_path / "ssh")
        with contextlib.closing(contextlib.ExitStack()) as stack:
            stack.callback(stop_all, [peer])
            peer.start(service_ports)
            bulk.download(peer.address("bulk"), 1_000_003, hashed=True)
            assert storm.connections_per_second(peer.address("echo"), 20, 8) > 0
            assert len(peer.pids()["client"]) == 1
            assert len(peer.pids()["server"]) >= 2

    def test_sshd_config_lets_in_one_key_and_one_cipher(self, tmp_path: Path) -> None:
        lines = sshd_config(tmp_path, 2022, AES128_GCM).splitlines()
        settings = dict(line.split(" ", 1) for line in lines if line)
        assert settings["ListenAddress"] == "127.0.0.1"
        assert settings["Port"] == "2022"
        assert settings["Ciphers"] == AES128_GCM
        assert settings["AuthorizedKeysFile"] == f"{tmp_path}/user.pub"
        assert settings["UsePAM"] == settings["PasswordAuthentication"] == "no"

    def test_ssh_reads_no_configuration_of_the_user(self, tmp_path: Path) -> None:
        command = ssh_command(tmp_path, 2022, AES128_GCM, {"bulk": 1}, {"bulk": 2})
        assert command[command.index("-F") + 1] == "none"
        assert command[command.index("-L") + 1] == "127.0.0.1:2:127.0.0.1:1"
        assert command[-1] == f"{getpass.getuser()}@127.0.0.1"

    def test_an_idle_connection_of_a_relay_has_a_weight(self, service_ports: dict[str, int]) -> None:
        plan = Plan(idle_streams=40, idle_steps=2)
        assert set(measure_idle_streams(plan, TwoRelays(), service_ports)) == {
            "idle-stream-client",
            "idle-stream-server",
        }


class TestTunnelConfigurations:
    def test_server(self, tmp_path: Path) -> None:
        config = tomllib.loads(server_config(tmp_path, 8443, "ADMIN", [22, 80]))
        assert config["listen"] == "127.0.0.1:8443"
        assert config["key"] == {"source": "file", "file": str(tmp_path / "psk")}
        assert config["identity"]["admin_pubkeys"] == ["ADMIN"]
        assert config["egress"]["allow"] == [22, 80]

    def test_client_has_each_server_name(self, tmp_path: Path) -> None:
        options = Options(servers=("one", "two"), pool_size=5)
        config = tomllib.loads(client_config(tmp_path, 8443, "SERVER", "PSK", options))
        assert config["pool_size"] == 5
        assert config["key"] == {"source": "value", "value": "PSK"}
        assert [each["name"] for each in config["server"]] == ["one", "two"]
        assert {each["server_pubkey"] for each in config["server"]} == {"SERVER"}

    def test_odd_characters_in_a_path(self) -> None:
        directory = Path('a "quoted" \\ directory')
        config = tomllib.loads(server_config(directory, 1, "", []))
        assert config["key"]["file"] == str(directory / "psk")

    def test_public_key_is_found_in_what_keygen_prints(self) -> None:
        key = "D6poTtKIZ7l/Smot7l34zpdOdrcBjj8iocTPJnhXDyA="
        found = PUBLIC_KEY.search(f"public key:\n  {key}\nwritten to /some/path/server.key\n")
        assert found is not None
        assert found.group() == key


@contextlib.contextmanager
def liar(change: Callable[[bytes], bytes]) -> Iterator[tuple[str, int]]:
    """A service that announces the right digest of 1000 bytes and sends others."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            bulk.read_exactly(connection, len(Header(Operation.DOWNLOAD, True, 0).encode()))
            connection.sendall(payload.digest(1000) + change(b"".join(bytes(part) for part in payload.blocks(1000))))

    thread = threading.Thread(target=answer)
    thread.start()
    with listener:
        yield listener.getsockname()
    thread.join(10)
