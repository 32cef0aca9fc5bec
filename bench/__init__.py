"""Figures on speed and memory, with the peers measured side by side in the same run: ``python -m bench``.

The map, in the order in which modules may import each other:

* ``stats machine processes child``   numbers, the machine, /proc, programs that are started and stopped
* ``payload bulk echo storm service`` the throwaway TCP service and the load on it
* ``relay peers ssh tunnel``          ways from a client to that service: none, plain relay, ``ssh -L``, hyperion
* ``plan suites memory start``        what is measured
* ``targets report run``              what issue 3 asks for, the tables, one run
* ``bare profile``                    two workers alone, and where they spend their time
* ``demo``                            ``make demo``: the same service and tunnel, shown to a newcomer

Nothing here is ever a timed test: a figure is read by a person, who knows what else the machine was doing.
"""
