"""The two programs: ``hyperion-server`` and ``hyperion-client``.

* ``server`` and ``client``  the programs: their commands and options
* ``run_server`` and ``run_client``, ``doctor``, ``keygen``  one file for each command
* ``print_firewall``, ``apply_firewall``, ``confirm_firewall``, ``remove_firewall``, and for them ``cautions``,
  ``trial_process`` and ``trial_view``
* ``client_files`` and ``server_files``  their commands for files
* ``init_server`` and ``init_client``  the first files of a machine (``first_files``, ``own_address``)
* ``servers`` (``add-server``, ``rm-server``), ``admins`` (``add-admin``, ``rm-admin``), ``ls``
* ``editing`` and ``diff``  what those have in common
* ``ssh_config``  hosts for ssh, kept in a ``fence``
* ``complete``  for the tab key
* ``options``  what several commands share; ``gate_options`` and ``gate_rules`` those about the firewall
* ``border``   from any exception to a line for people and a code for scripts

Importing a program loads click and little else: a command imports what it needs when it runs.
"""
