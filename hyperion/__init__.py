"""Hyperion: a TCP tunnel for servers that drop all inbound traffic.

The map, in the order in which modules may import each other:

* ``proto``       the protocols as machines without input or output: bytes and time go in, bytes and events come out
* base modules    ``errors log events flood config paths capabilities privileges service_user socket_filter hosts``
                  ``framing channel backoff loop aside colour running firewall rendezvous``
                  ``socket_path sock_diag way_out``
* ``supervisor``  parent of all processes: configuration, secrets, listening sockets, restarts, signals
* ``worker``      unprivileged children that carry traffic
* ``knockd``      the gate of a server: hears knocks and opens the firewall; the one process with rights over it
* ``tund``        transparent mode of a client: a device, and a mirror behind it
* ``trial``       the trial of a firewall ruleset: a process that outlives its command
* ``cli``         ``hyperion-server`` and ``hyperion-client``

This module imports nothing.
"""

__version__ = "0.1.0"
