"""Noise: the handshake (``handshake``) and the encrypted records after it (``record``)."""
