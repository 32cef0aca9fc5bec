"""``hyperion-server``: one tunnel port, several workers that share it.

Knows which part of the configuration a worker is given, and which part of it a reload may change. Refuses to know how
children are kept alive (``crew``) and orders obeyed (``service``).
"""

import contextlib
import dataclasses
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hyperion import log, privileges
from hyperion.capabilities import Rights
from hyperion.channel import ChannelError, encode
from hyperion.config import Endpoint, ServerConfig
from hyperion.config.admins import admin_changes
from hyperion.errors import ConfigError
from hyperion.events import CONFIG_RELOADED
from hyperion.proto.admins import AdminRule, Roster
from hyperion.proto.control import LogSettings, Message, ServerPolicy, ServerWorkerConfig, SessionOpened
from hyperion.proto.operator import GateLine, HoldGuardRequest, ProofRequest, Request, ServerAnswer
from hyperion.service_user import ServiceUser
from hyperion.supervisor.control_socket import Handler
from hyperion.supervisor.crew import Crew
from hyperion.supervisor.desk import Desk, DeskPlace, closing, served
from hyperion.supervisor.gatekeeper import Gatekeeper, rights_needed
from hyperion.supervisor.notify import Notifier
from hyperion.supervisor.proofs import Proofs
from hyperion.supervisor.reading import read_again
from hyperion.supervisor.service import Callbacks, Service, open_crew
from hyperion.supervisor.signals import orders
from hyperion.supervisor.sockets import close_all, listen_shared, port_of
from hyperion.supervisor.spec import Spec, Timing
from hyperion.supervisor.status_server import server_status

#: Longest name of this machine that clients are told, characters (WIRE section 19).
MAX_SERVER_NAME_CHARS = 64

#: What children were born with, so a reload cannot change it. The rest holds from one moment to the next.
FIXED = ("listen", "identity", "psk")
CHANGEABLE = ("admins", "egress", "handshake_timeout")

