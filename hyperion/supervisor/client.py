"""``hyperion-client``: one worker for each server, so that a dead server delays no other.

Knows which part of the configuration a worker is given, and which workers a reload touches. Refuses to know how
children are kept alive (``crew``) and orders obeyed (``service``).
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hyperion import log, privileges
from hyperion.capabilities import NONE, Capability, Rights
from hyperion.channel import ChannelError, encode
from hyperion.config import ClientConfig, ServerEntry
from hyperion.config.knock import knock_order
from hyperion.errors import ChildError, ConfigError, HyperionError
from hyperion.events import CONFIG_RELOADED, STREAMS_UNAVAILABLE
from hyperion.proto.control import ClientWorkerConfig, ForwardRule, LogSettings, TunnelState
from hyperion.proto.operator import ClientAnswer, ForwardLine, TransparentLine
from hyperion.service_user import ServiceUser
from hyperion.supervisor.crew import Crew
from hyperion.supervisor.desk import Desk, DeskPlace, closing, served
from hyperion.supervisor.forwards import BoundForward
from hyperion.supervisor.kind import HOSTS_KEEPER, TUND
from hyperion.supervisor.local_addresses import LocalAddresses
from hyperion.supervisor.marker import Marker
from hyperion.supervisor.notify import Notifier
from hyperion.supervisor.plan import Plan
from hyperion.supervisor.process import MAX_LISTENERS
from hyperion.supervisor.reading import read_again
from hyperion.supervisor.service import Callbacks, Service, open_crew
from hyperion.supervisor.signals import orders
from hyperion.supervisor.socks import SOCKS_NAME, socks_spec
from hyperion.supervisor.spec import Spec, Timing
from hyperion.supervisor.status_client import Known, client_status
from hyperion.supervisor.stream_sockets import StreamSockets, callers, open_streams
from hyperion.supervisor.transparent import Transparent

#: Forwards of one server: what is left of the sockets that one worker can be handed.
MAX_FORWARDS = MAX_LISTENERS - 2

#: Root reads anybody's configuration, but root without rights only its own: kept for reloads where root stays root.
READING: Rights = frozenset({Capability.DAC_READ_SEARCH})

#: Told once all workers are ready: local address, server, remote port of each forward, in the order of the file.
Announce = Callable[[list[tuple[str, str, int]]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """What is not in the configuration file. ``drain_timeout``: seconds that streams have after SIGTERM."""

    drain_timeout: float = 30.0
    log: LogSettings = field(default_factory=LogSettings)
    #: Reads the file again, in a thread; raises ``HyperionError``. ``None``: a reload is refused.
    reload: Callable[[], ClientConfig] | None = None
    announce: Announce | None = None
    #: Told then, too: where it listens for SOCKS clients.
    announce_socks: Callable[[list[str]], None] | None = None
    #: Transparent mode, as this plans it: needs CAP_NET_ADMIN, which is permitted but not in effect. May take a while.
    transparent: Callable[[ClientConfig], Plan] | None = None
    #: With it: the hosts file that gets the servers' names for as long as we run.
    hosts: Path | None = None
    #: Directory for the sockets that ``nc`` looks for; ``None``: there are none.
    runtime: Path | None = None
    entry: str = "hyperion.worker.main:client_worker"
    preload: str = "hyperion.worker.preload"
    timing: Timing = field(default_factory=Timing)
    #: Where operators ask; ``None``: nowhere.
    desk: DeskPlace | None = None
    #: Carried by the tunnels' sockets if there is no transparent mode here, but somewhere else on this machine.
    mark: int | None = None
    #: Where this program logs, for operators; ``None``: standard error.
    log_path: str | None = None
    #: The user that we become, to whom our files are given; ``None``: we stay who we are.
    user: ServiceUser | None = None
    #: Becomes that user and keeps these rights permitted; called when everything that needs more was made.
    settle: Callable[[Rights], None] = lambda _: None

    @property
    def rights_needed(self) -> Rights:
        """What is kept, to start helpers now and again, to mark sockets, and for reloads."""
        needed = NONE if self.transparent is None and self.mark is None else TUND.rights or NONE
        if self.transparent is not None:
            needed |= privileges.held(TUND.welcome)
        if self.user is None or self.user.uid == 0:
            return needed | privileges.held(READING)
        return needed if self.hosts is None else needed | (HOSTS_KEEPER.rights or NONE)


async def run(config: ClientConfig, options: ClientOptions) -> int:
    """Forwards until a signal ends it; the exit code: 0 after SIGTERM, 130 after SIGINT.

    Raises ``ConfigError``, ``CannotCreateError`` or ``RefusedError`` before anything has started, ``ChildError`` when
    workers cannot start or none is left.
    """
    privileges.set_process_name("hyperion-client")
    privileges.disable_core_dumps()
    owner = None if options.user is None else (options.user.uid, options.user.gid)
    desk = Desk.open(options.desk, "hyperion-client", config.path, owner)
    with closing(desk):
        client = Client(config, options)
        try:
            with orders() as queue, contextlib.closing(Notifier.from_environment()) as notifier:
                changed = _StatusLine(client, notifier).show
                async with open_crew(options.preload, options.timing, changed) as crew:
                    client.marker.open()
                    client.staff(crew)
                    callbacks = Callbacks(client.started, client.reload, client.status, config.path, client.ending)
                    service = Service(crew, queue, notifier, callbacks, options.drain_timeout)
                    async with served(desk, service, crew, client.answer):
                        return await service.run()
        except ChildError as error:
            raise client.refusal(error) from None
        finally:
            client.close()


def worker_config(
    config: ClientConfig,
    server: ServerEntry,
    forwards: list[BoundForward],
    log_settings: LogSettings,
    stream_uids: tuple[int, ...] = (),
    *,
    marked: bool = False,
) -> ClientWorkerConfig:
    """What the worker of ``server`` is told first. Raises ``ConfigError`` if that is too much for one worker."""
    message = ClientWorkerConfig(
        server=server.name,
        host=server.endpoint.host,
        port=server.endpoint.port,
        server_public=server.public_key.raw,
        static_secret=config.identity.raw,
        psk=server.psk.raw,
        pool_size=server.pool_size,
        forwards=tuple(ForwardRule(forward.address, forward.entry.remote_port) for forward in forwards),
        log=log_settings,
        stream_uids=stream_uids,
        knock=knock_order(server, config.knock),
        marked=marked,
    )
    too_many = len(forwards) > MAX_FORWARDS
    try:
        encode(message)
    except ChannelError:
        too_many = True
    if too_many:
        raise ConfigError(f"{config.path}: too many forwards for {server.name}", hint=f"at most {MAX_FORWARDS} each")
    return message


class Client:
    """The configuration that holds now, its sockets, and the crew it was given to."""

    def __init__(self, config: ClientConfig, options: ClientOptions) -> None:
        """Binds all local addresses, which may need rights; then becomes whom ``options.settle`` says, to whom the
        rest belongs. Raises ``HyperionError``; then none is bound."""
        # First, because it may look up names and fail: nothing is bound yet.
        plan = None if options.transparent is None else options.transparent(config)
        self._config = config
        self._options = options
        self._local = LocalAddresses.bind(config)
        self._crew: Crew | None = None
        self._started_at = time.time()
        self._streams: StreamSockets | None = None
        self._transparent = None if plan is None else Transparent(plan, options.hosts)
        #: Marks the sockets of tunnels whose own packets the device would catch.
        self.marker = Marker(options.mark if plan is None else plan.mark)
        try:
            options.settle(options.rights_needed)
            if options.runtime is not None:
                self._streams = open_streams(options.runtime, required=bool(config.socks))
            self._specs = self._make_specs(config, self._local)
            self._publish(config)
        except HyperionError:
            self.close()
            raise

    @property
    def tunnels(self) -> Mapping[str, TunnelState]:
        """The latest state of each server's pool, by name; none for a server whose worker has not told yet."""
        return {} if self._crew is None else self._crew.tunnels

    def staff(self, crew: Crew) -> None:
        """Starts the workers."""
        self._crew = crew
        if self._transparent is not None:
            self._transparent.start(crew)
        for spec in self._specs.values():
            self._add(spec)

    def started(self) -> Mapping[str, object]:
        """All workers are ready."""
        if self._options.announce is not None:
            self._options.announce(
                [(forward.address, forward.entry.server, forward.entry.remote_port) for forward in self._local.forwards]
            )
        if self._options.announce_socks is not None:
            self._options.announce_socks([each.address for each in self._local.socks])
        return {"hyperion.listen": self._local.shown}

    async def reload(self) -> None:
        """Unchanged servers notice nothing; others are drained, started, or both. Raises ``HyperionError``: then all
        is as before."""
        if self._options.reload is None:
            raise ConfigError("this client cannot reload its configuration", hint="restart it")
        load, transparent = self._options.reload, self._options.transparent
        new = await read_again(lambda: _with_right_to_read(load))
        plan = None
        if self._transparent is not None and transparent is not None:
            plan = await read_again(lambda: transparent(new))
            self._transparent.check(plan)
        local = await self._local.successor(new)
        try:
            specs = self._make_specs(new, local)
        except HyperionError:
            local.close(keep=self._local)
            self.marker.keep(self._specs)
            raise
        changed = self._apply(specs)
        if self._transparent is not None and plan is not None:
            self._transparent.retarget(plan)
        self._local.close(keep=local)
        self.marker.keep(specs)
        self._config, self._local, self._specs = new, local, specs
        try:
            self._publish(new)
        except HyperionError as error:  # the disk is full: everything else is in force, and cannot be taken back
            log.event(STREAMS_UNAVAILABLE, log.error_fields(error))
        log.event(CONFIG_RELOADED, {"file.path": str(new.path), "hyperion.config.changed": changed})

    def ending(self) -> None:
        """Nothing new from here on."""
        if self._transparent is not None:
            self._transparent.turn_away()

    def status(self) -> str:
        """How it goes, in one line."""
        up = len([state for state in self.tunnels.values() if state.up])
        return f"{up} of {len(self._config.servers)} servers up"

    def answer(self, service: Service) -> ClientAnswer:
        """Everything an operator is told."""
        crew, config = self._crew, self._config
        assert crew is not None
        forwards: dict[str, list[ForwardLine]] = {}
        for forward in self._local.forwards:
            line = ForwardLine(local=forward.address, remote_port=forward.entry.remote_port)
            forwards.setdefault(forward.entry.server, []).append(line)
        names = [server.name for server in config.servers]
        return ClientAnswer(
            client_status(
                config,
                {name: Known(crew.facts(name), crew.tunnels.get(name), crew.heartbeats.get(name)) for name in names},
                forwards,
                phase=service.phase,
                started_at=self._started_at,
                log_path=self._options.log_path,
                transparent=self._transparent_line(),
                socks=[each.address for each in self._local.socks],
                real=self._transparent is not None and self._transparent.is_real,
            )
        )

    def _transparent_line(self) -> TransparentLine:
        if self._transparent is None:
            return TransparentLine(state="off")
        up, device = self._transparent.is_up, self._transparent.settings
        return TransparentLine(
            state="up" if up else "down",
            reason=None if up else "its device is away",
            device=device.name,
            address=device.ipv4,
        )

    def refusal(self, error: ChildError) -> HyperionError:
        """``error`` in the words of the child that it was about."""
        return error if self._transparent is None else self._transparent.refusal(error)

    def close(self) -> None:
        """Stops listening."""
        self.marker.close()
        self._local.close()
        if self._streams is not None:
            self._streams.close()

    def _publish(self, config: ClientConfig) -> None:
        """Who looks for a server finds it, by its name, its fake address and its real one."""
        if self._streams is not None:
            self._streams.commit(stand_ins(config))

    def _apply(self, specs: dict[str, Spec]) -> list[str]:
        """Makes the crew what ``specs`` says; the names of the servers that this touches."""
        assert self._crew is not None
        running = set(self._crew.names)
        touched = []
        for name in {**self._specs, **specs}:
            old, new = self._specs.get(name), specs.get(name)
            # A worker that was given up is tried again: perhaps that is what the reload is for.
            if old == new and name in running:
                continue
            touched.append(name)
            if name in running:
                self._crew.retire(name, self._options.drain_timeout)
            if new is not None:
                self._add(new)
        return touched

    def _add(self, spec: Spec) -> None:
        assert self._crew is not None
        if self._transparent is not None and spec.name != SOCKS_NAME:
            spec = self._transparent.employ(spec)
        self._crew.add(spec)

    def _make_specs(self, config: ClientConfig, local: LocalAddresses) -> dict[str, Spec]:
        specs = {}
        streams = {} if self._streams is None else self._streams.prepare(server.name for server in config.servers)
        uids = callers(config.path) if streams else ()
        for server in config.servers:
            mine = [forward for forward in local.forwards if forward.entry.server == server.name]
            specs[server.name] = Spec(
                name=server.name,
                process_name=f"hyp-{server.name}",
                entry=self._options.entry,
                config=worker_config(config, server, mine, self._options.log, uids, marked=self.marker.is_needed),
                listeners=(
                    *(forward.sock for forward in mine),
                    *([streams[server.name]] if streams else []),
                    *([self.marker.desk(server.name)] if self.marker.is_needed else []),
                ),
            )
        if local.socks:
            if self._streams is None:
                raise ConfigError("SOCKS needs stream sockets, and this client runs without", hint="restart it")
            places = self._streams.meetings(stand_ins(config))
            specs[SOCKS_NAME] = socks_spec(self._options.entry, local.socks, places, self._options.log)
        return specs


def stand_ins(config: ClientConfig) -> dict[str, tuple[str, ...]]:
    """The addresses that stand for each server: its fake one and its real one."""
    return {server.name: (str(server.virtual_ip), server.endpoint.host) for server in config.servers}


def _with_right_to_read(reload: Callable[[], ClientConfig]) -> ClientConfig:
    """In a thread of its own: whose file it is, of the user who called ``sudo`` perhaps, must not matter now either."""
    if not privileges.held(READING):
        return reload()
    with privileges.raised(Capability.DAC_READ_SEARCH):
        return reload()


class _StatusLine:
    """Tells the service manager, if there is something new."""

    def __init__(self, client: Client, notifier: Notifier) -> None:
        self._client = client
        self._notifier = notifier
        self._shown = ""

    def show(self) -> None:
        if (text := self._client.status()) != self._shown:
            self._shown = text
            self._notifier.status(text)
