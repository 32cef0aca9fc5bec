"""What the logs of a whole run tell, and what they never do."""

import base64
import socket

from bench import processes
from bench.peers import LOOPBACK
from tests.helpers.load import first_answer
from tests.helpers.product import PATIENCE, Product, Server
from tests.helpers.program import Program, Record
from tests.peer.services import EchoService, closed_port

#: Bytes sent on each stream: nothing, one, and some records.
SENT = (0, 1, 70_000, 1_000_000)


def talk(port: int, size: int) -> int:
    """Sends ``size`` bytes to an echo and ends; how many came back."""
    received = 0
    with socket.create_connection((LOOPBACK, port), PATIENCE) as connection:
        for start in range(0, size, 65_536):
            part = bytes(min(65_536, size - start))
            connection.sendall(part)
            missing = len(part)
            while missing:
                missing -= len(connection.recv(missing))
            received += len(part)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    return received


def session_id(record: Record) -> str:
    return str(record["hyperion"]["session"]["id"])


def test_one_id_from_connection_to_stream() -> None:
    """Each line of a session carries its id; the byte counts are what was moved; each end has its reason."""
    with EchoService() as echo, Product() as product:
        server = product.server([echo.port])
        client = product.client([server.entry()], [echo.port], pool=1)
        assert [talk(client.address(echo.port)[1], size) for size in SENT] == list(SENT)
        server.program.wait_events("stream-closed", len(SENT))
        assert client.program.stop() == 0
        (closed,) = server.program.wait_events("session-closed")
        (opened,) = server.program.events("session-opened")
        began, ended = server.program.events("stream-opened"), server.program.events("stream-closed")
    assert {session_id(each) for each in (opened, closed, *began, *ended)} == {session_id(opened)}
    assert [each["hyperion"]["stream"]["id"] for each in began] == [each["hyperion"]["stream"]["id"] for each in ended]
    assert len({each["hyperion"]["stream"]["id"] for each in began}) == len(SENT)
    assert [(each["source"]["bytes"], each["destination"]["bytes"]) for each in ended] == [(n, n) for n in SENT]
    assert [each["event"]["reason"] for each in ended] == ["finished"] * len(SENT)
    assert {each["destination"]["port"] for each in (*began, *ended)} == {echo.port}
    assert (closed["source"]["bytes"], closed["destination"]["bytes"]) == (sum(SENT), sum(SENT))
    assert closed["network"]["bytes"] == 2 * sum(SENT)
    assert closed["hyperion"]["session"]["streams"] == len(SENT)
    assert closed["event"]["outcome"] == "success"
    lines = [opened, closed, *began, *ended]
    assert {each["source"]["port"] for each in lines} == {opened["source"]["port"]}
    assert {each["user"]["id"] for each in lines} == {opened["user"]["id"]}
    assert {each["hyperion"].get("worker", {}).get("id", opened["service"]["node"]["name"]) for each in lines} <= {
        "0",
        "1",
    }


def test_every_process_counts_its_lines() -> None:
    """No gap in ``event.sequence``: nothing was lost on the way to standard error."""
    with EchoService() as echo, Product() as product:
        options = ["--log-level", "debug"]
        server = product.server([echo.port], options=options)
        client = product.client([server.entry()], [echo.port], options=options)
        for _ in range(20):
            talk(client.address(echo.port)[1], 1_000)
        assert client.program.stop() == server.program.stop() == 0
        for each, workers in ((server.program, {"0", "1"}), (client.program, {"web1"})):
            counts: dict[str, list[int]] = {}
            for record in each.records:
                counts.setdefault(record["service"].get("node", {}).get("name", "supervisor"), []).append(
                    record["event"]["sequence"]
                )
            # A server's worker that no connection came to has nothing to tell.
            assert {"supervisor"} < set(counts) <= {"supervisor", *workers}
            assert all(sequence == list(range(1, len(sequence) + 1)) for sequence in counts.values())


def canaries(product: Product) -> list[bytes]:
    """Every secret of a run, in each form in which it could slip out."""
    secrets = [product.psk, *(key.secret_raw for key in product.keys)]
    found: list[bytes] = []
    for secret in secrets:
        text = base64.b64encode(secret)
        found += [secret, text, text.rstrip(b"="), base64.urlsafe_b64encode(secret), secret.hex().encode()]
        found += [secret.hex().upper().encode(), repr(secret).encode(), text[:16], secret.hex()[:16].encode()]
    return found


def shown(program: Program) -> bytes:
    """Arguments and environment of all its processes, as ``ps`` could show them to others."""
    parts = []
    for process in program.family():
        for name in ("cmdline", "environ"):
            try:
                parts.append((processes.PROC / str(process.pid) / name).read_bytes())
            except PermissionError:  # a worker is not dumpable: then only root sees it, and we are not root
                assert name == "environ"
    return b"\0".join(parts)


def provoke(product: Product, server: Server) -> None:
    """Refused files with a secret in the wrong place."""
    good = server.config.read_text()
    for bad in (
        good.replace('source = "file"', f'source = "value"\nvalue = "{product.psk_text}x"'),
        good.replace('source = "file"', f'source = "value"\nvalue = "{product.psk_text}" x'),
        good.replace("[egress]", f'[egress]\n"{product.psk_text}" = 1'),
        good.replace("allow = [", f'allow = ["{product.psk_text}", '),
    ):
        server.config.write_text(bad)
        assert server.reload() == "HYP5002E"
    server.config.write_text(good)


def test_no_secret_anywhere() -> None:
    """Not in a log line of any kind, nor among the arguments or in the environment of any process."""
    with EchoService() as echo, Product() as product:
        dead = closed_port()
        options = ["--log-level", "debug"]
        server = product.server([echo.port, dead], options=options)
        client = product.client([server.entry()], [echo.port, dead, 1], options=options)
        stranger = product.client([server.entry()], [echo.port], name="stranger", admin="stranger", options=options)
        talk(client.address(echo.port)[1], 100_000)
        for port in (dead, 1):
            assert first_answer(client.address(port)) == "reset"
        provoke(product, server)
        stranger.program.wait_events("tunnel-down")
        server.program.wait_events("session-refused")
        secrets = canaries(product)
        assert any(secret in product.psk_file.read_bytes() for secret in secrets)
        seen = [shown(each) for each in product.programs]
        assert all(b"hyperion" in each for each in seen)
        for each in reversed(product.programs):
            assert each.stop() == 0
        seen += ["\n".join([*each.out, *each.err]).encode() for each in product.programs]
        assert sum(map(len, seen)) > 10_000
        assert [secret for secret in secrets for text in seen if secret in text] == []