#: What there is to keep rights for, and to become: see ``hyperion.privileges``.
Settle = Callable[[Rights], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What is not in the configuration file. ``drain_timeout``: seconds that streams have after SIGTERM."""

    workers: int
    drain_timeout: float = 30.0
    log: LogSettings = field(default_factory=LogSettings)
    #: Reads the file again, in a thread; raises ``HyperionError``. ``None``: a reload is refused.
    reload: Callable[[], ServerConfig] | None = None
    #: Told the address, with the real port, once all workers are ready.
    announce: Callable[[Endpoint], None] | None = None
    entry: str = "hyperion.worker.main:server_worker"
    preload: str = "hyperion.worker.preload"
    timing: Timing = field(default_factory=Timing)
    #: Where operators ask; ``None``: nowhere.
    desk: DeskPlace | None = None
    #: Where this program logs, for operators; ``None``: standard error.
    log_path: str | None = None
    #: The user that we become, to whom our files are given; ``None``: we stay who we are.
    user: ServiceUser | None = None
    #: Becomes that user and keeps these rights permitted; called when everything that needs more was made.
    settle: Settle = lambda _: None


async def run(config: ServerConfig, options: ServerOptions) -> int:
    """Serves until a signal ends it; the exit code: 0 after SIGTERM, 130 after SIGINT.

    Raises ``ConfigError``, ``CannotCreateError`` or ``RefusedError`` before anything has started, ``ChildError`` when
    workers cannot start or none is left.
    """
    privileges.set_process_name("hyperion-server")
    privileges.disable_core_dumps()
    desk = _open_desk(config, options)
    with closing(desk):
        sockets = listen_shared(config.listen, options.workers, deaf=config.knock.enabled)
        try:
            options.settle(rights_needed(config))
            with orders() as queue, contextlib.closing(Notifier.from_environment()) as notifier:
                server = _Server(config, options, sockets, notifier, None if desk is None else desk.directory)
                async with open_crew(options.preload, options.timing, server.show) as crew:
                    server.staff(crew)
                    callbacks = Callbacks(server.started, server.reload, server.status, config.path)
                    service = Service(crew, queue, notifier, callbacks, options.drain_timeout)
                    async with served(desk, service, crew, server.answer, server.handlers()):
                        return await service.run()
        finally:
            close_all(sockets)


def _open_desk(config: ServerConfig, options: ServerOptions) -> Desk | None:
    """A gate needs the directory: it keeps the memory of knocks."""
    place = options.desk
    if config.knock.enabled:
        place = None if place is None else dataclasses.replace(place, required=True)
    owner = None if options.user is None else (options.user.uid, options.user.gid)
    desk = Desk.open(place, "hyperion-server", config.path, owner)
    if desk is None and config.knock.enabled:
        raise ConfigError("the gate needs a runtime directory", hint="set HYPERION_HOME, or knock.enabled = false")
    return desk


def admin_rules(config: ServerConfig) -> tuple[AdminRule, ...]:
    """Who may come in, where to, and until when."""
    return tuple(
        AdminRule(admin.key.raw, admin.name, tuple(sorted(admin.allow)), admin.expires) for admin in config.admins
    )


def server_name(hostname: str) -> str:
    """What clients are told this machine is called: printable ASCII, at most 64 characters."""
    return "".join(char for char in hostname if " " <= char <= "~")[:MAX_SERVER_NAME_CHARS]


def worker_config(config: ServerConfig, index: int, log_settings: LogSettings) -> ServerWorkerConfig:
    """What worker ``index`` is told first. Raises ``ConfigError`` if it does not fit into one control message."""
    message = ServerWorkerConfig(
        worker=str(index),
        static_secret=config.identity.raw,
        psk=config.psk.raw,
        admins=Roster.of(admin_rules(config)),
        handshake_timeout=config.handshake_timeout,
        server_name=server_name(socket.gethostname()),
        log=log_settings,
    )
    try:
        encode(message)
    except ChannelError as error:
        raise ConfigError(
            f"{config.path}: {len(config.admins)} admins with their ports are too many",
            hint="let more of them share a list of ports, or list fewer",
        ) from error
    return message


class _Server:
    """The configuration that holds now, and the crew it was given to."""

    def __init__(
        self,
        config: ServerConfig,
        options: ServerOptions,
        sockets: list[socket.socket],
        notifier: Notifier,
        runtime: Path | None,
    ) -> None:
        self._config = config
        self._options = options
        self._sockets = sockets
        self._notifier = notifier
        self._crew: Crew | None = None
        self._shown = ""
        self._started_at = time.time()
        self._gatekeeper: Gatekeeper | None = None
        if config.knock.enabled and runtime is not None:
            self._gatekeeper = Gatekeeper(config, sockets, runtime, options.log, self.show)
        self._proofs = Proofs(None, lambda: False) if self._gatekeeper is None else self._gatekeeper.proofs

    def staff(self, crew: Crew) -> None:
        """Starts the workers; worker i always gets socket i, so that a restarted one finds what was queued for it."""
        self._crew = crew
        if self._gatekeeper is not None:
            self._gatekeeper.staff(crew, self._config)
        for spec in self._specs(self._config):
            crew.add(spec)

    def started(self) -> Mapping[str, object]:
        """All workers are ready."""
        address = Endpoint(self._config.listen.host, port_of(self._sockets[0]))
        if self._options.announce is not None:
            self._options.announce(address)
        return {"hyperion.listen": str(address), "destination.port": address.port}

    async def reload(self) -> None:
        """All of the new file, or nothing of it. Raises ``HyperionError``."""
        if self._options.reload is None:
            raise ConfigError("this service cannot reload its configuration", hint="restart it")
        new = await read_again(self._options.reload)
        fixed = _differences(self._config, new, FIXED)
        if self._config.knock.enabled != new.knock.enabled:
            fixed.append("knock.enabled")
        if fixed:
            raise ConfigError(f"{new.path}: a change of {', '.join(fixed)} needs a restart", hint="nothing was changed")
        specs = self._specs(new)
        changed = _differences(self._config, new, CHANGEABLE)
        old, self._config = self._config, new
        assert self._crew is not None
        self._crew.reconfigure(specs, ServerPolicy(Roster.of(admin_rules(new)), new.handshake_timeout))
        if self._gatekeeper is not None:
            changed += await self._gatekeeper.reload(old, new)
        fields = {
            "file.path": str(new.path),
            "hyperion.config.changed": changed,
            **admin_changes(old.admins, new.admins),
        }
        log.event(CONFIG_RELOADED, fields)

    def status(self) -> str:
        """How it goes, in one line."""
        if self._crew is None:
            return "starting"
        sessions = sum(beat.sessions for beat in self._crew.heartbeats.values())
        text = f"{len(self._crew.names)} workers, {sessions} sessions"
        if self._gatekeeper is not None:
            reason = self._gatekeeper.gate.reason
            text += ", gate ok" if reason is None else f", gate shut: {reason}"
        return text

    def answer(self, service: Service) -> ServerAnswer:
        """Everything an operator is told."""
        crew, config = self._crew, self._config
        gate = None if self._gatekeeper is None else self._gatekeeper.gate
        assert crew is not None
        return ServerAnswer(
            server_status(
                listen=str(Endpoint(config.listen.host, port_of(self._sockets[0]))),
                config_path=str(config.path),
                log_path=self._options.log_path,
                phase=service.phase,
                started_at=self._started_at,
                egress=sorted(config.egress),
                admins=config.admins,
                workers={str(i): (crew.facts(str(i)), crew.heartbeats.get(str(i))) for i in range(len(self._sockets))},
                sessions=crew.sessions,
                gate=GateLine(state="off") if gate is None else gate.line(),
                grants=() if gate is None else gate.grants(),
            )
        )

    def handlers(self) -> Mapping[type[Request], Handler]:
        """What only a server is asked."""
        return {HoldGuardRequest: self._proofs.hold, ProofRequest: self._proofs.proof}

    def show(self) -> None:
        """Tells the service manager, if there is something new."""
        if (text := self.status()) != self._shown:
            self._shown = text
            self._notifier.status(text)

    def _worker_said(self, message: Message) -> None:
        if isinstance(message, SessionOpened):
            self._proofs.session_opened(message)

    def _specs(self, config: ServerConfig) -> list[Spec]:
        return [
            Spec(
                name=str(index),
                process_name=f"hyp-worker-{index}",
                entry=self._options.entry,
                config=worker_config(config, index, self._options.log),
                listeners=(sock,),
                heard=self._worker_said if self._gatekeeper is None else self._gatekeeper.worker_said,
            )
            for index, sock in enumerate(self._sockets)
        ]


def _differences(old: ServerConfig, new: ServerConfig, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if getattr(old, name) != getattr(new, name)]
