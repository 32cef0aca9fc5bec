"""The kinds of children: what all members of one kind have in common, and how they differ from the other kinds.

Knows for each kind what its children may say, with which rights they start, and how they are restarted. The names of
the entry points are in the specs (``server``, ``client``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from hyperion.capabilities import NONE, Capability, Rights
from hyperion.proto.control import ClientWorkerConfig, Message, WorkerToSupervisor
from hyperion.proto.control_keeper import KeeperToSupervisor
from hyperion.proto.control_knockd import KnockdToSupervisor
from hyperion.proto.control_tund import TundToSupervisor
from hyperion.supervisor.conversation import Conversation, HelperConversation, WorkerConversation
from hyperion.supervisor.restart import LONG_LIFE, LONGEST_WAIT

#: A helper that lived so long, seconds, is started again at once, whatever went before: it worked.
HELPER_LONG_LIFE = 1.5
#: A helper that was ready and then crashed is started again after so many seconds at most: while the one knockd is
#: away, nobody gets in, and while tund is, no fake address answers.
HELPER_LONGEST_WAIT = 0.5
#: A knockd that was ready and then says nothing for so long, seconds, and for ``member.SECOND_CHANCE`` more, is killed:
#: three signs of life. Its loop never waits for nftables, so a slow firewall is no silence. Until then somebody may
#: flush the table, and nobody mends it.
KNOCKD_SILENCE = 2.5


@dataclass(frozen=True, slots=True)
class Kind:
    """``name``: what people call one (a worker has a name of its own besides).

    ``rights``: ``None`` for workers, which are forked from the fork server and hold no capability. Anything else makes
    a *helper*: a program of its own (``python -m ENTRY``, its control socket is descriptor 3) that starts with just
    these capabilities. Helpers are told to stop when the last worker has left. ``welcome``: more capabilities, which it
    starts with where we hold them, and does without where we do not.
    """

    name: str
    #: Decodes what they may say.
    decoder: msgspec.msgpack.Decoder[Any]
    #: Judges the order in which one with this process id and this configuration says it.
    conversation: Callable[[int, Message], Conversation]
    rights: Rights | None = None
    welcome: Rights = NONE
    #: Longest wait before the restart of one that had become ready, seconds.
    longest_wait: float = LONGEST_WAIT
    #: Seconds of life after which an end counts as the first.
    long_life: float = LONG_LIFE
    #: Longest silence of one that has become ready, seconds; ``None``: as long as starting may take (``spec.Timing``).
    silence: float | None = None

    @property
    def is_helper(self) -> bool:
        """Not a worker."""
        return self.rights is not None


def _worker_conversation(pid: int, config: Message) -> Conversation:
    return WorkerConversation(pid, tunnels=isinstance(config, ClientWorkerConfig))


def _helper_conversation(pid: int, _config: Message) -> Conversation:
    return HelperConversation(pid)


WORKER = Kind("worker", msgspec.msgpack.Decoder(WorkerToSupervisor), _worker_conversation)

#: The gatekeeper. CAP_NET_RAW opens its packet sockets and is given up then.
KNOCKD = Kind(
    "knockd",
    msgspec.msgpack.Decoder(KnockdToSupervisor),
    _helper_conversation,
    rights=frozenset({Capability.NET_ADMIN, Capability.NET_RAW}),
    longest_wait=HELPER_LONGEST_WAIT,
    long_life=HELPER_LONG_LIFE,
    silence=KNOCKD_SILENCE,
)

#: Turns packets round. CAP_NET_ADMIN makes the device, CAP_BPF the shortcut through the kernel; both are given up then.
TUND = Kind(
    "tund",
    msgspec.msgpack.Decoder(TundToSupervisor),
    _helper_conversation,
    rights=frozenset({Capability.NET_ADMIN}),
    welcome=frozenset({Capability.BPF}),
    longest_wait=HELPER_LONGEST_WAIT,
    long_life=HELPER_LONG_LIFE,
)

#: Holds names in the hosts file. As the file's owner it needs no capability; as another user it writes beside it
#: (CAP_DAC_OVERRIDE) and gives what it wrote to the owner (CAP_CHOWN), in effect for each change only.
HOSTS_KEEPER = Kind(
    "hosts keeper",
    msgspec.msgpack.Decoder(KeeperToSupervisor),
    _helper_conversation,
    rights=frozenset({Capability.DAC_OVERRIDE, Capability.CHOWN}),
    longest_wait=HELPER_LONGEST_WAIT,
    long_life=HELPER_LONG_LIFE,
)

#: Holds the routing rule for real addresses, and keeps the right to delete it.
RULES_KEEPER = Kind(
    "rules keeper",
    msgspec.msgpack.Decoder(KeeperToSupervisor),
    _helper_conversation,
    rights=frozenset({Capability.NET_ADMIN}),
    longest_wait=HELPER_LONGEST_WAIT,
    long_life=HELPER_LONG_LIFE,
)
