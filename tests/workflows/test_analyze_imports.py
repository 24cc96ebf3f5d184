"""What is imported when: reading results needs no torch, and names are loaded at their first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

import landscape


def loaded_after(code: str) -> set[str]:
    """The modules of a fresh interpreter after `code`."""
    program = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import landscape",
        "from landscape import Analysis, Record, LandscapeError\nAnalysis({}, {}, {}).to_json()",
        "import landscape.records, landscape.catalog, landscape.errors, landscape.files, landscape.work",
        "import landscape.config.analysis, landscape.config.training, landscape.config.recipe",
        "import landscape.plots, landscape.report",
        "import landscape.surfaces.grid, landscape.config.surface, landscape.workflows.surface_figure",
        "from landscape import write_report",
    ],
)
def test_what_reads_results_loads_no_torch(code: str) -> None:
    assert not {"torch", "pyhessian", "safetensors", "torchvision"} & loaded_after(code)


def test_the_library_loads_no_command_line() -> None:
    loaded = loaded_after("import landscape\nlandscape.analyze, landscape.load")
    assert "torch" in loaded
    assert not {"typer", "rich", "landscape_cli", "curvlinops"} & loaded
    # scikit-learn, which a study needs, loads rich for progress bars of its own
    assert not {"typer", "landscape_cli", "curvlinops"} & loaded_after("import landscape\nlandscape.write_report")


def test_every_exported_name_is_there_and_no_other() -> None:
    for name in landscape.__all__:
        assert getattr(landscape, name) is not None
    assert set(landscape.__all__) <= set(dir(landscape))
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        landscape.analyse  # noqa: B018
