"""`landscape surface`: from a checkpoint to file, figure and exports; from the file alone without torch."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from landscape.surfaces.grid import read_surface
from landscape_cli.main import main

QUICK = ["--samples", "40", "--quiet"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    network = ["--model", "mlp:width=4,depth=2", "--epochs", "2", "--checkpoint-every", "1"]
    assert main(["train", "--quiet", *network, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_file_figure_and_exports(here, capsys):
    exports = ["--plot", "s.png", "--csv", "s.csv", "--vtk", "s.vtk"]
    assert main(["surface", "run/final.pt", "--points", "4x3", *QUICK, *exports]) == 0
    out, err = capsys.readouterr()
    assert [f"wrote {name}" for name in ("surface.npz", "s.csv", "s.vtk", "s.png")] == err.splitlines()
    assert "4 x 3 points on 40 samples" in out
    assert "angle between the directions: 90.00 degrees" in out
    assert (here / "s.png").read_bytes().startswith(b"\x89PNG")
    assert len((here / "s.csv").read_text().splitlines()) == 13
    assert read_surface(here / "surface.npz").finished


@pytest.mark.parametrize("directions", ["eigen", "line:run/checkpoints/epoch-0000.pt", "pca:run",
                                        "bezier:run/checkpoints/epoch-0000.pt"])  # fmt: skip
def test_every_kind_of_slice(here, directions):
    assert main(["surface", "run/final.pt", "--directions", directions, "--points", "3", "--curve-steps", "2", *QUICK,
                 "--plot", "s.svg", "--log"]) == 0  # fmt: skip
    assert (here / "s.svg").stat().st_size > 1000


def test_the_file_alone_gives_figures_without_torch(here):
    assert main(["surface", "run/final.pt", "--points", "4x3", *QUICK]) == 0
    program = (
        "import sys\nfrom landscape_cli.main import main\n"
        "for kind in ('contour', '3d'):\n"
        "    assert main(['surface', 'surface.npz', '--plot', f'{kind}.svg', '--kind', kind, '--log']) == 0\n"
        "assert main(['surface', 'surface.npz', '--plot', 'accuracy.pdf', '--value', 'accuracy']) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=here)
    assert all((here / name).stat().st_size > 1000 for name in ("contour.svg", "3d.svg", "accuracy.pdf"))


def test_two_processes_give_the_values_of_one(here):
    words = ["--directions", "eigen", "--points", "5x3", "--dtype", "float64", "--save-every", "4"]
    for processes in ("1", "2"):
        to = ["--devices", processes, "--out", f"{processes}.npz"]
        assert main(["surface", "run/final.pt", *words, *QUICK, *to]) == 0
    one, two = read_surface(here / "1.npz"), read_surface(here / "2.npz")
    np.testing.assert_allclose(two.loss, one.loss, rtol=1e-9)
    np.testing.assert_array_equal(two.accuracy, one.accuracy)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run/final.pt", "--directions", "eigne"], "Did you mean eigen"),
        (["run/final.pt", "--points", "7y3"], "--points: expected a count"),
        (["run/final.pt", "--x-range", "1"], "--x-range: expected LOW:HIGH"),
        (["run/final.pt", "--kind", "4d"], "--kind: expected contour or 3d"),
        (["run/final.pt", "--normalize", "fliter"], "normalize"),
        (["run/final.pt", "--bn", "train"], "bn"),
        (["run/final.pt", "--bn", "recalibrate", "--points", "3"], "no batch normalisation"),
        (["run/final.pt", "--out", "s.txt"], "ends in .npz"),
        (["run/final.pt", "--plot", "s.gif"], "ends in .svg"),
        (["run/final.pt", "--directions", "pca:nowhere"], "nowhere holds no checkpoints"),
        (["run/final.pt", "--directions", "line:nowhere.pt", "--points", "3"], "there is no checkpoint nowhere.pt"),
        (["nowhere.pt"], "there is no checkpoint nowhere.pt"),
        (["nowhere.npz"], "there is no surface nowhere.npz"),
        (["nowhere.npz", "--points", "3"], "--points would change nothing"),
    ],
)
def test_what_is_wrong_is_one_line_and_2(here, words, told, capsys):
    assert main(["surface", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert len(err.strip().splitlines()) == 1, err
