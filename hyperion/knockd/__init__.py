"""The gate: hears knocks and opens the firewall for a while. The one privileged process of a server."""
