"""The client's privileged child for transparent mode: a TUN device, and a mirror behind it.

* ``reflect``   turns packets round (pure)
* ``answer``    the packets that we make ourselves (pure); ``mapping`` what leads where
* ``hosts_keeper``  a child of its own: names in the hosts file, taken out at its end
* ``device``    the only file that knows devices; ``orphans`` connections over one that is gone
* ``pump``      the loop of the process without rights; ``__main__`` the steps with rights before it
"""
