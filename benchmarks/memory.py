"""Peak memory of one piece of work, in a process of its own: `python -m benchmarks.memory WORK MODEL IMAGES`.

WORK is `step` (two steps of SGD with momentum) or `connectivity`. Prints {"idle", "peak"} in bytes: the largest
resident size before the work began (imports, network and images) and at the end.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys

import torch

import landscape
from benchmarks.subject import ROOT, LossFunction
from landscape.measures import connectivity
from landscape.memory import watch_peak
from landscape.models import build_model, parse_model


def random_network(
    model: str, images: int, device: torch.device | None = None, *, pixels: int = 32, classes: int = 10
) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """A network with its initial weights, and normal noise as images: neither time nor memory ask what is in them."""
    network = build_model(parse_model(model), classes=classes, channels=3, size=pixels)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(images, 3, pixels, pixels, generator=generator)
    labels = torch.randint(classes, (images,), generator=generator)
    return network.to(device), inputs.to(device), labels.to(device)


def peak(work: str, model: str, images: int) -> dict[str, int]:
    """Run `work` in a fresh process on as many threads as here; its idle and peak size in bytes.

    Raises:
        RuntimeError: the process failed; the message is its last line.
    """
    command = [sys.executable, "-m", "benchmarks.memory", work, model, str(images), str(torch.get_num_threads())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1])
    found: dict[str, int] = json.loads(done.stdout)
    return found


def peak_on_gpu(work: str, model: str, images: int, device: torch.device) -> dict[str, int]:
    """The same of a GPU's tensors, in this process: `idle` is network and images."""
    gc.collect()
    network, x, y = random_network(model, images, device)
    with watch_peak(device) as idle:
        pass
    with watch_peak(device) as used:
        _work(work, network, x, y)
    return {"idle": idle.bytes or 0, "peak": used.bytes or 0}


def _work(work: str, network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    if work == "step":
        training_step(network, x, y)
    else:
        connectivity(landscape.Problem(network.eval(), LossFunction(), (x, y)))


def training_step(network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    """Two steps: the second holds the momentum of the first."""
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        LossFunction()(network(x), y).backward()
        optimizer.step()


def main() -> None:
    """The process of `peak`."""
    work, model, images, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    network, x, y = random_network(model, int(images))
    # a process begins with the peak of the one that started it, so it is reset before each reading
    device = torch.device("cpu")
    with watch_peak(device) as idle:
        pass
    with watch_peak(device) as used:
        _work(work, network, x, y)
    sys.stdout.write(json.dumps({"idle": idle.bytes, "peak": used.bytes}))


if __name__ == "__main__":
    main()
