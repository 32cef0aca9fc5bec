from hyperion.proto.fingerprint import FINGERPRINT_CHARS, fingerprint
from hyperion.proto.keys import PublicKey


def test_known_value() -> None:
    # echo -n of 32 NUL bytes | sha256sum, in URL-safe base64
    assert fingerprint(bytes(32)) == "SHA256:Zmh6rfhivXdsj8GL"
    assert PublicKey(bytes(32)).fingerprint == fingerprint(bytes(32))


def test_form() -> None:
    texts = {fingerprint(bytes([number] * 32)) for number in range(256)}
    assert len(texts) == 256
    assert {len(text) for text in texts} == {len("SHA256:") + FINGERPRINT_CHARS}
    assert not any(set(text) & set("+/ ") for text in texts)
