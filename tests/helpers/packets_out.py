"""What a host sends, counted by its own kernel."""

import json
import time

from tests.helpers.netns import Host


class PacketsOut:
    """Counts what ``host`` sends to any of ``addresses``, whatever it is, in the kernel: it misses none."""

    def __init__(self, host: Host, *addresses: str) -> None:
        self._host = host
        self._total = 0
        rules = [f"{'ip6' if ':' in each else 'ip'} daddr {each} counter" for each in addresses]
        text = "\n".join(
            [
                "table inet out",
                "delete table inet out",
                "table inet out {",
                "chain c {",
                "type filter hook output priority -400;",
                *rules,
                "}",
                "}",
            ]
        )
        host.run("nft", "-f", "-", input=f"{text}\n")

    def count(self) -> int:
        """Since the last call, once it was quiet for a moment."""
        time.sleep(0.3)
        listing = json.loads(self._host.run("nft", "-j", "list", "table", "inet", "out"))
        expressions = [part for item in listing["nftables"] for part in item.get("rule", {}).get("expr", ())]
        total = sum(part["counter"]["packets"] for part in expressions if "counter" in part)
        news, self._total = total - self._total, total
        return int(news)
