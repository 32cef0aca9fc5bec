"""One call of ``nc`` to a worker: from the request to the exit code.

Knows the answers of ``hyperion.proto.handover`` and what each means to a person and to a script. Refuses to know whose
worker it is: that of a running client, or the one in this process. Imports little: ssh waits for it.
"""

import os
import socket

from hyperion.cli.stdio import STDOUT, End, bridge, tell
from hyperion.errors import (
    EXIT_BROKEN_PIPE,
    CannotCreateError,
    HyperionError,
    RefusedError,
    TemporaryError,
    UnreachableError,
    UsageError,
    one_line,
    reason_of,
)
from hyperion.proto.handover import KNOCK_UNANSWERED, MAX_REASON_BYTES, Answer, Ending, decode_answer
from hyperion.rendezvous import Meeting, call

#: Seconds to wait for a place in the queue of a worker, which has 1,024: it hangs, or is about to take them all.
CALL_SECONDS = 5.0
#: Seconds for the answer until the caller is told that it is waited for.
WORD_SECONDS = 3.0
#: Seconds for the answer in all. A worker waits 10 for a tunnel and 10 for the server; one that hangs is replaced after
#: 21, and the next one takes over who waits.
ANSWER_SECONDS = 45.0


def place_call(meeting: Meeting, port: int) -> tuple[socket.socket, socket.socket]:
    """The control connection and the stream. Raises ``OSError`` if nobody is there, ``TemporaryError`` if it hangs."""
    ours, theirs = socket.socketpair()
    try:
        control = call(meeting, port, theirs, patience=CALL_SECONDS)
    except BlockingIOError:
        ours.close()
        raise _hangs(meeting.name) from None
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return control, ours


def converse(control: socket.socket, stream: socket.socket, server: str, port: int) -> int:
    """Waits for the answer, then moves bytes until both sides are done; the exit code.

    Raises ``RefusedError``, ``UnreachableError``, ``TemporaryError``, ``CannotCreateError`` for a full disk behind
    standard output.
    """
    with control, stream:
        _await_answer(control, server, port)
        try:
            end = bridge(stream)
        except OSError as error:
            raise CannotCreateError(f"cannot write the output: {reason_of(error)}") from None
        if end is End.READER_LEFT:
            return EXIT_BROKEN_PIPE
        ending = _hear(control)
        if end is End.FINISHED and ending == bytes((Ending.CLEAN,)):
            return 0
        raise TemporaryError(
            f"the connection to {server}:{port} was lost" if ending else f"the client's worker for {server} ended",
            hint=f"what arrived may not be all; hyperion-client doctor {server} checks the way",
        )


def pass_on(control: socket.socket, stream: socket.socket, server: str, port: int) -> int:
    """Waits for the answer, then gives the stream to whoever is behind standard output, a Unix socket, and leaves.

    For ssh's ProxyUseFdpass. Raises what ``converse`` raises, and ``UsageError`` if standard output is something else.
    """
    with control, stream:
        _await_answer(control, server, port)
        try:
            with socket.socket(fileno=os.dup(STDOUT)) as receiver:
                socket.send_fds(receiver, [b"\0"], [stream.fileno()])
        except OSError:
            raise UsageError(
                "-F needs a Unix socket as standard output",
                hint="it is for ssh: ProxyUseFdpass yes beside ProxyCommand",
            ) from None
    return 0


def _await_answer(control: socket.socket, server: str, port: int) -> None:
    said = _hear(control, WORD_SECONDS)
    if said is None:
        tell(f"hyperion-client: still waiting for {server}:{port}\n")
        said = _hear(control, ANSWER_SECONDS - WORD_SECONDS)
    if said is None:
        raise _hangs(server)
    answer = decode_answer(said[0]) if said else None
    if answer is not Answer.OK:
        raise explain(answer, _reason(control), server, port)


def _hangs(server: str) -> TemporaryError:
    return TemporaryError(
        f"the client's worker for {server} does not answer",
        hint="it is replaced by itself within half a minute; hyperion-client status shows it",
    )


def explain(answer: Answer | None, reason: str, server: str, port: int) -> HyperionError:
    """Why there is no stream."""
    match answer:
        case Answer.DENIED:
            return RefusedError(
                f"{server} does not allow port {port}",
                hint=f"add {port} to allow in the server's configuration, or take a port that is in it",
            )
        case Answer.UNREACHABLE:
            return UnreachableError(
                f"nothing answers on port {port} of {server}", hint="the service must listen on 127.0.0.1 there"
            )
        case Answer.NO_TUNNEL if reason == KNOCK_UNANSWERED:
            return TemporaryError(
                f"no tunnel to {server}: knocks went out, and the port did not open",
                hint=f"hyperion-client doctor {server} shows the likely causes",
            )
        case _:
            why = f" ({one_line(reason)})" if reason else ""
            return UnreachableError(f"no tunnel to {server}{why}", hint=f"hyperion-client doctor {server} says why")


def _hear(control: socket.socket, seconds: float | None = None) -> bytes | None:
    """One byte, or nothing at the end; ``None`` if neither came within ``seconds``. Without them it waits for one."""
    control.settimeout(seconds)
    try:
        return control.recv(1)
    except TimeoutError:
        return None
    except OSError:
        return b""
    finally:
        control.settimeout(None)


def _reason(control: socket.socket) -> str:
    said = b""
    while len(said) < MAX_REASON_BYTES:
        try:
            more = control.recv(MAX_REASON_BYTES - len(said))
        except OSError:
            break
        if not more:
            break
        said += more
    return said.decode("ascii", "replace")
