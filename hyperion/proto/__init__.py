"""The protocols of Hyperion as machines without input or output.

Nothing in this package knows a socket, a clock, entropy or a log. Bytes, the time (``now``, monotonic seconds) and
random bytes are arguments. Every machine has the same verbs:

* ``receive_data(data, now)``  takes what the peer sent; never raises on hostile input
* ``next_event()``             what happened, one event at a time, ``None`` when there is no more
* ``data_to_send()``           what must go to the peer, in order
* ``next_timeout()``           when ``handle_timeout(now)`` wants to be called, ``None`` for never
* ``fail(error)``              the one exit; after it the machine only discards

Vocabulary: a *record* is one encrypted Noise message, a *frame* one yamux header with its body, a *message* one control
message between our own processes. A *source* is an address, a *peer* is an identity (its static public key).
"""
