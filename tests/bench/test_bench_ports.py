"""Ports chosen for programs that are yet to start."""

import os
import socket

import pytest

from bench import ports
from bench.ports import free_port


def test_one_after_the_other() -> None:
    chosen = [free_port() for _ in range(20)]
    assert len(set(chosen)) == 20
    for port in chosen:
        socket.create_server(("127.0.0.1", port)).close()


def test_one_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    next_one = free_port() + 1
    monkeypatch.setattr(ports, "_numbers", iter([next_one % 200, (next_one + 1) % 200]))
    with socket.create_server(("127.0.0.1", next_one)):
        assert free_port() == next_one + 1


def test_processes_of_one_run_choose_from_different_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for pid in range(1_000, 1_008):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        found.append((free_port() - 10_000) // 200)
    assert len(set(found)) == 8


def test_when_all_are_taken_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(address: tuple[str, int]) -> socket.socket:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(socket, "create_server", taken)
    with pytest.raises(OSError, match="no port from"):
        free_port()
