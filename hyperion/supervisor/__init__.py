"""The parent of all processes: it owns configuration, secrets, listening sockets and children, and carries no traffic.

* ``server`` and ``client``  what differs between the two programs
* ``service``   from start to exit code: orders, readiness, drain
* ``crew``      all children together; ``member`` one place in it; ``conversation`` its turns; ``kind`` what differs
* ``process``   workers, forked from the fork server; ``child`` the first thing that runs in one; ``execute`` helpers
* ``restart``   when to try again (pure); ``sockets`` what is listened on (``forwards``, ``socks``, ``stream_sockets``)
* ``signals``   orders from the system; ``desk`` those of an operator (``residence`` where it is, ``control_socket`` who
  may ask, ``status_server`` and ``status_client`` what is told); ``notify`` systemd; ``reading`` a configuration again
* ``gatekeeper``  knockd as a child; ``gate`` what follows from its words, ``shutter`` the shut door, ``proofs`` for a
  trial
* ``transparent``  tund as a child, as ``plan`` says; ``marker`` marked sockets; ``clock`` what outlives a worker
"""
