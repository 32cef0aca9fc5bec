"""Points of X25519 that no honest peer sends."""

P = 2**255 - 19
#: The points of small order on the curve and its twist, also in encodings that are not reduced, and the same with the
#: bit set that everybody ignores: with each of them a Diffie-Hellman result is zero, whatever the secret.
LOW_ORDER = [
    number.to_bytes(32, "little")
    for number in (
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        P - 1,
        P,
        P + 1,
        2**255,
        2**255 + 1,
        2**255 + P - 1,
        2**255 + P,
        2**255 + P + 1,
    )
]
