"""`landscape surface`: loss and accuracy along lines, curves and planes around a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from landscape.errors import OptionError
from landscape.numbers import format_plain, format_share, format_value, rewritten
from landscape_cli import console, options, processes, targets
from landscape_cli.exits import Exit

if TYPE_CHECKING:
    from landscape.surfaces.grid import Surface

WHERE = "Where to look"
FIGURE = "Figure and exports"
_OF_FIGURES = {"plot", "kind", "value", "log", "csv", "vtk", "source"}


def surface(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CKPT|FILE.npz",
            help="A checkpoint; or a surface that was computed, to draw or to export, which needs no network.",
            show_default=False,
        ),
    ],
    directions: Annotated[
        str,
        typer.Option(
            metavar="WHAT",
            help="random, eigen (top Hessian eigenvectors), line:OTHER.pt, bezier:OTHER.pt (a curve trained to keep "
            "the loss low between the two) or pca:RUN (the plane of a training, with its path).",
            rich_help_panel=WHERE,
        ),
    ] = "random",
    points: Annotated[
        str, typer.Option(metavar="X|XxY", help="Places along a line, or along x and y.", rich_help_panel=WHERE)
    ] = "51x51",
    x_range: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH", help="Along x, in units of the direction. Default: what suits it.",
            rich_help_panel=WHERE, show_default=False,
        ),
    ] = None,
    y_range: Annotated[
        str | None,
        typer.Option(metavar="LOW:HIGH", help="Along y.", rich_help_panel=WHERE, show_default=False),
    ] = None,
    normalize: Annotated[
        str | None,
        typer.Option(
            metavar="filter|layer|none",
            help="Random directions at the norms of the weights of each filter or each layer, or of norm 1. Default: "
            "filter.",
            rich_help_panel=WHERE, show_default=False,
        ),
    ] = None,
    ignore: Annotated[
        str | None,
        typer.Option(
            metavar="bias,bn|none",
            help="What random directions leave where it is: biases, parameters of normalisation layers. Default: both.",
            rich_help_panel=WHERE, show_default=False,
        ),
    ] = None,
    bn: Annotated[
        str,
        typer.Option(
            metavar="eval|recalibrate",
            help="Batch normalisation by the running statistics as saved, or computed anew at each point.",
            rich_help_panel=WHERE,
        ),
    ] = "eval",
    curve_steps: Annotated[
        int, typer.Option(metavar="N", help="Training steps of a Bezier curve.", rich_help_panel=WHERE)
    ] = 300,
    curve_rate: Annotated[
        float, typer.Option(metavar="R", help="Their learning rate (Adam).", rich_help_panel=WHERE)
    ] = 0.001,
    split: options.Split = "train",
    samples: options.Samples = None,
    model: options.Model = None,
    data: options.Data = None,
    image_normalize: options.Normalize = None,
    key: options.Key = None,
    problem: options.ProblemFile = None,
    seed: options.Seed = 0,
    dtype: options.Dtype = "float32",
    devices: options.Devices = "auto",
    batch_size: options.BatchSize = None,
    save_every: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Points between two writings of --out. Default: about five seconds' worth.",
            rich_help_panel=options.HOW, show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FILE.npz",
            help="The grid, written while it is computed; the same command goes on with one that was stopped.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = Path("surface.npz"),
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw it: .svg, .pdf or .png.", rich_help_panel=FIGURE, show_default=False),
    ] = None,
    kind: Annotated[
        str, typer.Option(metavar="contour|3d", help="How a plane is drawn.", rich_help_panel=FIGURE)
    ] = "contour",
    value: Annotated[
        str, typer.Option(metavar="loss|accuracy", help="What of a plane is drawn.", rich_help_panel=FIGURE)
    ] = "loss",
    log: Annotated[
        bool, typer.Option("--log", metavar="", help="Draw the loss on a logarithmic scale.", rich_help_panel=FIGURE)
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write x, y, displacement, loss and accuracy of every point.",
                     rich_help_panel=FIGURE, show_default=False),
    ] = None,
    vtk: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a grid for ParaView (legacy VTK text).", rich_help_panel=FIGURE,
                     show_default=False),
    ] = None,
    quiet: options.Quiet = False,
) -> None:  # fmt: skip
    """Loss and accuracy along lines, curves and planes in the space of a network's parameters."""
    reading = source.suffix.lower() == ".npz"
    if not reading:
        processes.join_launched(devices)
    for name, given, known in (("--kind", kind, ("contour", "3d")), ("--value", value, ("loss", "accuracy"))):
        if given not in known:
            raise OptionError(f"{name}: expected {' or '.join(known)}, got {given!r}.")
    if reading:
        strange = [
            f"--{name.replace('_', '-')}"
            for name in context.params
            if name not in {*_OF_FIGURES, "quiet"} and _given(context, name)
        ]
        if strange:
            raise OptionError(f"{source} is computed already: {', '.join(strange)} would change nothing; leave it out.")

    # Loaded here: `landscape --help` must not wait for it. None of it loads torch.
    from landscape.surfaces.grid import read_surface

    if processes.leads():
        _check_targets(plot, csv, vtk)
    found = read_surface(source) if reading else None
    if found is None:
        from landscape.config.recipe import validate
        from landscape.config.surface import SurfaceSettings

        if out.suffix != ".npz":
            raise OptionError(f"--out: expected a file name that ends in .npz, got {out}.")
        settings = validate(
            SurfaceSettings,
            {
                "directions": directions, "points": points, "x_range": x_range, "y_range": y_range,
                "normalize": normalize, "ignore": ignore, "bn": bn, "split": split, "samples": samples, "seed": seed,
                "dtype": dtype, "curve_steps": curve_steps, "curve_rate": curve_rate,
            },
        )  # fmt: skip
        settings.check()
        if processes.leads():
            targets.check_folder(out.parent, "--out")
        # From here on torch is loaded.
        group = processes.enter(devices)
        from landscape.config.analysis import AnalysisRun
        from landscape.workflows.source import Source
        from landscape.workflows.surface import surface_checkpoint
        from landscape_cli.surface_progress import watch_points

        run = validate(AnalysisRun, {"batch_size": batch_size, "devices": group.device})
        where = Source(model=model, data=data, normalize=image_normalize, key=key, problem_file=problem)
        still = quiet or not processes.leads()
        try:
            with watch_points(quiet=still) as on_progress:
                found = surface_checkpoint(
                    source, out, settings=settings, run=run, source=where, on_progress=on_progress,
                    save_every=save_every, group=group,
                )  # fmt: skip
        except KeyboardInterrupt:
            if processes.leads() and out.is_file():
                done = read_surface(out).done
                console.say(f"kept {done.sum():,} of {done.size:,} points in {out}; the same command goes on with them")
            raise typer.Exit(Exit.INTERRUPTED) from None
        if not processes.leads():
            return
        console.say(f"wrote {out}")
    _exports(found, plot, kind, value, log, csv, vtk)
    console.show(_summary(found))


