"""Following the landscape in a training loop of one's own.

    python docs/examples/follow_training.py track.csv

trains a small network on the embedded digits in PyTorch's usual way. After every epoch the tracker measures the
norms of the parameters, their connectivity sharpness, and the top Hessian eigenvalue beside the edge of stability, on a
fixed set of 256 samples. Run it again and it goes on where the checkpoint beside the track says.
"""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import landscape

EPOCHS = 6


def main(track: Path) -> None:
    """Train, or go on."""
    torch.manual_seed(0)
    digits = load_digits()
    x = torch.tensor(digits.images / 16, dtype=torch.float32).flatten(1)
    y = torch.tensor(digits.target)
    model = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
    loss = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    fixed = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))[:256]
    problem = landscape.Problem(model, loss, (x[fixed], y[fixed]))
    tracker = landscape.Tracker(problem, ["norms", "connectivity", "edge"], every=1, optimizer=optimizer, path=track)

    checkpoint = track.with_suffix(".pt")
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        tracker.load_state_dict(kept["tracker"])
    tracker.record()  # the weights before the first step; nothing where they were measured already

    while tracker.epoch < EPOCHS:
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
            tracker.step()
        tracker.end_epoch()
        parts = {"model": model, "optimizer": optimizer, "tracker": tracker}
        torch.save({name: part.state_dict() for name, part in parts.items()}, checkpoint)

    table = tracker.table
    print(table[table["group"] == ""].pivot(index="epoch", columns="quantity", values="value"))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
