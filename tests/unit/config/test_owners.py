import os

import pytest

from hyperion.config.owners import trusted_owners


def test_root_trusts_the_caller_of_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_UID", "4711")
    assert trusted_owners() == {0, 4711}
    monkeypatch.setenv("SUDO_UID", "root")
    assert trusted_owners() == {0}
    monkeypatch.delenv("SUDO_UID")
    assert trusted_owners() == {0}


def test_others_trust_themselves_and_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12)
    monkeypatch.setenv("SUDO_UID", "4711")
    assert trusted_owners() == {0, 12}
