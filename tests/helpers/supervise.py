"""A supervisor with fake workers, as a program: ``python -m tests.helpers.supervise server|client SETTINGS-FILE``.

The settings are JSON and are read again at SIGHUP. Logs go to stderr as JSON, announcements to stdout.
"""

import argparse
import base64
import json
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from hyperion import log
from hyperion.config import (
    Admin,
    ClientConfig,
    Endpoint,
    FirewallSettings,
    ForwardEntry,
    KnockSettings,
    ServerConfig,
    ServerEntry,
)
from hyperion.config.settings import TunSettings
from hyperion.errors import ConfigError, HyperionError
from hyperion.loop import run
from hyperion.proto.control import LogSettings
from hyperion.proto.keys import PrivateKey, Psk, PublicKey
from hyperion.supervisor import client, server
from hyperion.supervisor.spec import Timing

KNOCK = KnockSettings(enabled=False, port=None, window=60)


def key(number: int) -> PrivateKey:
    return PrivateKey.from_entropy(number.to_bytes(2, "big") * 16)


def psk(number: int) -> Psk:
    return Psk.parse(base64.b64encode(bytes([number]) * 32).decode())


def read(path: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if "bug" in settings:
        raise ValueError("a bug")
    if "error" in settings:
        raise ConfigError(settings["error"])
    return settings


def admin(public: PublicKey, settings: dict[str, Any]) -> Admin:
    return Admin(public.fingerprint, public, frozenset(settings.get("egress", [22])))


def server_config(path: Path) -> ServerConfig:
    settings = read(path)
    return ServerConfig(
        path=path,
        listen=Endpoint.parse(settings.get("listen", "127.0.0.1:0"), lowest_port=0),
        psk=psk(settings.get("psk", 7)),
        identity=key(1),
        admins=tuple(admin(key(10 + number).public(), settings) for number in range(settings.get("admins", 1))),
        egress=frozenset(settings.get("egress", [22])),
        handshake_timeout=3.0,
        knock=KNOCK,
        firewall=FirewallSettings("hyperion", "knock_allow4", 30),
    )


def client_config(path: Path) -> ClientConfig:
    settings = read(path)
    return ClientConfig(
        path=path,
        identity=key(1),
        servers=tuple(
            ServerEntry(
                name, Endpoint("127.0.0.1", 9), key(2).public(), psk(7), pool_size, IPv4Address(f"10.99.0.{host}")
            )
            for host, (name, pool_size) in enumerate(settings["servers"].items(), start=10)
        ),
        forwards=tuple(
            ForwardEntry(Endpoint.parse(local, lowest_port=0), name, port) for local, name, port in settings["forwards"]
        ),
        knock=KNOCK,
        tun=TunSettings(IPv4Address("10.99.0.1"), 16, 1400),
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("server", "client"))
    parser.add_argument("settings", type=Path)
    parser.add_argument("--entry", default="obedient")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--loop", default="auto")
    parser.add_argument("--drain-timeout", type=float, default=30.0)
    parser.add_argument("--silence", type=float, default=20.0)
    parser.add_argument("--grace", type=float, default=5.0)
    arguments = parser.parse_args()
    common: dict[str, Any] = {
        "drain_timeout": arguments.drain_timeout,
        "log": LogSettings("json", "debug"),
        "entry": f"tests.helpers.fake_worker:{arguments.entry}",
        "preload": "tests.helpers.fake_preload",
        "timing": Timing(silence=arguments.silence, freshness=arguments.silence, grace=arguments.grace),
    }
    path: Path = arguments.settings
    log.configure(f"hyperion-{arguments.what}", format="json", level="debug")
    try:
        if arguments.what == "server":
            options = server.ServerOptions(workers=arguments.workers, reload=lambda: server_config(path), **common)
            return run(lambda: server.run(server_config(path), options), loop=arguments.loop)
        client_options = client.ClientOptions(
            reload=lambda: client_config(path), announce=lambda made: print(json.dumps(made), flush=True), **common
        )
        return run(lambda: client.run(client_config(path), client_options), loop=arguments.loop)
    except HyperionError as error:
        print(json.dumps({"failed": str(error), "hint": error.hint}), flush=True)
        return error.exit_code
    finally:
        log.close()


if __name__ == "__main__":
    sys.exit(main())
