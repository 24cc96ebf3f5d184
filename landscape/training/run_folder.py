"""Where a run keeps what it makes.

config.yaml                 the resolved settings; also a recipe
history.csv                 one row an epoch
decay.csv                   with a decay policy: the lambda of each tensor, a row at each step that changes one
ratios.csv                  with adaptive-beta: r_l of each normalisation layer, a row a step
norms.csv                   with batch normalisation: the norm of each weight that feeds one, a row an epoch
track.csv                   with --track: what was followed, one value a row; track.yaml: its settings
checkpoints/epoch-0000.pt   before any step; then every k epochs if asked for
checkpoints/last.pt         the last finished epoch, while the run is under way; --resume goes on from here
final.pt                    the end; last.pt is then removed
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from landscape.config.recipe import read_recipe, validate
from landscape.config.training import TrainConfig
from landscape.errors import OptionError, WriteError
from landscape.files import write_atomically

# As `landscape.files` names what it writes, of the files that are kept here.
_UNFINISHED = re.compile(r"\.\w[\w-]*\.(?:pt|csv|yaml)\.\w{8}")


@dataclass(frozen=True)
class RunFolder:
    """The files of the run in the folder `path`."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The resolved settings."""
        return self.path / "config.yaml"

    @property
    def history(self) -> Path:
        """One row an epoch."""
        return self.path / "history.csv"

    @property
    def decay(self) -> Path:
        """The lambda of each tensor; a row holds from its step until that of the next."""
        return self.path / "decay.csv"

    @property
    def ratios(self) -> Path:
        """With adaptive beta decay, the r_l of each step."""
        return self.path / "ratios.csv"

    @property
    def norms(self) -> Path:
        """The norms of the weights that feed a batch normalisation; one row an epoch."""
        return self.path / "norms.csv"

    @property
    def track(self) -> Path:
        """What was followed, see `landscape.training.track_file`."""
        return self.path / "track.csv"

    @property
    def track_settings(self) -> Path:
        """What a resumed run goes on following."""
        return self.path / "track.yaml"

    @property
    def last(self) -> Path:
        """The checkpoint of the last finished epoch of a run that is not finished."""
        return self.path / "checkpoints" / "last.pt"

    @property
    def final(self) -> Path:
        """The checkpoint of the finished run."""
        return self.path / "final.pt"

    def epoch(self, number: int) -> Path:
        """The checkpoint that is kept of an epoch."""
        return self.path / "checkpoints" / f"epoch-{number:04d}.pt"

    @property
    def holds_run(self) -> bool:
        """Whether a run was started here.

        Raises:
            WriteError: this user may not look into the folder.
        """
        try:
            return self.config_file.exists()
        except PermissionError as error:
            raise WriteError(f"cannot look into {self.path}: {error.strerror}. Choose another --out.") from error

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.final.exists()

    def leftovers(self) -> list[Path]:
        """What a process that was killed could not remove: half-written files, and last.pt beside final.pt.

        Those of a process that is under way are among them: ask for them under the lock of the folder.
        """
        places = (self.path, self.path / "checkpoints")
        found = [file for place in places for file in place.glob(".*") if _UNFINISHED.fullmatch(file.name)]
        return [*found, *([self.last] if self.finished and self.last.exists() else [])]

    def tidy(self) -> None:
        """Remove the leftovers; what cannot be removed stays and does no harm."""
        for file in self.leftovers():
            with suppress(OSError):
                file.unlink()

    def write_config(self, config: TrainConfig) -> None:
        """Write the settings as YAML.

        Raises:
            WriteError: the folder cannot be made or written.
        """
        text = yaml.safe_dump(config.plain(), sort_keys=False, allow_unicode=True)
        write_atomically(self.config_file, text.encode())

    def read_config(self) -> TrainConfig:
        """Read the settings of the run.

        Raises:
            OptionError: there is no run here, or its settings are not those of this version.
        """
        if not self.holds_run:
            raise OptionError(f"{self.path} holds no run to resume; leave out --resume to start one there.")
        return validate(TrainConfig, read_recipe(self.config_file))

    def must_hold(self, config: TrainConfig) -> None:
        """Check that the run here is that of `config`.

        Raises:
            OptionError: it is another; the message shows each setting that differs.
        """
        here, asked = self.read_config().identity(), config.identity()
        names = dict.fromkeys((*asked, *here))
        different = [
            f"{name}: {here.get(name)} there, {asked.get(name)} asked"
            for name in names
            if here.get(name) != asked.get(name)
        ]
        if different:
            raise OptionError(
                f"{self.path} holds a run of another configuration ({'; '.join(different)}). "
                "Resume it with its own settings, or choose another --out."
            )


def default_folder(config: TrainConfig) -> Path:
    """The folder of a run whose user names none: `runs/MODEL-DATA-DIGEST`, one a configuration."""
    words = re.sub(r"[^A-Za-z0-9.]+", "-", f"{config.model}-{config.data.partition(':')[0]}")
    return Path("runs") / f"{words}-{config.digest()[:8]}"
