"""``make demo``: a server, a client and a transfer on this machine, shown and checked.

No root, nothing but loopback, everything in a temporary directory that is gone afterwards.

* ``screen``  what is shown: steps, checks, progress, tables
* ``tree``    the processes and what each is for
* ``show``    the demonstration itself
"""
