"""The short form of a public key: enough to tell keys apart in a log.

Apart from ``keys``, because a worker needs only this, and not what makes keys of passphrases.
"""

import base64
import hashlib

#: Characters of a fingerprint after "SHA256:": 96 bits.
FINGERPRINT_CHARS = 16


def fingerprint(public_key: bytes) -> str:
    """``SHA256:`` and 16 characters of URL-safe base64, of the 32 raw bytes."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(public_key).digest()).decode("ascii")
    return f"SHA256:{digest[:FINGERPRINT_CHARS]}"
