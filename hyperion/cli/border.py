"""The border between the program and its caller: every outcome becomes an exit code, every failure a line for people.

``PROGRAM: error: what``, then ``hint: what to do``, both on standard error. A traceback only with ``--debug``.

Parsing and doing are apart: a click command returns what is to be done, and it is done here. So click's own treatment
of broken pipes and interrupts does not reach into a running program.
"""

from collections.abc import Callable, Sequence

import click

from hyperion.cli.output import forget_output
from hyperion.errors import (
    EXIT_BROKEN_PIPE,
    EXIT_INTERRUPTED,
    HyperionError,
    InternalError,
    of_the_system,
    one_line,
)

#: What a command, once parsed, is to do; returns the exit code.
Action = Callable[[], int]


class Caller:
    """What the caller wants of the border. Options write to it while the command line is parsed."""

    def __init__(self) -> None:
        self.debug = False


def run_program(program: str, command: click.Command, arguments: Sequence[str] | None = None) -> int:
    """Runs ``command`` with ``arguments`` (default: those of the process). Returns the exit code, raises nothing."""
    caller = Caller()
    try:
        return _run(program, command, arguments, caller)
    except Exception as error:  # noqa: BLE001 - the last stop: what is not known is named as a bug
        failure, cause = error, error
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if caller.debug:
        # Here, because nobody needs it if all goes well.
        import traceback  # noqa: PLC0415

        traceback.print_exception(cause)
    return _report(program, failure)


def _run(program: str, command: click.Command, arguments: Sequence[str] | None, caller: Caller) -> int:
    args = None if arguments is None else list(arguments)
    result = command.main(args, prog_name=program, standalone_mode=False, obj=caller)
    if isinstance(result, int):
        return result  # --help, --version
    action: Action = result
    return action()


def _report(program: str, error: Exception) -> int:
    match error:
        case HyperionError():
            return _complain(program, error.message, error.hint, error.exit_code)
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message(), err=True)
            return error.exit_code
        case click.ClickException():
            return _complain_usage(program, error)
        case click.Abort():
            return EXIT_INTERRUPTED
        case BrokenPipeError():
            # Whoever read our output has left, which is no failure of ours. (A tunnel keeps its own sockets' errors.)
            forget_output()
            return EXIT_BROKEN_PIPE
        case OSError() if (refusal := of_the_system(error)) is not None:
            return _complain(program, refusal.message, refusal.hint, refusal.exit_code)
        case _:
            # Only the type: the text of an unforeseen exception may hold anything, also a secret.
            what = f"internal error: {type(error).__name__}"
            return _complain(program, what, "run it again with --debug, and report it", InternalError.exit_code)


def _complain_usage(program: str, error: click.ClickException) -> int:
    """click's errors in our form: lower case, no full stop, its guess as the hint."""
    guesses: Sequence[str] | None = getattr(error, "possibilities", None)
    text = error.message if guesses else error.format_message()
    message = one_line(" ".join(text.split())).removesuffix(".")
    context = getattr(error, "ctx", None)
    path = program if context is None else context.command_path
    hint = f"did you mean {' or '.join(guesses)}?" if guesses else f"{path} --help shows what there is"
    return _complain(program, message[:1].lower() + message[1:], hint, error.exit_code)


def _complain(program: str, message: str, hint: str | None, code: int) -> int:
    click.echo(f"{program}: error: {message}", err=True)
    if hint is not None:
        click.echo(f"hint: {hint}", err=True)
    return code
