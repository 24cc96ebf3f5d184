"""The command-line reference `docs/cli.md`, made from the commands' own help: `python -m landscape_cli.reference`.

python -m landscape_cli.reference docs/cli.md            write it
python -m landscape_cli.reference --check docs/cli.md    exit 1 if it is not up to date
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from landscape_cli import console
from landscape_cli.exits import Exit
from landscape_cli.main import app

HEAD = """\
# Command line

Made from the commands' own help by `make docs`; a test keeps it up to date.

Results go to standard output, everything else to standard error.
"""

EXIT_CODES = {
    Exit.OK: "done; a measure that reached its budget says so in its record",
    Exit.BROKEN_PIPE: "the reader of standard output has gone",
    Exit.BAD_INPUT: "a wrong option, file, network or data set, or a measure asked for by name that does not apply: "
    "one or two lines on standard error say what was expected, what came and what to do",
    Exit.DIVERGED: "training left the finite numbers",
    Exit.NOT_VERIFIED: "landscape verify: a number that is checked is wrong",
    Exit.INTERNAL: "a defect of landscape; `LANDSCAPE_DEBUG=1` or `landscape --debug` shows where",
    Exit.PROCESS_DIED: "with several processes: one of them died, or they lost each other",
    Exit.INTERRUPTED: "interrupted by Ctrl-C; what was finished is kept",
}


def reference() -> str:
    """The whole page as Markdown."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    context = typer.Context(group, info_name="landscape")
    parts = [HEAD, *_command(group, context)]
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert isinstance(command, TyperCommand)
        parts.extend(_command(command, typer.Context(command, info_name=name, parent=context)))
    parts.append("## Exit codes\n")
    parts.append("| code | meaning |\n|---|---|\n" + "".join(f"| {code} | {EXIT_CODES[code]} |\n" for code in Exit))
    return "\n".join(parts)


def _command(command: TyperCommand | TyperGroup, context: typer.Context) -> Iterator[str]:
    yield f"## `{context.command_path}`\n"
    yield "\n".join(line.strip() for line in (command.help or "").splitlines()) + "\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{context.command_path} {usage}\n```\n"
    panels: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        if isinstance(parameter, TyperArgument):
            panels.setdefault("Arguments", []).append(
                _row(parameter.metavar or str(parameter.name), parameter, context)
            )
        elif isinstance(parameter, TyperOption) and not parameter.hidden:
            names = ", ".join([*parameter.opts, *parameter.secondary_opts])
            if not parameter.is_flag:
                names += f" {parameter.metavar or parameter.display_type(context)}"
            panels.setdefault(parameter.rich_help_panel or "Options", []).append(_row(names, parameter, context))
    for title, rows in panels.items():
        yield f"**{title}**\n"
        yield "| | | default |\n|---|---|---|\n" + "".join(rows)


def _row(names: str, parameter: TyperArgument | TyperOption, context: typer.Context) -> str:
    default = parameter.get_default(context) if parameter.show_default else None
    shown = "" if default is None or default is False else f"`{default}`"
    words = " ".join((parameter.help or "").split())
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{names}`", words, shown)) + " |\n"


def main(arguments: list[str]) -> int:
    """Write the page to the file named last, or compare it with that file."""
    check = arguments[:1] == ["--check"]
    path = Path(arguments[-1])
    if not check:
        path.write_text(reference(), encoding="utf-8")
        return Exit.OK
    if path.is_file() and path.read_text(encoding="utf-8") == reference():
        return Exit.OK
    console.say_error(f"{path} is not what the commands' help says: run `make docs`")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
