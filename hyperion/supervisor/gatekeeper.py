"""knockd as the supervisor's helper: what it is told first, who hears what it says, what a reload changes.

Knows the configuration and which part of it knockd gets: the knock key, and not the PSK that it was derived from. What
follows from knockd's words is the business of ``gate``.
"""

import dataclasses
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from hyperion.capabilities import NONE, Rights
from hyperion.config import ServerConfig
from hyperion.proto.control import Knocked, LogSettings, Message, Ready, SessionOpened
from hyperion.proto.control_knockd import Admitted, GuardedTable, InheritedTable, KnockdConfig
from hyperion.proto.knock import derive_knock_key
from hyperion.supervisor.crew import Crew
from hyperion.supervisor.gate import Gate
from hyperion.supervisor.kind import KNOCKD
from hyperion.supervisor.proofs import Proofs
from hyperion.supervisor.residence import REPLAY_FILE
from hyperion.supervisor.shutter import Shutter
from hyperion.supervisor.sockets import port_of
from hyperion.supervisor.spec import Spec

NAME = "knockd"
ENTRY = "hyperion.knockd"

#: How settings are called in the file.
_WRITTEN = {"port": "knock_port", "window": "window_secs", "set_name": "set", "ttl": "ttl_secs"}


def rights_needed(config: ServerConfig) -> Rights:
    """What the supervisor must keep permitted to start knockd again and again."""
    return KNOCKD.rights or NONE if config.knock.enabled else NONE


def knockd_config(config: ServerConfig, tunnel_port: int, runtime: Path, log_settings: LogSettings) -> KnockdConfig:
    """The first message. ``runtime``: the directory that keeps the replay memory."""
    return KnockdConfig(
        knock_key=derive_knock_key(config.psk.raw),
        server_public=config.identity.public().raw,
        knock_port=config.knock.port or tunnel_port,
        tunnel_port=tunnel_port,
        window=config.knock.window,
        table=config.firewall.table,
        set=config.firewall.set_name,
        ttl=config.firewall.ttl,
        replay_path=str(runtime / REPLAY_FILE),
        one_shot=config.firewall.one_shot,
        log=log_settings,
    )


def changed_settings(old: ServerConfig, new: ServerConfig) -> list[str]:
    """Those that knockd is born with and that differ, as they are called in the file."""
    return [
        f"{section}.{_WRITTEN.get(field.name, field.name)}"
        for section in ("knock", "firewall")
        for field in dataclasses.fields(getattr(old, section))
        if field.name != "close_behind"
        and getattr(getattr(old, section), field.name) != getattr(getattr(new, section), field.name)
    ]


class Gatekeeper:
    """One per server with a gate. ``sockets`` are the listening ones, shut already.

    ``changed`` is called when ``gate`` has something new to show.
    """

    def __init__(
        self,
        config: ServerConfig,
        sockets: Sequence[socket.socket],
        runtime: Path,
        log_settings: LogSettings,
        changed: Callable[[], None],
    ) -> None:
        self._tunnel_port = port_of(sockets[0])
        self._runtime = runtime
        self._log = log_settings
        self._crew: Crew | None = None
        self._config = config
        #: A knockd of ours has written its replay memory.
        self._has_memory = False
        #: What the last knockd put back, if nobody has said since that he changes it.
        self._guarded: GuardedTable | None = None
        self.proofs = Proofs(self._tell, self._runs, let_go=self._forget_table)
        self.gate = Gate(
            Shutter(sockets),
            config.knock.port or self._tunnel_port,
            self._tell,
            close_behind=config.firewall.close_behind,
            one_shot=config.firewall.one_shot,
            changed=changed,
        )

    def staff(self, crew: Crew, config: ServerConfig) -> None:
        """Starts knockd."""
        self._crew = crew
        crew.add(self._spec(config))

    async def reload(self, old: ServerConfig, new: ServerConfig) -> list[str]:
        """Names of the keys that differ. If knockd knows one of them, another knockd takes its place: no tunnel
        notices, and for about half a second no knock is heard. One that was given up is tried again."""
        changed = changed_settings(old, new)
        if old.firewall.close_behind != new.firewall.close_behind:
            self.gate.close_behind = new.firewall.close_behind
            changed.append("firewall.close_behind")
        if {"firewall.table", "firewall.set", "firewall.one_shot"} & set(changed):
            self._forget_table()
        assert self._crew is not None
        if set(changed) - {"firewall.close_behind"} or NAME not in self._crew.helpers:
            self.gate.port, self.gate.one_shot = new.knock.port or self._tunnel_port, new.firewall.one_shot
            await self._crew.replace_helper(self._spec(new))
        return changed

    def worker_said(self, message: Message) -> None:
        """For grants that end with the sessions they were for."""
        if isinstance(message, SessionOpened):
            self.gate.session_opened(message.source)
            self.proofs.session_opened(message)

    def _spec(self, config: ServerConfig) -> Spec:
        message = knockd_config(config, self._tunnel_port, self._runtime, self._log)
        if self._has_memory:
            message = msgspec.structs.replace(message, successor=True)
        self._config = config
        return Spec(NAME, "hyp-knockd", ENTRY, message, kind=KNOCKD, heard=self._heard, ended=self._ended)

    def _heard(self, message: Message) -> None:
        if isinstance(message, Admitted) and message.knock and self._crew is not None:
            # First: whoever connects now may be there before anything else is done.
            for name in self._crew.names:
                self._crew.tell(name, Knocked(message.source, message.knock))
        if isinstance(message, Ready) and not self._has_memory:
            # It has made its file: one that comes after it and finds none knows that it was lost.
            self._has_memory = True
            if self._crew is not None:
                self._crew.amend(self._spec(self._config))
        if isinstance(message, GuardedTable) and not self.proofs.is_held:
            self._guarded = message
        if isinstance(message, Ready) and self._guarded is not None:
            self._tell(InheritedTable(self._guarded.listing, self._guarded.elements))
        self.gate.heard(message)
        self.proofs.heard(message)

    def _forget_table(self) -> None:
        """It is the operator's to change: no knockd of ours brings back what was there before."""
        self._guarded = None

    def _runs(self) -> bool:
        return self._crew is not None and self._crew.has_helper(NAME)

    def _ended(self) -> None:
        # At the end of the service it is no news.
        if self._crew is not None and not self._crew.leaving:
            self.gate.ended()

    def _tell(self, message: Message) -> None:
        if self._crew is not None:
            self._crew.tell_helper(NAME, message)
