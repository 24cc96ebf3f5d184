"""What is measured on: the shared ResNet-20 with CIFAR-10's test images, or, without them, digits and our resnet8."""

from __future__ import annotations

import copy
import hashlib
import tarfile
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

import landscape
from benchmarks.clock import Lap, lap
from landscape.config.training import TrainConfig, TrainRun
from landscape.problem import Problem
from landscape.workflows.train import train

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
SCRATCH = ROOT / "build" / "bench"
BATCH = 128  # images a pass, for everybody who does not hold one graph of all of them
GPU_BATCH = 2_000  # the same on a GPU, which smaller ones leave idle; it divides 10,000 images
NORMALIZE = "0.485,0.456,0.406:0.229,0.224,0.225"

LossFunction = nn.CrossEntropyLoss


@dataclass(frozen=True)
class Subject:
    """A trained network and images.

    Attributes:
        name: in words.
        checkpoint: its file.
        options: what `landscape analyze` needs beside the file.
        model: in eval mode; contenders that write into a model take a `copy`.
        inputs, targets: the images, in their own order.
        fallback: whether it stands in for the shared network.
    """

    name: str
    checkpoint: Path
    options: tuple[str, ...]
    model: nn.Module
    inputs: Tensor
    targets: Tensor
    fallback: bool

    def __len__(self) -> int:
        return len(self.inputs)

    def first(self, count: int) -> Subject:
        """The same on the first images: `count` of them, or all if there are fewer."""
        return replace(self, inputs=self.inputs[:count], targets=self.targets[:count])

    @property
    def device(self) -> torch.device:
        """Where network and images are."""
        return self.inputs.device

    @property
    def batch(self) -> int:
        """Images a pass."""
        return BATCH if self.device.type == "cpu" else GPU_BATCH

    def to(self, device: torch.device) -> Subject:
        """The same on another device."""
        model = copy.deepcopy(self.model).to(device)
        return replace(self, model=model, inputs=self.inputs.to(device), targets=self.targets.to(device))

    def copy(self) -> nn.Module:
        """The network for somebody who changes it."""
        return copy.deepcopy(self.model).eval()

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters of `model`."""
        return list(self.model.parameters())

    def problem(self) -> Problem:
        """As our own library sees it: these images are all there are, so no sampling error is estimated."""
        return Problem(self.model, LossFunction(), (self.inputs, self.targets))

    def batches(self, size: int | None = None) -> list[tuple[Tensor, Tensor]]:
        """The images cut into batches."""
        size = size or self.batch
        return list(zip(self.inputs.split(size), self.targets.split(size), strict=True))

    def gradient_pass(self) -> None:
        """A plain gradient pass over all images: the unit of work, in PyTorch alone."""
        loss = LossFunction(reduction="sum")
        for x, y in self.batches():
            torch.autograd.grad(loss(self.model(x), y), self.parameters)

    def backward_pass(self) -> Lap:
        """The backward part of a plain gradient pass over all images."""
        loss, wall, cpu = LossFunction(reduction="sum"), 0.0, 0.0
        for x, y in self.batches():
            value = loss(self.model(x), y)
            one, _ = lap(lambda value=value: torch.autograd.grad(value, self.parameters))
            wall, cpu = wall + one.wall, cpu + one.cpu
        return Lap(wall, cpu)

    def digest(self) -> str:
        """A hash of weights and images."""
        h = hashlib.sha256()
        for tensor in [*self.model.state_dict().values(), self.inputs, self.targets]:
            h.update(tensor.contiguous().cpu().numpy().tobytes())
        return h.hexdigest()


def choose_subject(images: int, cifar10: Path | None = None, epochs: int = 3) -> Subject:
    """The shared network where it is, else one that is trained here for a few epochs.

    Args:
        images: how many are needed at most.
        cifar10: a folder that holds cifar-10-batches-py; by default the shared archive is unpacked, once.
        epochs: of the stand-in's training.
    """
    checkpoint = SHARED / "checkpoints" / "resnet20-cifar10.th"
    folder = cifar10 or _unpacked(SHARED / "data" / "cifar-10-batches-py.tar.xz")
    if not checkpoint.is_file() or folder is None:
        return stand_in(epochs)
    options = ("--model", "resnet20", "--data", f"cifar10:{folder}", "--split", "test", "--normalize", NORMALIZE)
    problem = landscape.load(
        checkpoint,
        model="resnet20",
        data=f"cifar10:{folder}",
        split="test",
        normalize=NORMALIZE,
        samples=f"first:{images}",
    )
    name = "the shared ResNet-20 (269,722 parameters), CIFAR-10 test images"
    return _subject(name, checkpoint, options, problem, fallback=False)


def stand_in(epochs: int) -> Subject:
    """Our resnet8 after a few epochs on digits."""
    config = TrainConfig(model="resnet8", data="digits", lr=0.1, momentum=0.9, weight_decay=5e-4, epochs=epochs)
    folder = SCRATCH / f"stand-in-{config.digest()[:12]}"
    run = TrainRun(out=folder, resume=folder.exists())
    checkpoint = train(config, run).checkpoint
    problem = landscape.load(checkpoint, samples="all")
    name = f"a stand-in: resnet8 after {epochs} epochs on digits ({problem.size:,} parameters), training images"
    return _subject(name, checkpoint, (), problem, fallback=True)


def _subject(name: str, checkpoint: Path, options: tuple[str, ...], problem: Problem, *, fallback: bool) -> Subject:
    batches = list(problem.batches())
    inputs = torch.cat([batch.inputs for batch in batches])
    targets = torch.cat([batch.targets for batch in batches])
    return Subject(name, checkpoint, options, problem.model.eval(), inputs, targets, fallback)


def _unpacked(archive: Path) -> Path | None:
    if not archive.is_file():
        return None
    folder = SCRATCH / "cifar10"
    if not folder.exists():
        SCRATCH.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=SCRATCH) as half, tarfile.open(archive) as tar:
            tar.extractall(half, filter="data")
            (Path(half) / "whole").mkdir()
            for item in [p for p in Path(half).iterdir() if p.name != "whole"]:
                item.rename(Path(half) / "whole" / item.name)
            (Path(half) / "whole").rename(folder)
    return folder
