"""The witness that is a running server, asked over its operator socket.

Knows how long a trial waits for an answer. A server that is not there, or hangs, must not keep the rules from being put
back: so nothing raises, and whoever does not answer in time knows nothing.
"""

import asyncio
from pathlib import Path

from hyperion.errors import ConfigError, HyperionError, NotRunningError
from hyperion.proto.operator import Answer, HoldGuardRequest, Proof, ProofRequest, Refused, Request
from hyperion.running import ask
from hyperion.trial.witness import Knock, Session

#: Seconds that the server may take.
ANSWER_TIMEOUT = 3.0


class ServerWitness:
    """The server whose runtime directory is ``directory``."""

    def __init__(self, directory: Path, timeout: float = ANSWER_TIMEOUT) -> None:
        self._directory = directory
        self._timeout = timeout

    async def hold(self, seconds: float, *, needs_gate: bool = True) -> str | None:
        """See ``Witness``. ``needs_gate``: a server whose gate is off refuses; else it guards nothing, and that is
        well."""
        answer = await self._ask(HoldGuardRequest(seconds))
        if isinstance(answer, Refused):
            return None if answer.exit_code == ConfigError.exit_code and not needs_gate else answer.message
        return answer.message if isinstance(answer, HyperionError) else None

    async def heard(self, since: float) -> tuple[list[Knock], list[Session]] | None:
        """See ``Witness``."""
        answer = await self._ask(ProofRequest(since))
        if not isinstance(answer, Proof):
            return None
        return [Knock(*knock) for knock in answer.knocks], [Session(*session) for session in answer.sessions]

    async def _ask(self, request: Request) -> Answer | HyperionError | None:
        """``None``: it does not run."""
        try:
            return await asyncio.to_thread(ask, self._directory, request, self._timeout)
        except NotRunningError:
            return None
        except HyperionError as error:
            return error
