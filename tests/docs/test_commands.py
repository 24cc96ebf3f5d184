"""The commands and the Python of the documentation are run as they stand."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from landscape.catalog import CATALOG
from landscape.training.optimizers import OPTIMIZERS, WRAPPERS
from landscape.training.optimizers.family import SETTINGS
from landscape_cli.main import Session, app, main
from landscape_cli.reference import reference

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Each block of commands or Python on a page, in order: its kind and its text."""
    for match in BLOCK.finditer(page.read_text()):
        yield match[1], match[2]


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of a console block; a line that begins with `$ ` is one, lines ending in \\ go on."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            yield shlex.split(line.removeprefix("$ "), comments=True)


def shown_commands() -> list[list[str]]:
    return [words for page in PAGES for kind, text in blocks(page) if kind == "console" for words in commands(text)]


@pytest.mark.parametrize(
    "words", [words for words in shown_commands() if words[0] == "landscape"], ids=lambda words: " ".join(words)[:60]
)
def test_every_command_shown_is_understood(words: list[str]) -> None:
    """The options exist and take these values; the command is not run."""
    group = typer.main.get_command(app)
    with group.make_context("landscape", words[1:], obj=Session()) as context:
        name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        command.make_context(name, rest, parent=context)


def test_every_target_of_make_is_there() -> None:
    shown = {words[1] for words in shown_commands() if words[0] == "make"}
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert {"demo", "test"} <= shown <= set(phony[1].split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert missing == []


def test_the_command_line_reference_is_up_to_date() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == reference(), "run `make docs`"


def test_every_optimizer_has_its_section_and_its_defaults() -> None:
    page = (ROOT / "docs" / "training.md").read_text()
    for family in [*OPTIMIZERS.values(), *WRAPPERS.values()]:
        assert f"\n## {family.name}\n" in page
        row = next(line for line in page.splitlines() if line.startswith(f"| `{family.name}` |"))
        for option, field in family.options.model_fields.items():
            default = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
            assert (f" {default}" if option in SETTINGS else f"`{option}={default}`") in row, (family.name, option)


def test_every_measure_has_its_page_and_its_line() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in CATALOG:
        assert (ROOT / "docs" / "measures" / f"{name}.md").is_file(), name
        assert f"`{name}`" in readme


def test_the_quick_start_works_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command ends with 0, every file that a command says it wrote is there, every Python block runs."""
    monkeypatch.chdir(tmp_path)
    for kind, text in blocks(ROOT / "docs" / "quickstart.md"):
        if kind == "python":
            subprocess.run([sys.executable, "-c", text], check=True, cwd=tmp_path, capture_output=True)
            continue
        for words in commands(text):
            if words[0] == "landscape":
                assert main(words[1:]) == 0, capsys.readouterr().err
                for path in re.findall(r"^wrote (.*)$", capsys.readouterr().err, re.MULTILINE):
                    assert Path(path).stat().st_size > 0
    assert (tmp_path / "first.pdf").read_bytes().startswith(b"%PDF")


def test_the_python_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--quiet", "--model", "resnet8", "--epochs", "1", "--out", "landscape-demo/baseline"]) == 0
    (program,) = [text for kind, text in blocks(ROOT / "README.md") if kind == "python"]
    done = subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, capture_output=True, text=True)
    value, error = map(float, done.stdout.split())
    assert value > 0
    assert 0 < error < 0.5 * value
