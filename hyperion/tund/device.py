"""The TUN device: made, given its addresses and routes, and checked for others who have them. Linux.

The only file of tund that knows devices. Knows python-pytun for the device itself, two ioctls that it
lacks, and pyroute2 for the rest (its synchronous API: no loop runs here). Refuses to know what is done with a packet.

The device belongs to the open descriptor: whichever way its process ends, the kernel removes it with its addresses and
with every route over it, in any table.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

import pytun
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from hyperion.errors import CannotCreateError, ConfigError, HyperionError, RefusedError
from hyperion.proto.control_tund import DeviceSettings
from hyperion.tund.networks import Network, clash, free_network, parse

# linux/if_tun.h: which work the kernel may leave to whoever reads its packets. Checksums, TCP of either version to be
# cut up, also with congestion marks.
TUNSETOFFLOAD = 0x400454D0
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN = 0x01, 0x02, 0x04, 0x08

#: Where python-pytun opens it.
TUN_DEVICE = "/dev/net/tun"

#: Packets that the kernel keeps for us. The default of 500 loses some of a burst of a thousand connections.
QUEUE_PACKETS = 4_096

#: The kernel hands out segments in bundles of two at least. With a large MTU these would be longer than a packet can
#: be, so that it cuts them up again; and what is so long has no length in its header.
MAX_PACKET_BYTES = 65_535

#: Below this a link carries no IPv6 (RFC 8200 section 5). Bytes.
MIN_IPV6_MTU = 1_280

#: Seconds that a device of this name may take to go: a tund without a supervisor has a last word (``pump``).
LEAVING_SECONDS = 1.0
_LOOK_SECONDS = 0.05

RTN_UNICAST = 1

#: Where a program of "clsact" sees packets on their way out (linux/pkt_sched.h: TC_H_CLSACT, TC_H_MIN_EGRESS).
_WAY_OUT = "ffff:fff3"


def open_device(settings: DeviceSettings) -> int:
    """Makes the device, without addresses; its descriptor, not inherited. Raises ``HyperionError``."""
    device = _make(settings.name, monotonic() + LEAVING_SECONDS)
    descriptor = os.dup(device.fileno())  # the object closes its own when it is forgotten
    device.close()
    os.set_blocking(descriptor, False)
    work = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN if settings.offload else 0
    fcntl.ioctl(descriptor, TUNSETOFFLOAD, work)
    return descriptor


def _make(name: str, until: float) -> pytun.TunTapDevice:
    while True:
        try:
            return pytun.TunTapDevice(name=name, flags=pytun.IFF_TUN | pytun.IFF_NO_PI | pytun.IFF_VNET_HDR)
        except OSError as error:
            if not error.args or error.args[0] != errno.EBUSY or monotonic() > until:
                raise _explain(error, name) from None
        sleep(_LOOK_SECONDS)


def configure(settings: DeviceSettings) -> bool:
    """Addresses, MTU, routes; whether it has IPv6. Raises ``HyperionError``."""
    ipv6 = settings.ipv6 is not None and settings.mtu >= MIN_IPV6_MTU and _tame_ipv6(settings.name)
    try:
        with IPRoute() as route:
            index = route.link_lookup(ifname=settings.name)[0]
            _address(route, index, settings.ipv4)
            segments = max(1, MAX_PACKET_BYTES // settings.mtu)
            route.link("set", index=index, mtu=settings.mtu, txqlen=QUEUE_PACKETS, gso_max_segs=segments)
            if ipv6 and settings.ipv6 is not None:
                try:
                    _address(route, index, settings.ipv6)
                except NetlinkError:  # a kernel that was started without IPv6
                    ipv6 = False
            route.link("set", index=index, state="up")
            for network in settings.routes:
                version = parse(network).version
                if ipv6 or version == 4:
                    # Our own address as the source: only what comes from there is reflected.
                    own = settings.ipv4 if version == 4 else str(settings.ipv6)
                    extra = {"table": settings.table} if settings.table else {}
                    route.route("replace", dst=network, oif=index, prefsrc=own.partition("/")[0], **extra)
    except NetlinkError as error:
        raise RefusedError(f"{settings.name} cannot be set up: {os.strerror(error.code)}") from None
    return ipv6


def attach(name: str, program: int) -> None:
    """From now on ``program`` sees what is on its way out to this device; it goes with the device.

    Raises ``OSError``: no right, or a kernel without such programs.
    """
    with IPRoute() as route:
        try:
            index = route.link_lookup(ifname=name)[0]
            route.tc("add", "clsact", index)
            route.tc(
                *("add-filter", "bpf", index, ":1"), fd=program, name="hyperion", parent=_WAY_OUT, direct_action=True
            )
        except NetlinkError as error:
            raise OSError(error.code, os.strerror(error.code)) from None


def check_free(settings: DeviceSettings) -> None:
    """Raises ``ConfigError`` if a network of the device is in use, with one that is free in its hint."""
    taken = list(networks_in_use(settings.name))
    # Routes of a table of their own are real addresses, which are in use, and rules say by whom.
    routes = () if settings.table else settings.routes
    own = [settings.ipv4, *([settings.ipv6] if settings.ipv6 else []), *routes]
    for text in own:
        wanted = parse(text)
        other = clash(wanted, taken)
        if other is not None:
            free = free_network(parse(settings.ipv4).prefixlen, taken)
            hint = f'in [tun] set addr = "{free[1]}" and prefix = {free.prefixlen}, which is free' if free else None
            raise ConfigError(f"{wanted} is in use on this machine ({other})", hint=hint)


def networks_in_use(but: str) -> Iterator[Network]:
    """Networks of addresses and destinations of routes of this machine, without those of the device called ``but``."""
    with IPRoute() as route:
        ours = set(route.link_lookup(ifname=but))
        for address in route.get_addr():
            if address["index"] not in ours:
                yield parse(f"{address.get('IFA_LOCAL') or address.get('IFA_ADDRESS')}/{address['prefixlen']}")
        for entry in route.get_routes():
            destination = entry.get("RTA_DST")
            if destination and entry["type"] == RTN_UNICAST and entry.get("RTA_OIF") not in ours:
                yield parse(f"{destination}/{entry['dst_len']}")


def _address(route: IPRoute, index: int, text: str) -> None:
    address, _, prefix = text.partition("/")
    # No other machine can have it: duplicate address detection would only keep it from working for a second.
    route.addr("replace", index=index, address=address, prefixlen=int(prefix), flags=0x02 if ":" in address else 0)


def _tame_ipv6(name: str) -> bool:
    """No link-local address and no router to look for: nobody else is on this link. False without IPv6."""
    settings = Path("/proc/sys/net/ipv6/conf", name)
    try:
        if (settings / "disable_ipv6").read_text().strip() != "0":
            return False
    except OSError:
        return False
    for key, value in (("addr_gen_mode", "1"), ("accept_ra", "0")):
        with suppress(OSError):  # a read-only /proc, as in containers: then it sends a few packets that we drop
            (settings / key).write_text(value)
    return True


def _explain(error: OSError, name: str) -> HyperionError:
    """What the kernel's refusal of a device means."""
    number = error.args[0] if error.args else 0
    if number == errno.EACCES:  # at its opening; who lacks the capability is told so later, by another number
        return RefusedError(
            f"{name} cannot be made: {TUN_DEVICE} is closed to this user",
            hint=f"chmod 666 {TUN_DEVICE}, as udev does: what counts is the capability",
        )
    if number == errno.EPERM:
        return RefusedError(f"{name} cannot be made: permission denied", hint="it needs root or CAP_NET_ADMIN")
    if number == errno.EBUSY:
        return CannotCreateError(
            f"{name} is in use", hint="another hyperion-client runs; stop it: hyperion-client down"
        )
    if number in {errno.ENOENT, errno.ENXIO, errno.ENODEV}:
        return CannotCreateError(
            f"{name} cannot be made: this machine has no TUN devices", hint="load the module: modprobe tun"
        )
    return CannotCreateError(f"{name} cannot be made: {os.strerror(number) if number else type(error).__name__}")
