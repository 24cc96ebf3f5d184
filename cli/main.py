"""The command `landscape`: its registration and the one place where an exception becomes an exit code.

Nothing here or in a command's module imports torch, pandas, matplotlib or pydantic at the top level, so that
`landscape --help` answers at once; a command imports what it needs when it runs.
"""

from __future__ import annotations

import errno
import functools
import os
import platform
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Annotated

import typer

import landscape
from landscape.errors import LandscapeError
from landscape_cli import console, processes
from landscape_cli.analyze import analyze
from landscape_cli.batch_scaling import batch_scaling
from landscape_cli.cache import cache
from landscape_cli.compare import compare
from landscape_cli.correlate import correlate
from landscape_cli.demo import demo
from landscape_cli.exits import Exit
from landscape_cli.history import history
from landscape_cli.invariance import invariance
from landscape_cli.measures import measures
from landscape_cli.once import OnceCommand
from landscape_cli.recipes import recipes
from landscape_cli.report import report
from landscape_cli.reproduce import reproduce
from landscape_cli.surface import surface
from landscape_cli.sweep import sweep
from landscape_cli.train import train
from landscape_cli.verify import verify


@dataclass
class Session:
    """What the options before the command decide, for the error boundary to read afterwards."""

    debug: bool = False
    command: str = "landscape"


app = typer.Typer(
    name="landscape",
    help="Measure the sharpness and geometry of trained networks: what, how exactly, in which part of the network.",
    no_args_is_help=False,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        torch_version = metadata.version("torch")
        python_version = platform.python_version()
        console.write_document(f"landscape {landscape.__version__}\nPython {python_version}\ntorch {torch_version}\n")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _before_the_command(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", metavar="", callback=_version, is_eager=True, help="Say the versions and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", metavar="", envvar="LANDSCAPE_DEBUG", help="Show the traceback of an error.")
    ] = False,
) -> None:
    session = context.find_object(Session)
    assert session is not None
    session.debug = debug
    if context.invoked_subcommand is not None:
        session.command += f" {context.invoked_subcommand}"
    if context.invoked_subcommand is None:
        console.write_document(context.get_help() + "\n")


app.command("train")(train)
app.command("analyze")(analyze)
app.command("verify")(verify)
app.command("measures")(measures)
app.command("history")(history)
app.command("sweep")(sweep)
app.command("compare")(compare)
app.command("correlate")(correlate)
app.command("surface")(surface)
app.command("report")(report)
app.command("invariance")(invariance)
app.command("batch-scaling")(batch_scaling)
app.command("demo")(demo)
app.command("recipes")(recipes)
app.command("reproduce")(reproduce)
app.command("cache")(cache)

for _registered in app.registered_commands:
    _registered.cls = OnceCommand


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on `arguments` (default: the process's own) and return its exit code.

    The one error boundary: a `LandscapeError` gives its message and its `exit_code`, a wrong command line its
    message and 2, Ctrl-C 130, a reader that has gone 1, a fault of the machine (a full disk, a forbidden folder) in a
    place that foresaw none its words and 2. Anything else is a defect of ours and gives one line and 70; its traceback
    is shown with `--debug` or LANDSCAPE_DEBUG=1.
    """
    processes.begin(arguments)
    return processes.end(_run(arguments))


@functools.cache
def _command() -> typer.core.TyperGroup:
    """The command line, read from the functions' signatures once a process."""
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    return command


def _run(arguments: Sequence[str] | None) -> int:
    console.tolerate_any_encoding()
    # torch's threads spin while they wait for each other: beside any other busy program two of them are many times
    # slower than one. Sleeping costs a quarter of the speed on the smallest networks and nothing on others.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    session = Session()
    try:
        code = _command().main(
            args=None if arguments is None else list(arguments),
            prog_name="landscape",
            standalone_mode=False,
            obj=session,
        )
        console.flush()
    except LandscapeError as error:
        if processes.may_tell(error):
            _tell(str(error), session)
        return error.exit_code
    except typer.TyperException as error:
        # Of the command line itself: an unknown option, a missing argument, a value of the wrong type.
        if processes.may_tell(error):
            _tell(error.format_message(), session)
            console.say(f"Try: {session.command} --help")
        return Exit.BAD_INPUT
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes standard output once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    except Exception as error:
        fault = _fault_of_the_machine(error)
        if processes.may_tell(error):
            if fault is not None:
                _tell(fault, session)
            else:
                _tell_defect(error, session)
        return Exit.INTERNAL if fault is None else Exit.BAD_INPUT
    if code == Exit.INTERRUPTED:
        console.say("interrupted")
    return int(code or Exit.OK)


# What no code can foresee everywhere. A file that is not there, or is a folder, is foreseen where it is named.
_FAULTS = {
    errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ELOOP, errno.EMFILE, errno.ENAMETOOLONG, errno.ENFILE,
    errno.ENOSPC, errno.EPERM, errno.EROFS, errno.ESTALE,
}  # fmt: skip


def _fault_of_the_machine(error: Exception) -> str | None:
    """In a line what the system refused, where that is no defect of ours."""
    if not isinstance(error, OSError) or error.errno not in _FAULTS:
        return None
    name = str(error.filename) if error.filename is not None else "a file"
    shown = name if len(name) <= _SHOWN else f"{name[: _SHOWN - 3]}..."
    return f"cannot use {shown}: {error.strerror}."


_SHOWN = 200  # characters of a name


def _tell(message: str, session: Session) -> None:
    if session.debug:
        traceback.print_exc()
    console.say_error(message)


def _tell_defect(error: Exception, session: Session) -> None:
    if session.debug:
        traceback.print_exc()
    # Typer turns an EOFError from anywhere below into an Abort; the cause is what a report needs.
    cause = error.__cause__ if isinstance(error, typer.Abort) and error.__cause__ is not None else error
    words = f"{type(cause).__name__}: {cause}".splitlines()[0]
    hint = "" if session.debug else "; LANDSCAPE_DEBUG=1 shows where"
    console.say_error(f"internal error: {words}. Please report this{hint}.")


if __name__ == "__main__":
    sys.exit(main())
