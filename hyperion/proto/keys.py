"""Keys: 32 bytes each, and their one text form.

Knows the encoding (canonical base64), how a public key follows from a private one (X25519), and how a pre-shared key
follows from a passphrase (Argon2id). Does not know where keys are kept and makes no randomness: entropy is an argument.

A public key shows itself; a ``PrivateKey`` or a ``Psk`` shows itself to nobody: not in ``repr``, ``str`` or ``format``,
and it cannot be pickled. Only ``raw`` and the method ``format()`` give it away, and those words are easy to search for.
"""

import base64
import binascii
from typing import NoReturn, Self

#: Length of every key, bytes (X25519, and the PSK of Noise).
KEY_LENGTH = 32

#: Shortest salt for a passphrase, bytes of UTF-8 (Argon2's own minimum, RFC 9106 section 3.1).
MIN_SALT_BYTES = 8

#: Argon2id as the Rust original calls it (the defaults of its library); another value makes another key.
ARGON2_VERSION = 0x13
ARGON2_MEMORY_KIB = 19_456
ARGON2_PASSES = 2
ARGON2_LANES = 1


#: The field of the curve, and its points of small order (and those of its twist), as numbers. With one of them as the
#: other's key every Diffie-Hellman result is zero, whatever the secret: such a key is nobody's (RFC 7748 section 6.1).
_FIELD = 2**255 - 19
_SMALL_ORDER = frozenset(
    {
        0,
        1,
        _FIELD - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)


class KeyFormatError(ValueError):
    """The text is not a key. The message never repeats the text."""


def _decode(text: str, what: str) -> bytes:
    """The 32 bytes of ``text``; white space around it is ignored.

    Only the canonical encoding passes: Python's decoder ignores surplus bits in the last character, so two texts could
    name one key, and an allow-list compared as text would be fooled.
    """
    stripped = text.strip()
    if not stripped.isascii():
        raise KeyFormatError("not canonical base64")
    try:
        raw = base64.b64decode(stripped, validate=True)
    except binascii.Error:
        raise KeyFormatError("not canonical base64") from None
    if base64.b64encode(raw).decode("ascii") != stripped:
        raise KeyFormatError("not canonical base64")
    return _checked(raw, what)


def _checked(raw: bytes, what: str) -> bytes:
    if len(raw) != KEY_LENGTH:
        raise KeyFormatError(f"{what} must be {KEY_LENGTH} bytes")
    return bytes(raw)


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


class PublicKey:
    """An X25519 public key: the name of a server or of an admin. Hashable, immutable."""

    __slots__ = ("_raw",)
    _raw: bytes

    def __init__(self, raw: bytes) -> None:
        object.__setattr__(self, "_raw", _checked(raw, "key"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """From base64. Raises ``KeyFormatError``, also for a point of small order: no private key leads to one."""
        raw = _decode(text, "key")
        # The highest bit is not part of the number (RFC 7748 section 5).
        if (int.from_bytes(raw, "little") & (2**255 - 1)) % _FIELD in _SMALL_ORDER:
            raise KeyFormatError("a point of small order, which is nobody's key")
        return cls(raw)

    @property
    def raw(self) -> bytes:
        """The 32 bytes."""
        return self._raw

    @property
    def fingerprint(self) -> str:
        """A short form for logs: ``SHA256:`` and 16 characters of URL-safe base64."""
        # Here, because hashes are slow to load, and most keys are only passed on.
        from hyperion.proto.fingerprint import fingerprint  # noqa: PLC0415

        return fingerprint(self._raw)

    def __str__(self) -> str:
        return _encode(self._raw)

    def __repr__(self) -> str:
        return f"PublicKey({self.fingerprint})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self._raw == other._raw

    def __hash__(self) -> int:
        return hash(self._raw)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a key does not change")


class _Secret:
    """32 bytes that must not leak. Equality takes the same time wherever the first difference is; there is no hash."""

    __slots__ = ("_raw",)
    __hash__ = None  # type: ignore[assignment]
    _raw: bytes
    _what = "key"

    def __init__(self, raw: bytes) -> None:
        object.__setattr__(self, "_raw", _checked(raw, self._what))

    @classmethod
    def parse(cls, text: str) -> Self:
        """From base64. Raises ``KeyFormatError``, whose message does not repeat the text."""
        return cls(_decode(text, cls._what))

    @property
    def raw(self) -> bytes:
        """The 32 bytes: for the cryptography and for the first message to a child, for nothing else."""
        return self._raw

    def format(self) -> str:
        """Base64: for a key file, and for ``keygen``, which a person asked for."""
        return _encode(self._raw)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(hidden)"

    def __eq__(self, other: object) -> bool:
        # Here, because it loads hashes, too.
        import hmac  # noqa: PLC0415

        return type(other) is type(self) and hmac.compare_digest(self._raw, other._raw)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a key does not change")

    def __reduce__(self) -> NoReturn:
        # multiprocessing pickles what it is given: a secret must not slip into a child that way.
        raise TypeError("a secret is not pickled")


class PrivateKey(_Secret):
    """An X25519 private key: 32 raw bytes, clamped only inside the multiplication, as the original keeps them."""

    __slots__ = ()

    @classmethod
    def from_entropy(cls, entropy: bytes) -> Self:
        """From 32 fresh random bytes. Raises ``KeyFormatError`` for any other number."""
        return cls(entropy)

    def public(self) -> PublicKey:
        """The public half."""
        # Here, because it is slow to load, and who reads keys most often needs no other half.
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415

        return PublicKey(X25519PrivateKey.from_private_bytes(self._raw).public_key().public_bytes_raw())


class Psk(_Secret):
    """The key that a server and its admins share beside their own."""

    __slots__ = ()
    _what = "psk"

    @classmethod
    def from_passphrase(cls, passphrase: str, salt: str) -> Self:
        """By Argon2id: about 30 ms and 19 MiB. Both texts count as typed, nothing is trimmed.

        Raises ``KeyFormatError`` for a salt below 8 bytes.
        """
        salt_bytes = salt.encode("utf-8")
        if len(salt_bytes) < MIN_SALT_BYTES:
            raise KeyFormatError(f"salt must be at least {MIN_SALT_BYTES} bytes")
        # Here, because it is slow to load, and only this needs it.
        from argon2.low_level import Type, hash_secret_raw  # noqa: PLC0415

        return cls(
            hash_secret_raw(
                # A passphrase from the environment may hold bytes that are not UTF-8: they come back as they were.
                passphrase.encode("utf-8", "surrogateescape"),
                salt_bytes,
                time_cost=ARGON2_PASSES,
                memory_cost=ARGON2_MEMORY_KIB,
                parallelism=ARGON2_LANES,
                hash_len=KEY_LENGTH,
                type=Type.ID,
                version=ARGON2_VERSION,
            )
        )
