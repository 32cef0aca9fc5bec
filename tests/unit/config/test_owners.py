import os

import pytest

from hyperion.config.owners import trusted_owners, who_reads
from hyperion.service_user import OWN_NUMBERS


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


def test_who_must_be_able_to_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert who_reads(PermissionError(13, "Permission denied")) == "user 0, who runs this, must be able to read it"
    assert who_reads(OSError(5, "Input/output error")) is None
    monkeypatch.setattr(os, "geteuid", lambda: OWN_NUMBERS["hyperion"][0])
    assert who_reads(PermissionError(13, "Permission denied")) == (
        "uid 60800 runs this, which has no name and may read no secret; a restart by root reads it"
    )
    monkeypatch.delattr(os, "geteuid")  # Windows
    assert who_reads(PermissionError(13, "Permission denied")) is None
