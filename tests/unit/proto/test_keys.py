import base64
import copy
import traceback

import pytest

from hyperion.proto.keys import KEY_LENGTH, KeyFormatError, PrivateKey, Psk, PublicKey
from tests.helpers.points import LOW_ORDER

ADMIN_PUBLIC = "e06Qm75//kTEZaIgA31gjuNYl9Me+XLwf3SJLLD3PxM="
SERVER_PUBLIC = "D6poTtKIZ7l/Smot7l34zpdOdrcBjj8iocTPJnhXDyA="
CANARY = bytes(range(100, 132))


@pytest.mark.parametrize(("secret", "public"), [(0x11, ADMIN_PUBLIC), (0x22, SERVER_PUBLIC)])
def test_public_half_of_golden_keys(secret: int, public: str) -> None:
    assert str(PrivateKey(bytes([secret]) * 32).public()) == public


@pytest.mark.parametrize(
    ("salt", "expected"),
    [
        ("saltsalt", "3e10611a279ff470b9839da93b248fb7941ff2699ff1ee1a6875ec4363e7409c"),
        ("different-salt", "a350642ea3a148a324a4a0645e304bdeb46f05cb6aaef467cc0420846c79e923"),
    ],
)
def test_psk_of_passphrase_is_the_originals(salt: str, expected: str) -> None:
    assert Psk.from_passphrase("correct horse battery", salt).raw.hex() == expected


def test_passphrase_and_salt_count_as_typed() -> None:
    psk = Psk.from_passphrase("correct horse battery", "saltsalt")
    assert Psk.from_passphrase("correct horse battery ", "saltsalt") != psk
    assert Psk.from_passphrase("correct horse battery", "saltsalt ") != psk


def test_passphrase_may_hold_bytes_that_are_not_utf8() -> None:
    assert Psk.from_passphrase("pass\udcffword", "saltsalt") != Psk.from_passphrase("password", "saltsalt")


def test_salt_is_counted_in_bytes() -> None:
    assert len(Psk.from_passphrase("passphrase", "éééé").raw) == KEY_LENGTH
    with pytest.raises(KeyFormatError, match=r"^salt must be at least 8 bytes$"):
        Psk.from_passphrase("passphrase", "1234567")


@pytest.mark.parametrize("kind", [PublicKey, PrivateKey, Psk])
class TestText:
    def test_white_space_around_is_ignored(self, kind: type[PublicKey | PrivateKey | Psk]) -> None:
        assert kind.parse(f" \t{ADMIN_PUBLIC}\r\n") == kind.parse(ADMIN_PUBLIC)

    @pytest.mark.parametrize(
        "text",
        [
            ADMIN_PUBLIC[:-1],  # no padding
            ADMIN_PUBLIC + "=",
            ADMIN_PUBLIC[:-2] + "N=",  # surplus bits in the last character
            ADMIN_PUBLIC[:20] + "\n" + ADMIN_PUBLIC[20:],
            ADMIN_PUBLIC[:20] + " " + ADMIN_PUBLIC[20:],
            ADMIN_PUBLIC.replace("/", "_").replace("+", "-"),
            "é" * 44,
            "\uff21" * 44,
            "=",
            "A",
            "BASE64_OF_YOUR_KEY",
            "7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f1",
        ],
    )
    def test_only_canonical_base64(self, kind: type[PublicKey | PrivateKey | Psk], text: str) -> None:
        with pytest.raises(KeyFormatError, match=r"^not canonical base64$"):
            kind.parse(text)

    @pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
    def test_only_32_bytes(self, kind: type[PublicKey | PrivateKey | Psk], length: int) -> None:
        what = "psk" if kind is Psk else "key"
        with pytest.raises(KeyFormatError, match=rf"^{what} must be 32 bytes$"):
            kind.parse(base64.b64encode(bytes(length)).decode())
        with pytest.raises(KeyFormatError, match=rf"^{what} must be 32 bytes$"):
            kind(bytes(length))

    def test_does_not_change(self, kind: type[PublicKey | PrivateKey | Psk]) -> None:
        key = kind(bytes(32))
        with pytest.raises(AttributeError):
            key._raw = bytes(32)


def test_every_last_character_but_the_canonical_one_is_refused() -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    taken = []
    for char in alphabet:
        try:
            PublicKey.parse(f"{ADMIN_PUBLIC[:42]}{char}=")
        except KeyFormatError:
            continue
        taken.append(char)
    assert taken == list(alphabet[::4])


def test_public_key_is_a_value() -> None:
    one, same, other = PublicKey(CANARY), PublicKey(CANARY), PublicKey(bytes(32))
    assert one == same != other
    assert {one: 1}[same] == 1
    assert one != CANARY
    assert one.raw == CANARY
    assert PublicKey.parse(str(one)) == one


def test_fingerprint() -> None:
    # printf of the 32 bytes | sha256sum, as URL-safe base64
    assert PublicKey(bytes(32)).fingerprint == "SHA256:Zmh6rfhivXdsj8GL"
    assert repr(PublicKey(bytes(32))) == "PublicKey(SHA256:Zmh6rfhivXdsj8GL)"


@pytest.mark.parametrize("kind", [PrivateKey, Psk])
class TestSecret:
    def test_format_and_back(self, kind: type[PrivateKey | Psk]) -> None:
        assert kind.parse(kind(CANARY).format()) == kind(CANARY)
        assert kind(CANARY).raw == CANARY

    def test_shows_itself_to_nobody(self, kind: type[PrivateKey | Psk]) -> None:
        key = kind(CANARY)
        shown = f"{key} {key!r} {key!s} {[key]} { {'key': key} }"
        for form in (key.format(), CANARY.hex(), repr(CANARY), key.format()[:10]):
            assert form not in shown

    def test_is_neither_pickled_nor_hashed(self, kind: type[PrivateKey | Psk]) -> None:
        with pytest.raises(TypeError, match="not pickled"):
            kind(CANARY).__reduce_ex__(2)  # what pickle calls
        with pytest.raises(TypeError, match="not pickled"):
            copy.deepcopy(kind(CANARY))
        with pytest.raises(TypeError, match="unhashable"):
            hash(kind(CANARY))

    def test_equality(self, kind: type[PrivateKey | Psk]) -> None:
        assert kind(CANARY) == kind(CANARY) != kind(bytes(32))
        assert kind(CANARY) != CANARY

    @pytest.mark.parametrize("spoil", ["{}=", "{}A", "é{}", "-{}", "{}\x00"])
    def test_an_error_does_not_repeat_the_text(self, kind: type[PrivateKey | Psk], spoil: str) -> None:
        text = spoil.format(kind(CANARY).format())
        with pytest.raises(KeyFormatError) as caught:
            kind.parse(text)
        told = "".join(traceback.format_exception(caught.value))
        assert kind(CANARY).format()[:10] not in told


def test_a_private_key_is_no_psk() -> None:
    assert PrivateKey(CANARY) != Psk(CANARY)


def test_entropy_is_the_key() -> None:
    assert PrivateKey.from_entropy(CANARY).raw == CANARY
    with pytest.raises(KeyFormatError):
        PrivateKey.from_entropy(b"short")


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point[:4].hex())
def test_a_point_that_is_nobody_s_key(point: bytes) -> None:
    """With one of these any private key gives the same secret: zero. In whatever way it is written."""
    with pytest.raises(KeyFormatError, match="point of small order"):
        PublicKey.parse(base64.b64encode(point).decode())
