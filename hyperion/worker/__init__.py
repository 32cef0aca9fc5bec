"""Workers: unprivileged children that carry traffic. They know sockets, the loop and the clock; the rules are in
``proto``.

``connection`` joins one TCP connection to one tunnel machine. ``relay`` joins one local socket to one stream.
``server`` and ``client`` are the two kinds of worker, ``main`` their entry points.
"""
