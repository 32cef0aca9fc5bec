"""The trial of a ruleset: load it, wait for the proof that somebody still gets in, else put back what was there.

A process of its own, in a session of its own (``python -m hyperion.trial``, started by ``apply-firewall``), so that
whatever happens to the command, to the terminal and to knockd, the way back is owned by somebody else. Command and
trial watch each other: when either dies, the other one rolls back. When both are killed at once the record on disk is
left, and the next command that touches the firewall rolls back first.

* ``guardian``     the trial itself: its order of things
* ``plan``         what is loaded, and the way back
* ``record``       the same on disk, for who comes later
* ``witness``      asks the running server for proof
* ``desk``         hears those who confirm from a new login
* ``connections``  the TCP connections of this host
* ``conntrack``    so that what is open stays open
* ``login``        the connection that a process's login came over

Nothing here survives a reboot, and needs not to: the kernel's rules do not either.
"""
