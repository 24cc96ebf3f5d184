"""Surfaces of a quadratic with a known contour; the file; runs that were stopped; planes between checkpoints."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from landscape.config.surface import SurfaceSettings
from landscape.errors import CheckpointError, OptionError
from landscape.surfaces.grid import places, read_surface
from landscape.workflows.source import Source
from landscape.workflows.surface import surface_checkpoint

PROBLEM = """
import torch
from landscape import Problem

SCALES = torch.tensor([[3.0, 1.0, 0.2]], dtype=torch.float64).sqrt()

def problem(weights):
    # mean over outputs of (w_k s_k - 0)^2: L = sum_k s_k^2 w_k^2 / 3
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(weights["w"].clone())

        def forward(self, x):
            return x * self.w * SCALES

    ones = torch.ones(4, 3, dtype=torch.float64)
    return Problem(Net(), torch.nn.MSELoss(), (ones, torch.zeros(4, 3, dtype=torch.float64)))
"""
CURVATURES = np.array([2.0, 2 / 3, 0.4 / 3])  # of L along each weight


def quadratic(w):
    return float((np.array([3.0, 1.0, 0.2]) * np.asarray(w) ** 2).sum() / 3)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "problem.py").write_text(PROBLEM)
    for name, w in (("a", [0.5, -1.0, 2.0]), ("b", [1.0, 1.0, 1.0])):
        torch.save({"w": torch.tensor(w, dtype=torch.float64)}, tmp_path / f"{name}.pt")
    return tmp_path


def compute(folder, out=None, **settings):
    options = {name: settings.pop(name, None) for name in ("save_every", "on_progress")}
    return surface_checkpoint(
        folder / "a.pt",
        out,
        settings=SurfaceSettings(**{"dtype": "float64", **settings}),
        source=Source(problem_file=folder / "problem.py"),
        **options,
    )


def test_the_contour_of_a_quadratic_along_its_eigenvectors(folder):
    """Eigenvectors are the first two axes: L(x, y) = L_0 + g_1 x + g_2 y + (lambda_1 x^2 + lambda_2 y^2) / 2."""
    found = compute(folder, directions="eigen", points="7x11", x_range="-1:0.5", y_range="-2:2")
    assert found.loss.shape == (11, 7), "a row is one y"
    np.testing.assert_allclose(found.about["facts"]["eigenvalues"], CURVATURES[:2], rtol=1e-9)
    for j, y in enumerate(np.linspace(-2, 2, 11)):
        for i, x in enumerate(np.linspace(-1, 0.5, 7)):
            assert math.isclose(found.loss[j, i], quadratic([0.5 + x, -1.0 + y, 2.0]), rel_tol=1e-7), (x, y)
            assert math.isclose(found.displacement[j, i], math.hypot(x, y), abs_tol=1e-9)
    assert np.isnan(found.accuracy).all()
    assert found.settings["points"] == [7, 11]


def test_exports_keep_x_and_y_apart(folder, tmp_path):
    found = compute(folder, directions="eigen", points="3x2", x_range="0:2", y_range="-1:1")
    found.write_csv(tmp_path / "s.csv")
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[0] == "x,y,displacement,loss,accuracy"
    for line, (y, x) in zip(lines[1:], [(y, x) for y in (-1, 1) for x in (0, 1, 2)], strict=True):
        values = list(map(float, line.split(",")))
        assert values[:2] == [x, y]
        assert math.isclose(values[3], quadratic([0.5 + x, -1.0 + y, 2.0]), rel_tol=1e-7)
    found.write_vtk(tmp_path / "s.vtk")
    vtk = (tmp_path / "s.vtk").read_text().splitlines()
    assert vtk[0] == "# vtk DataFile Version 3.0"
    assert vtk[3:6] == ["DATASET RECTILINEAR_GRID", "DIMENSIONS 3 2 1", "X_COORDINATES 3 double"]
    assert "POINT_DATA 6" in vtk
    at = vtk.index("SCALARS loss double 1")
    np.testing.assert_allclose([[float(v) for v in row.split()] for row in vtk[at + 2 : at + 4]], found.loss)


def test_the_line_between_two_checkpoints(folder):
    found = compute(folder, directions=f"line:{folder / 'b.pt'}", points="6", x_range="-0.5:2")
    a, b = np.array([0.5, -1.0, 2.0]), np.ones(3)
    np.testing.assert_allclose(found.x, [-0.5, 0, 0.5, 1, 1.5, 2])
    np.testing.assert_allclose(found.loss[0], [quadratic(a + t * (b - a)) for t in found.x], rtol=1e-12)
    np.testing.assert_allclose(found.displacement[0], np.abs(found.x) * np.linalg.norm(b - a), rtol=1e-12)


def test_the_plane_of_a_run_with_its_path(folder):
    run = folder / "run"
    (run / "checkpoints").mkdir(parents=True)
    way = {2: [3.0, 1.0, 2.5], 10: [1.0, 0.0, 2.2], 0: [4.0, 4.0, 3.0]}  # 10 after 2, as numbers
    for epoch, w in way.items():
        tensor = {"w": torch.tensor(w, dtype=torch.float64)}
        torch.save(tensor, run / "checkpoints" / f"epoch-{epoch:04d}.pt")
    torch.save({"w": torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)}, run / "final.pt")
    found = compute(folder, directions=f"pca:{run}", points="5x4")
    origin = np.array([0.5, -1.0, 2.0])
    matrix = np.array([way[0], way[2], way[10], origin.tolist()]) - origin
    u, s, vt = np.linalg.svd(matrix)
    assert found.about["path_labels"] == ["epoch 0", "epoch 2", "epoch 10", "end"]
    np.testing.assert_allclose(np.abs(found.path), np.abs(u[:, :2] * s[:2]), atol=1e-9)
    np.testing.assert_allclose(found.path[-1], 0, atol=1e-12)
    signs = np.sign(found.path[0]) * np.sign(u[0, :2])
    for j, y in enumerate(found.y):
        for i, x in enumerate(found.x):
            w = origin + x * signs[0] * vt[0] + y * signs[1] * vt[1]
            assert math.isclose(found.loss[j, i], quadratic(w), rel_tol=1e-8)
    assert found.x[0] < found.path[:, 0].min()
    assert found.x[-1] > found.path[:, 0].max()


def test_a_stopped_run_goes_on_to_the_bytes_of_an_unbroken_one(folder):
    settings = {"directions": "eigen", "points": "5x4", "save_every": 3}
    whole = folder / "whole.npz"
    compute(folder, whole, **settings)

    class StopError(Exception):
        pass

    stopped, calls = folder / "stopped.npz", []

    def stop(what, done, total):
        calls.append((what, done, total))
        if done == 8:
            raise StopError

    with pytest.raises(StopError):
        compute(folder, stopped, on_progress=stop, **settings)
    assert calls[-1] == ("points", 8, 20)
    partial = read_surface(stopped)
    assert partial.done.sum() == 6, "two writings of three"
    assert np.isnan(partial.loss[~partial.done]).all()
    heard = []
    compute(folder, stopped, on_progress=lambda *event: heard.append(event), **settings)
    assert heard[0] == ("points", 7, 20)
    assert stopped.read_bytes() == whole.read_bytes()
    assert [p.name for p in folder.iterdir() if "directions" in p.name] == []
    again = []
    compute(folder, stopped, on_progress=lambda *event: again.append(event), **settings)
    assert again == [], "nothing is computed twice"


def test_an_interrupt_keeps_every_finished_point(folder):
    out = folder / "s.npz"

    def stop(what, done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute(folder, out, points="4x4", on_progress=stop, save_every=16)
    assert read_surface(out).done.sum() >= 4


def test_another_surface_is_not_overwritten(folder):
    out = folder / "s.npz"
    compute(folder, out, points="3x3")
    before = out.read_bytes()
    with pytest.raises(OptionError, match=r"seed: 0 there, 1 asked.*choose another --out"):
        compute(folder, out, points="3x3", seed=1)
    assert out.read_bytes() == before


def test_a_point_that_is_no_number_is_a_hole(folder):
    found = compute(folder, directions="eigen", points="3x3", x_range="-1e200:1e200")
    assert np.isinf(found.loss[:, [0, 2]]).all()
    assert np.isfinite(found.loss[:, 1]).all()
    assert found.holes == 6


def test_the_model_is_untouched_and_the_generators_too(folder):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    compute(folder, points="3x3")
    assert torch.equal(before, torch.get_rng_state())


def test_a_network_of_another_shape_is_told(folder):
    torch.save({"w": torch.zeros(4, dtype=torch.float64)}, folder / "c.pt")
    with pytest.raises(CheckpointError, match="does not fit the network"):
        compute(folder, directions=f"line:{folder / 'c.pt'}", points="5")


def test_the_buffers_of_a_line_go_from_one_end_to_the_other(tmp_path):
    """At 1 the loss is the other network's own, running statistics and all."""
    torch.manual_seed(0)
    data = (torch.randn(40, 3), torch.randint(2, (40,)))
    torch.save(data, tmp_path / "data.pt")
    (tmp_path / "problem.py").write_text(
        "import torch\nfrom landscape import Problem\n"
        "def problem(weights):\n"
        "    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))\n"
        "    net.load_state_dict(weights)\n"
        f"    return Problem(net, torch.nn.CrossEntropyLoss(), torch.load({str(tmp_path / 'data.pt')!r}))\n"
    )
    losses = []
    for name in ("a", "b"):
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        net[1].running_mean.normal_()
        net[1].running_var.uniform_(0.5, 2)
        torch.save(net.state_dict(), tmp_path / f"{name}.pt")
        losses.append(nn.functional.cross_entropy(net.eval()(data[0]), data[1]).item())
    found = surface_checkpoint(
        tmp_path / "a.pt",
        settings=SurfaceSettings(directions=f"line:{tmp_path / 'b.pt'}", points="3", x_range="0:1"),
        source=Source(problem_file=tmp_path / "problem.py"),
    )
    np.testing.assert_allclose(found.loss[0, [0, 2]], losses, rtol=1e-6)
    assert math.isclose(found.about["origin"]["loss"], losses[0], rel_tol=1e-6)
    curve = surface_checkpoint(
        tmp_path / "a.pt",
        settings=SurfaceSettings(directions=f"bezier:{tmp_path / 'b.pt'}", points="3", curve_steps=2),
        source=Source(problem_file=tmp_path / "problem.py"),
    )
    np.testing.assert_allclose(curve.loss[0, [0, 2]], losses, rtol=1e-6)


