"""Passphrases and keys: ``argon2`` directly, and ``hyperion.proto.keys``."""

import pytest
from argon2.low_level import Type, hash_secret_raw

from hyperion.proto.keys import PrivateKey, Psk, PublicKey
from tests.vectors.numbers import GOLDEN, golden

PASSPHRASES = [tuple(row[name] for name in ("passphrase", "salt", "psk")) for row in GOLDEN["argon2id"]]
BASE64 = GOLDEN["keys_base64"]


@pytest.mark.parametrize(("passphrase", "salt", "psk"), PASSPHRASES)
def test_argon2id_package(passphrase: str, salt: str, psk: str) -> None:
    raw = hash_secret_raw(
        passphrase.encode(), salt.encode(), time_cost=2, memory_cost=19_456, parallelism=1, hash_len=32, type=Type.ID
    )
    assert raw.hex() == psk


@pytest.mark.parametrize(("passphrase", "salt", "psk"), PASSPHRASES)
def test_psk_from_passphrase(passphrase: str, salt: str, psk: str) -> None:
    assert Psk.from_passphrase(passphrase, salt).raw.hex() == psk


@pytest.mark.parametrize("side", ["admin", "server"])
def test_key_pairs(side: str) -> None:
    public = PrivateKey.from_entropy(golden(f"{side}_secret")).public()
    assert public.raw == golden(f"{side}_public")
    assert str(public) == BASE64[f"{side}_public"]
    assert PublicKey.parse(BASE64[f"{side}_public"]) == public


def test_psk_text() -> None:
    assert Psk.parse(BASE64["psk"]).raw == golden("psk")
    assert Psk(golden("psk")).format() == BASE64["psk"]
