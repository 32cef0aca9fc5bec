"""Where a running program meets its operator: the lock that says that it runs, and the requests it answers.

Knows what a request to reload and to stop means, and that one for the status begins with a poll of the children.
Refuses to know what a status says: each program writes its own. ``hyperion.running`` is the other side.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hyperion import log
from hyperion.errors import HyperionError
from hyperion.events import OPERATOR_UNAVAILABLE
from hyperion.proto.operator import Answer, Done, ReloadRequest, Request, StatusRequest, StopRequest
from hyperion.supervisor.control_socket import ControlSocket, Handler
from hyperion.supervisor.crew import Crew
from hyperion.supervisor.residence import AVAILABLE, Residence
from hyperion.supervisor.service import Service
from hyperion.supervisor.signals import Order

#: Seconds that children have to say how they are when somebody asks; a stuck one is shown as it was last heard of.
POLL_SECONDS = 0.25
#: Seconds between two looks at who has answered.
LOOK_SECONDS = 0.005
#: Seconds on top of a drain's that an end may take: the grace of the children and a little for ourselves.
END_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class DeskPlace:
    """Where the desk is. ``required``: without it the program does not start (a daemon nobody could stop is none)."""

    directory: Path
    required: bool = False


class Desk:
    """Opened before rights are given up, served when the crew is there, closed at the end of it all."""

    def __init__(self, residence: Residence, uids: frozenset[int], owner: tuple[int, int] | None) -> None:
        self._residence = residence
        self._socket = residence.listen(owner)
        self._uids = uids
        self.directory = residence.directory

    @classmethod
    def open(
        cls, place: DeskPlace | None, title: str, config_file: Path, owner: tuple[int, int] | None = None
    ) -> "Desk | None":
        """The desk; ``None`` where there shall be or can be none. ``owner``: user and group that we shall become.

        Who may ask: root, that user, and the owner of the configuration. Raises ``HyperionError`` if it is required.
        """
        if place is None or not AVAILABLE:
            return None
        uids = {0, os.geteuid() if owner is None else owner[0]}
        with contextlib.suppress(OSError):
            uids.add(config_file.stat().st_uid)
        residence = None
        try:
            residence = Residence.enter(place.directory, title, owner)
            return cls(residence, frozenset(uids), owner)
        except HyperionError as error:
            if residence is not None:
                residence.leave()
            if place.required:
                raise
            log.event(OPERATOR_UNAVAILABLE, log.error_fields(error))
            return None

    @contextlib.asynccontextmanager
    async def serve(
        self,
        service: Service,
        crew: Crew,
        status: Callable[[Service], Answer],
        more: Mapping[type[Request], Handler] | None = None,
    ) -> AsyncIterator[None]:
        """Answers within the block. ``status`` writes the answer of this moment; ``more``: handlers of this program."""

        async def tell(_: StatusRequest) -> Answer:
            await polled(crew)
            return status(service)

        handlers: dict[type[Request], Handler] = {
            StatusRequest: tell,
            ReloadRequest: lambda _: reload(service),
            StopRequest: lambda request: stop(service, request),
            **(more or {}),
        }
        server = ControlSocket(self._socket, self._uids, handlers)
        await server.start()
        try:
            yield
        finally:
            server.close()

    def close(self) -> None:
        """Nobody is here any more."""
        self._residence.leave()


async def reload(service: Service) -> Answer:
    """Done when it is in force. Raises ``HyperionError``: then all is as before."""
    await service.reload()
    return Done()


async def stop(service: Service, request: StopRequest) -> Answer:
    """Done when the end has begun; its ``patience`` says how long that may take."""
    service.order(Order.STOP if request.now else Order.DRAIN)
    return Done(patience=END_SECONDS + (0.0 if request.now else service.drain_timeout))


async def polled(crew: Crew) -> None:
    """Asks the children how they are, and waits for those that answer within a moment."""
    before = dict(crew.heartbeats)
    crew.poll()
    deadline = asyncio.get_running_loop().time() + POLL_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        # A heartbeat is a new object each time, also if it says the same.
        if all(crew.heartbeats.get(name) is not before.get(name) for name in crew.ready_names):
            return
        await asyncio.sleep(LOOK_SECONDS)


@contextlib.asynccontextmanager
async def served(
    desk: Desk | None,
    service: Service,
    crew: Crew,
    status: Callable[[Service], Answer],
    more: Mapping[type[Request], Handler] | None = None,
) -> AsyncIterator[None]:
    """As ``Desk.serve``; nothing where there is no desk."""
    if desk is None:
        yield
        return
    async with desk.serve(service, crew, status, more):
        yield


def closing(desk: Desk | None) -> "contextlib.AbstractContextManager[Desk | None]":
    """Closes the desk at the end of the block, if there is one."""
    return contextlib.nullcontext() if desk is None else contextlib.closing(desk)
