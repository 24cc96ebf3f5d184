"""The one error boundary: which exception gives which exit code and which words, and what help costs."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from landscape import errors
from landscape_cli import console, targets
from landscape_cli.exits import Exit
from landscape_cli.main import main

HEAVY = ("torch", "pandas", "matplotlib", "pydantic", "scipy", "numpy", "sklearn", "typst", "yaml")


def fails_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a command in whose middle `error` is raised."""

    def fail(_: object) -> list[str]:
        raise error

    monkeypatch.setattr(targets, "document_names", fail)
    return main(["analyze", "a.pt"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.OptionError("no such thing"), 2),
        (errors.CheckpointError("no such thing"), 2),
        (errors.OutOfMemoryError("no such thing"), 2),
        (errors.WriteError("no such thing"), 2),
        (errors.DivergedError("no such thing"), 3),
    ],
)
def test_an_error_of_ours_is_its_message_and_its_code(
    error: errors.LandscapeError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fails_with(error, monkeypatch) == code
    assert capsys.readouterr() == ("", "error: no such thing\n")


def test_every_exit_code_of_an_exception_is_named() -> None:
    codes = {
        error.exit_code for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "exit_code")
    }
    assert codes <= set(Exit)


def test_a_message_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = "[red]no markup[/red] in " + "a/long/path/" * 40
    fails_with(errors.DataError(text), monkeypatch)
    assert capsys.readouterr().err == f"error: {text}\n"


def test_a_defect_is_one_line_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LANDSCAPE_DEBUG", raising=False)
    assert fails_with(ZeroDivisionError("division by\nzero"), monkeypatch) == 70
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("error: internal error: ZeroDivisionError: division by. Please report this")


def test_a_defect_that_looks_like_an_end_of_input_keeps_its_cause(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fails_with(EOFError("Ran out of input"), monkeypatch) == 70
    assert "EOFError: Ran out of input" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["option", "environment"])
@pytest.mark.parametrize("error", [errors.DataError("no such thing"), ZeroDivisionError("zero")])
def test_debugging_shows_the_traceback(
    how: str, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> list[str]:
        raise error

    monkeypatch.setattr(targets, "document_names", fail)
    if how == "environment":
        monkeypatch.setenv("LANDSCAPE_DEBUG", "1")
    main([*(["--debug"] if how == "option" else []), "analyze", "a.pt"])
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert fails_with(KeyboardInterrupt(), monkeypatch) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


@pytest.mark.parametrize(
    ("arguments", "words", "hint"),
    [
        (["analyse"], "Did you mean 'analyze'?", "Try: landscape --help"),
        (["--versoin"], "--version", "Try: landscape --help"),
        (["analyze", "a.pt", "--rtoll", "0.1"], "--rtol,", "Try: landscape analyze --help"),
        (["analyze"], "Missing argument 'CKPT...'", "Try: landscape analyze --help"),
        (["analyze", "a.pt", "--rtol"], "Option '--rtol' requires an argument", "Try: landscape analyze --help"),
        (["analyze", "a.pt", "--rtol", "small"], "'--rtol'", "Try: landscape analyze --help"),
        (["train", "--lr", "fast"], "'--lr'", "Try: landscape train --help"),
        (["demo", "now"], "unexpected extra argument", "Try: landscape demo --help"),
    ],
)
def test_a_wrong_command_line_is_2_with_a_hint(
    arguments: list[str], words: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, last = err.splitlines()
    assert first.startswith("error: ")
    assert words in first
    assert last == hint


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["train", "--help"], ["analyze", "-h"], ["demo", "-h"]])
def test_help_is_on_standard_output(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "Usage: landscape" in out
    assert err == ""


def test_version_names_what_a_report_of_a_defect_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["landscape", "Python", "torch"]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import contextlib, io, json, sys\n"
        "from landscape_cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    main({arguments!r})\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize(
    "arguments", [[], ["analyze", "--help"], ["analyze", "a.pt", "--measures", "hesian_trace"], ["train", "--help"]]
)
def test_no_torch_is_loaded_to_say_what_is_wrong(arguments: list[str]) -> None:
    program = (
        "import contextlib, io, sys\n"
        "from landscape_cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):\n"
        f"    main({arguments!r})\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_reader_that_has_gone_is_no_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "landscape_cli.main", "--version"], stdout=write, stderr=subprocess.PIPE, text=True
        )
    finally:
        os.close(write)
    assert done.returncode == Exit.BROKEN_PIPE
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_is_said() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "landscape_cli.main", "--version"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write to standard output: No space left")


@pytest.mark.skipif(os.name == "nt", reason="the shell of POSIX closes a stream")
def test_a_closed_output_is_no_error() -> None:
    command = [sys.executable, "-m", "landscape_cli.main", "--version"]
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_is_said_of_a_table_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(errors.WriteError, match="No space left"):
            console.show("a table")
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()


def test_an_encoding_without_the_signs_changes_them_only() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "landscape_cli.main", "--help"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0
    assert b"analyze" in done.stdout
