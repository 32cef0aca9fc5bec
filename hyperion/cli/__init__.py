"""The two programs: ``hyperion-server`` and ``hyperion-client``.

* ``entry``    where the client begins: ``nc`` in a hurry (``quick_nc``), or everything else
* ``server`` and ``client``  the programs: their commands and options (``routes_commands``, ``client_files`` and
  ``server_files``: those that are there, too; ``shared_commands``: those that both have)
* ``run_server``, ``run_client`` and ``run_tun``  in the foreground: from options to a supervisor (``start``: how this
  process came to be; ``rights``, ``transparent_mode``: whether it may)
* ``up`` (``up_server``, ``up_client``), ``down``, ``reload``  a daemon (``launch``), or a unit of ``service_manager``
* ``status`` (``status_down``)  what is asked; ``view_server``, ``view_client`` and ``watch`` how it looks (``style``,
  ``units``)
* ``doctor`` and ``nc`` (``call``, ``stdio``)  tunnels of their own, ``around`` a device that would catch their packets
* ``keygen``, ``print_routes``  one file for each command
* ``print_firewall``, ``apply_firewall``, ``confirm_firewall``, ``remove_firewall``, and for them ``cautions``,
  ``trial_process`` and ``trial_view``
* ``init_server`` and ``init_client``  the first files of a machine (``first_files``, ``own_address``)
* ``servers`` (``add-server``, ``rm-server``), ``admins`` (``add-admin``, ``rm-admin``), ``ls``
* ``editing`` and ``diff``  what those have in common
* ``ssh_config``  hosts for ssh, kept in a ``fence``
* ``complete``  for the tab key
* ``options``  what several commands share; ``gate_options`` and ``gate_rules`` those about the firewall
* ``usual_config`` and ``loading``  which configuration, and what it leads to; ``output`` what is said
* ``border``   from any exception to a line for people and a code for scripts

Importing a program loads click and little else: a command imports what it needs when it runs.
"""
