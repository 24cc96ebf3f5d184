"""Figures of the papers that show trainings epoch by epoch: train, follow, draw."""

from __future__ import annotations

from pathlib import Path

from landscape_cli import console


def reproduce_tracked_figure(
    name: str,
    folder: Path,
    out: Path,
    *,
    small: bool,
    data: dict[str, str],
    workers: int,
    devices: tuple[str, ...],
    quiet: bool,
) -> None:
    """Make the runs and write NAME.json and NAME.svg into `out`.

    Raises:
        LandscapeError: what is wrong with the settings or the data, or a run diverged.
    """
    # Loaded here: `landscape reproduce --list` must not wait for torch.
    from landscape.config.tracked_figures import TRACKED_FIGURES
    from landscape.plots.style import save
    from landscape.workflows.history_figure import history_figure
    from landscape.workflows.reproduce_tracked import reproduce_tracked, write_tracked

    figure = TRACKED_FIGURES[name]

    def say(run: str, done: int, total: int) -> None:
        if not quiet:
            console.say(f"[{done}/{total}] {run}")

    runs = reproduce_tracked(figure, folder, small=small, data=data, workers=workers, devices=devices, on_done=say)
    write_tracked(name, figure, runs, out / f"{name}.json", small=small)
    save(history_figure(runs), out / f"{name}.svg")
    best = [f"{run.name}: best test accuracy {run.best['test_accuracy']:.4f}" for run in runs]
    lines = [f"{figure.paper} {figure.of}: {figure.title}", *best, f"the paper: {figure.claim}"]
    console.write_document("\n".join(lines) + f"\n\nwrote     {out / name}.json, {out / name}.svg\n")


def takes_tracked(name: str, small: bool) -> str:
    """What a figure takes, for the list."""
    from landscape.config.tracked_figures import TRACKED_FIGURES

    figure = TRACKED_FIGURES[name]
    configs = [line.config(small=small, data={}) for line in figure.lines]
    different = len({config.digest() for config in configs})
    models, sets, epochs = (
        ", ".join(dict.fromkeys(str(getattr(config, key)) for config in configs)) for key in ("model", "data", "epochs")
    )
    followed = f", follows {figure.track.replace(',', ', ')}" if figure.track else ""
    return f"{different} runs, {models}, {sets}, {epochs} epochs{followed}"
