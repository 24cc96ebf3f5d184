"""What is installed: every package and data file, a command that exists, and a pin for every dependency."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = PYPROJECT["tool"]["setuptools"]["package-dir"]


def test_every_package_on_disk_is_installed() -> None:
    on_disk = {
        ".".join((name, *path.parent.relative_to(ROOT / folder).parts))
        for name, folder in FOLDERS.items()
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert on_disk == set(PYPROJECT["tool"]["setuptools"]["packages"])


def test_every_data_file_on_disk_is_installed() -> None:
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["landscape"]
    installed = {path for pattern in patterns for path in (ROOT / "landscape").glob(pattern)}
    others = {path for path in (ROOT / "landscape").rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    assert others == installed


def test_the_command_is_there() -> None:
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="landscape")
    assert callable(command.load())


def test_the_version_is_said_once() -> None:
    import landscape

    assert PYPROJECT["project"]["version"] == landscape.__version__


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line) for line in lines if not line.startswith("#")]
    assert all(found), "every line pins one package by =="
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def needed(requirement: Requirement, seen: set[str]) -> set[str]:
    """The names of a requirement and all that it needs here; what torch pins by itself is left to torch."""
    name = canonicalize_name(requirement.name)
    if name in seen:
        return seen
    seen.add(name)
    for text in importlib.metadata.requires(name) or ():
        below = Requirement(text)
        pinned_by_torch = name == "torch" and any(s.operator == "==" for s in below.specifier)
        extras = requirement.extras or {""}
        if not pinned_by_torch and (below.marker is None or any(below.marker.evaluate({"extra": e}) for e in extras)):
            needed(below, seen)
    return seen


def test_constraints_pin_all_that_is_needed() -> None:
    everything = needed(Requirement("landscape-diagnostics[test]"), set()) - {"landscape-diagnostics"}
    assert everything - pins().keys() == set()


def test_constraints_meet_the_bounds_of_pyproject() -> None:
    project = PYPROJECT["project"]
    for text in [
        *project["dependencies"],
        *project["optional-dependencies"]["test"],
        *project["optional-dependencies"]["bench"],
    ]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), text


@pytest.mark.parametrize("name", ["Makefile", "constraints.txt", "pyproject.toml", ".ci/run"])
def test_no_file_of_the_set_up_names_a_place_on_one_machine(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"https?://|file://|index-url|find-links|(?<![\w$.)])/(?:home|opt|root|tmp|work)/", text)
