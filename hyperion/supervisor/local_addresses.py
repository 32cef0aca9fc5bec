"""All local addresses that a client listens on, forwards and SOCKS: bound together, and taken over by a reload.

Knows that one which stays never stops listening, and that names are looked up beside the loop while we run. Refuses to
know who accepts, and the rest of a configuration.
"""

from dataclasses import dataclass, field

from hyperion.config import ClientConfig
from hyperion.errors import HyperionError
from hyperion.supervisor.forwards import BoundForward, bind_forwards, unbound_forwards
from hyperion.supervisor.resolve import LookUp, look_up_all, resolve
from hyperion.supervisor.sockets import close_unused
from hyperion.supervisor.socks import BoundSocks, bind_socks, unbound_socks


@dataclass(frozen=True, slots=True)
class LocalAddresses:
    """The listeners of one configuration, in the order of its file."""

    forwards: list[BoundForward] = field(default_factory=list)
    socks: list[BoundSocks] = field(default_factory=list)

    @classmethod
    def bind(
        cls, config: ClientConfig, held: "LocalAddresses | None" = None, look_up: LookUp = resolve
    ) -> "LocalAddresses":
        """Those of ``config``, all or none; sockets of ``held`` are used where they fit. May wait for the name service.

        Raises ``HyperionError``.
        """
        held = cls() if held is None else held
        forwards = bind_forwards(config.forwards, held.forwards, look_up)
        try:
            return cls(forwards, bind_socks(config.socks, held.socks, look_up))
        except HyperionError:
            close_unused(forwards, held.forwards)
            raise

    async def successor(self, config: ClientConfig) -> "LocalAddresses":
        """As ``bind``, with these held, while the loop goes on. Raises also ``TemporaryError``."""
        fresh = unbound_forwards(config.forwards, self.forwards) + unbound_socks(config.socks, self.socks)
        return self.bind(config, self, await look_up_all(fresh))

    def close(self, keep: "LocalAddresses | None" = None) -> None:
        """Stops listening, but for what ``keep`` listens on as well."""
        close_unused(self.forwards, [] if keep is None else keep.forwards)
        close_unused(self.socks, [] if keep is None else keep.socks)

    @property
    def shown(self) -> list[str]:
        """Where it listens, with the real ports."""
        return [forward.address for forward in self.forwards] + [each.address for each in self.socks]