def _given(context: typer.Context, name: str) -> bool:
    origin = context.get_parameter_source(name)
    return origin is not None and origin.name != "DEFAULT"


def _check_targets(plot: Path | None, csv: Path | None, vtk: Path | None) -> None:
    if plot is not None and plot.suffix.lower() not in (".svg", ".pdf", ".png"):
        raise OptionError(f"--plot: expected a name that ends in .svg, .pdf or .png, got {plot}.")
    for option, path in (("--plot", plot), ("--csv", csv), ("--vtk", vtk)):
        if path is not None:
            targets.check_folder(path.parent, option)


def _exports(
    found: Surface, plot: Path | None, kind: str, value: str, log: bool, csv: Path | None, vtk: Path | None
) -> None:
    if csv is not None:
        found.write_csv(csv)
        console.say(f"wrote {csv}")
    if vtk is not None:
        found.write_vtk(vtk)
        console.say(f"wrote {vtk}")
    if plot is not None:
        # Loaded here: only a figure needs matplotlib.
        from landscape.plots.style import save
        from landscape.workflows.surface_figure import surface_figure

        save(surface_figure(found, kind=kind, value=value, log=log), plot)  # type: ignore[arg-type]
        console.say(f"wrote {plot}")


def _summary(found: Surface) -> str:
    """What was found, in a few lines."""
    import numpy as np

    at = found.about["origin"]
    shape = " x ".join(str(len(axis)) for axis in (found.x, found.y)[: found.dimensions])
    lines = [f"{shape} points on {found.about['samples']:,} samples; batch normalisation: {found.settings['bn']}"]
    for label, norm in zip(found.about["labels"], found.about["norms"], strict=True):
        lines.append(rewritten(label) + (f": 1 is a displacement of {format_value(norm)}" if norm is not None else ""))
    if found.dimensions == 2:
        angle = float(np.degrees(np.arccos(np.clip(found.about["cosine"], -1, 1))))
        lines.append(f"angle between the directions: {angle:.2f} degrees")
    lines.append(
        f"at the checkpoint: loss {format_value(at['loss'], digits=6)}, accuracy {format_share(at['accuracy'])}"
    )
    finite = np.where(np.isfinite(found.loss), found.loss, np.nan)
    if np.isfinite(finite).any():
        for name, place in (("lowest", np.nanargmin(finite)), ("highest", np.nanargmax(finite))):
            j, i = np.unravel_index(int(place), finite.shape)
            x, y = format_plain(found.x[i]), format_plain(found.y[j])
            where = f"({x}, {y})" if found.dimensions == 2 else x
            lines.append(f"{name} loss: {format_value(finite[j, i], digits=6)} at {where}")
    if found.holes:
        lines.append(f"{found.holes:,} points are NaN or infinite")
    if not found.finished:
        lines.append(f"not finished: {int(found.done.sum()):,} of {found.done.size:,} points")
    facts = found.about["facts"]
    if facts.get("converged") is False:
        lines.append("note: the eigenvectors are not converged (residuals above 1% of the eigenvalue)")
    if "explained" in facts:
        lines.append(f"the plane holds {100 * sum(facts['explained']):.1f} % of the path's squared displacements")
    return "\n".join(lines)