@pytest.mark.parametrize("content", [b"", b"PK no zip", None])
def test_what_is_no_surface_is_told(tmp_path, content):
    path = Path(tmp_path / "s.npz")
    if content is None:
        np.savez(path, x=np.zeros(2))
    else:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="no surface"):
        read_surface(path)


def test_places_hold_an_exact_zero():
    assert 0.0 in places(-1, 1, 51)
    assert 0.0 in places(-0.25, 1.25, 13)


def test_a_plane_with_a_curve_asks_for_statistics_of_its_own(tmp_path, folder):
    """Without batch normalisation it needs none: the corners of the plane are the two networks."""
    settings = {"directions": f"bezier:{folder / 'b.pt'}", "points": "3x3", "curve_steps": 3, "curve_rate": 0.05}
    found = compute(folder, **settings)
    a, b = np.array([0.5, -1.0, 2.0]), np.ones(3)
    np.testing.assert_allclose(found.path[0], 0, atol=1e-12)
    np.testing.assert_allclose(found.path[-1], [np.linalg.norm(b - a), 0], atol=1e-9)
    from landscape_cli.main import main

    for name in ("a", "b"):
        run = ["train", "--quiet", "--model", "resnet8:width=0.25", "--epochs", "1", "--batch-size", "512"]
        assert main([*run, "--seed", str(ord(name)), "--out", str(tmp_path / name)]) == 0
    with pytest.raises(OptionError, match="use --bn recalibrate"):
        surface_checkpoint(
            tmp_path / "a" / "final.pt",
            settings=SurfaceSettings(directions=f"bezier:{tmp_path / 'b' / 'final.pt'}", points="3x3", samples="40"),
        )
