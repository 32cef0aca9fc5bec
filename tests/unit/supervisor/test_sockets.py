import errno
import socket
import threading
from collections.abc import Callable

import pytest

from hyperion.config import Endpoint
from hyperion.errors import CannotCreateError, HyperionError, RefusedError
from hyperion.supervisor import sockets
from hyperion.supervisor.sockets import close_all, explain, listen, listen_shared, port_of, require_free


def answered(address: tuple[str, int], listener: socket.socket) -> bool:
    thread = threading.Thread(target=lambda: listener.accept()[0].close())
    thread.start()
    with socket.create_connection(address, 5) as connection:
        connection.recv(1)
    thread.join(5)
    return not thread.is_alive()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0"])
def test_shared_sockets_have_one_port_and_each_gets_a_part(host: str) -> None:
    listeners = listen_shared(Endpoint(host, 0), 4)
    (port,) = {port_of(sock) for sock in listeners}
    target = {"0.0.0.0": "127.0.0.1", "localhost": "127.0.0.1"}.get(host, host)
    clients = [socket.create_connection((target, port), 5) for _ in range(400)]
    shares = []
    for listener in listeners:
        listener.setblocking(False)
        shares.append(0)
        while True:
            try:
                listener.accept()[0].close()
            except BlockingIOError:
                break
            shares[-1] += 1
    close_all([*clients, *listeners])
    assert sum(shares) == 400
    assert min(shares) > 40


def test_everywhere_means_both_families() -> None:
    listener = listen(Endpoint("::", 0))
    assert answered(("127.0.0.1", port_of(listener)), listener)
    assert answered(("::1", port_of(listener)), listener)
    listener.close()


def test_another_ipv6_address_is_ipv6_only() -> None:
    listener = listen(Endpoint("::1", 0))
    assert listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    listener.close()


def test_where_the_kernel_does_not_spread_one_socket_is_shared() -> None:
    listeners = listen_shared(Endpoint("127.0.0.1", 0), 3, spread=False)
    assert len(listeners) == 3
    assert len({id(sock) for sock in listeners}) == 1
    assert listeners[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
    close_all(listeners)


@pytest.mark.parametrize("first", [lambda at: listen_shared(at, 2), lambda at: [listen(at)]], ids=["shared", "alone"])
@pytest.mark.parametrize("second", [lambda at: listen_shared(at, 2), lambda at: [listen(at)]], ids=["shared", "alone"])
def test_nobody_joins_a_port_in_use(
    first: Callable[[Endpoint], list[socket.socket]], second: Callable[[Endpoint], list[socket.socket]]
) -> None:
    held = first(Endpoint("127.0.0.1", 0))
    try:
        with pytest.raises(CannotCreateError, match="the address is in use") as caught:
            second(Endpoint("127.0.0.1", port_of(held[0])))
        assert caught.value.hint == f"another program listens on port {port_of(held[0])}; stop it"
    finally:
        close_all(held)


def test_a_port_is_free_at_once_after_use() -> None:
    """Connections of the last run that are still in TIME_WAIT do not count."""
    listener = listen(Endpoint("127.0.0.1", 0))
    address = Endpoint("127.0.0.1", port_of(listener))
    client = socket.create_connection((address.host, address.port), 5)
    accepted, _ = listener.accept()
    accepted.close()  # our side closes first, so it is our port that waits
    client.close()
    listener.close()
    close_all(listen_shared(address, 2))


def test_an_address_of_another_machine() -> None:
    with pytest.raises(CannotCreateError, match=r"192\.0\.2\.1:1: this machine has no such address"):
        listen(Endpoint("192.0.2.1", 1))


@pytest.mark.parametrize(
    ("number", "port", "kind", "word"),
    [
        (errno.EADDRINUSE, 8443, CannotCreateError, "in use"),
        (errno.EACCES, 443, RefusedError, "permission denied"),
        (errno.EPERM, 8443, RefusedError, "permission denied"),
        (errno.EADDRNOTAVAIL, 8443, CannotCreateError, "no such address"),
        (errno.EAFNOSUPPORT, 8443, CannotCreateError, "no such address"),
        (errno.EMFILE, 8443, CannotCreateError, "too many open files"),
        (errno.ENOBUFS, 8443, CannotCreateError, "No buffer space"),
    ],
)
def test_refusals_in_words(number: int, port: int, kind: type[HyperionError], word: str) -> None:
    error = explain(OSError(number, "No buffer space"), Endpoint("127.0.0.1", port))
    assert type(error) is kind
    assert word in str(error)
    assert ("1024" in str(error.hint)) is (port == 443)


def test_nothing_stays_open_when_one_of_the_group_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []
    real = sockets._listen

    def fail_late(endpoint: Endpoint, *, shared: bool, deaf: bool) -> socket.socket:
        if len(made) == 2:
            raise CannotCreateError("no")
        made.append(real(endpoint, shared=shared, deaf=deaf))
        return made[-1]

    monkeypatch.setattr(sockets, "_listen", fail_late)
    with pytest.raises(CannotCreateError):
        listen_shared(Endpoint("127.0.0.1", 0), 4)
    assert [sock.fileno() for sock in made] == [-1, -1]


def test_what_a_successor_could_listen_on() -> None:
    with listen(Endpoint("127.0.0.1", 0)) as held:
        taken = Endpoint("127.0.0.1", port_of(held))
        require_free(taken, taken.port)
        with pytest.raises(CannotCreateError, match="in use"):
            require_free(taken, taken.port - 1)
    require_free(taken, taken.port - 1)
    with pytest.raises(CannotCreateError, match="no such address"):  # whoever holds the port
        require_free(Endpoint("192.0.2.1", taken.port), taken.port)
