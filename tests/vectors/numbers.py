"""The numbers of the JSON files beside this one, as bytes."""

import json
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def _load(name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((_HERE / name).read_text())
    return values


#: ``Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`` of the cacophony collection, six messages.
OFFICIAL = _load("noise_ikpsk2.json")
#: Hyperion's own golden numbers.
GOLDEN = _load("golden.json")


def official(key: str) -> bytes:
    return bytes.fromhex(OFFICIAL[key])


def golden(key: str) -> bytes:
    return bytes.fromhex(GOLDEN[key])


def official_messages() -> list[tuple[bytes, bytes]]:
    """(payload, ciphertext), the two handshake messages first, then transport in turn, the initiator first."""
    return [(bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in OFFICIAL["messages"]]


def golden_list(key: str) -> list[bytes]:
    return [bytes.fromhex(item) for item in GOLDEN[key]]
