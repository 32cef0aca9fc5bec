"""``confirm-firewall``: said from a login that came through the new rules, so that the trial keeps them."""

import os
import socket

import msgspec

from hyperion.channel import FrameReader, encode
from hyperion.cli.output import say
from hyperion.errors import NotRunningError, RefusedError, TemporaryError
from hyperion.paths import is_root
from hyperion.proto.trial import Confirmed, ConfirmRequest, NotConfirmed, TrialToConfirm
from hyperion.socket_path import short
from hyperion.trial.login import login_connection
from hyperion.trial.record import CONFIRM_SOCKET, trial_directory

#: Seconds that the trial may take to answer.
ANSWER_TIMEOUT = 5.0


def run_confirm_firewall() -> int:
    """Raises ``NotRunningError`` (3) without a trial, ``RefusedError`` (77) if this login proves nothing."""
    login = login_connection(os.getpid())
    if login is None:
        raise RefusedError(
            "it cannot be told over which connection you are logged in",
            hint="log in anew by ssh and run it right there, not inside tmux or screen",
        )
    request = ConfirmRequest(str(login.remote), login.remote_port, str(login.local), login.local_port)
    answer = _exchange(request)
    if isinstance(answer, NotConfirmed):
        raise RefusedError(answer.reason, hint=answer.hint)
    say(f"confirmed: this login ({login}) came through the new rules, and they stay")
    return 0


def _exchange(request: ConfirmRequest) -> Confirmed | NotConfirmed:
    reader: FrameReader[TrialToConfirm] = FrameReader(msgspec.msgpack.Decoder(TrialToConfirm))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(ANSWER_TIMEOUT)
        try:
            with short(trial_directory() / CONFIRM_SOCKET) as path:
                sock.connect(path)
            sock.sendall(encode(request))
            while data := sock.recv(65_536):
                for answer in reader.receive_data(data):
                    return answer
        except (FileNotFoundError, ConnectionRefusedError, PermissionError):
            hint = None if is_root() else "ask as root, with sudo"
            raise NotRunningError("no trial of the firewall is running", hint=hint) from None
        except OSError:
            pass
    raise TemporaryError("the trial does not answer", hint="if it has just ended, its outcome is on its own terminal")
