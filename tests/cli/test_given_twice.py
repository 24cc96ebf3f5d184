"""An option that is given twice: refused in a line, for every command and every option that takes one value."""

from __future__ import annotations

import pytest
import typer
from typer.core import TyperGroup, TyperOption

from landscape_cli.main import app, main


def options() -> list[tuple[str, TyperOption]]:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    context = typer.Context(group, info_name="landscape")
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        parameters = command.get_params(typer.Context(command, info_name=name, parent=context))
        found += [(name, one) for one in parameters if isinstance(one, TyperOption) and one.name != "help"]
    return found


ONCE = [(name, option) for name, option in options() if not (option.is_flag or option.multiple)]


@pytest.mark.parametrize(("name", "option"), ONCE, ids=lambda part: part if isinstance(part, str) else part.opts[0])
def test_a_value_given_twice_is_refused(name: str, option: TyperOption, capsys: pytest.CaptureFixture[str]) -> None:
    other = option.opts[-1]  # also by its other name
    assert main([name, option.opts[0], "1", "x.pt", other, "2"]) == 2
    assert capsys.readouterr() == ("", f"error: {option.opts[0]} is given 2 times; give it once.\n")


def test_a_flag_and_a_list_may_be_given_again(capsys: pytest.CaptureFixture[str]) -> None:
    """The command goes on to what is wrong with the values."""
    assert main(["train", "-q", "--quiet", "--set", "lr=0.1", "--set", "epochs=none"]) == 2
    assert "epochs" in capsys.readouterr().err


def test_what_looks_like_an_option_may_come_twice_after_two_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "--", "--last", "--last"]) == 2
    assert "--last is not there" in capsys.readouterr().err
