"""A second implementation of Hyperion's wire, written from the protocol description alone.

It shares no code with ``hyperion`` and imports nothing of it, so that agreement between the two means something. It
is simple on purpose: blocking sockets, threads, whole frames in memory. It speaks plain version 1 the way the Rust
original does, or version 1 with extensions, and lets a test send anything at any layer.
"""
