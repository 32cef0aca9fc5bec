"""yamux: many streams over one ordered byte stream. ``session`` is the machine; ``frame`` is the wire."""
