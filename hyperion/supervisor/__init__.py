"""The parent of all processes: it owns configuration, secrets, listening sockets and children, and carries no traffic.

* ``server`` and ``client``  what differs between the two programs
* ``service``   from start to exit code: orders, readiness, drain
* ``crew``      all children together; ``member`` one place in it; ``conversation`` its turns; ``kind`` what differs
* ``process``   workers, forked from the fork server; ``child`` the first thing that runs in one; ``execute`` helpers
* ``restart``   when to try again (pure); ``sockets`` what is listened on; ``signals`` orders; ``notify`` systemd
"""
