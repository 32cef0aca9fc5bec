"""nftables, for all who have to do with the gate's table: knockd, which guards it, and the commands that load it.

* ``ruleset``      the text of the table, and of each change to it
* ``listing``      what nft says is loaded
* ``snapshot``     the way back to what was loaded before
* ``nft``          what the two ways to nftables have in common, and how a failure is told
* ``nft_library``, ``nft_program``, ``backend``  the two ways, and which one there is

The first three are pure: text in, text out. Nothing here knows knocks, configuration or command lines.
"""
