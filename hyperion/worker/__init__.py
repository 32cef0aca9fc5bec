"""Workers: unprivileged children that carry traffic. They know sockets, the loop and the clock; the rules are in
``proto``.

``connection`` joins one TCP connection to one tunnel machine. ``relay`` joins one local socket to one stream.
``server``, ``client`` and ``socks`` are the kinds of worker, ``duties`` is what they all do, ``main`` how they begin.
"""
