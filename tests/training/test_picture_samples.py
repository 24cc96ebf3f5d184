"""Batches of pictures: the same whatever the workers and batches, one clear line for a damaged file, a whole run."""

import multiprocessing

import numpy as np
import pytest
import torch
from PIL import Image

import landscape
from landscape.config.training import TrainConfig, TrainRun
from landscape.data import Normalization
from landscape.data.image_folder import read_image_folder
from landscape.errors import DataError
from landscape.training.picture_samples import PictureSamples
from landscape.training.samples import first_inputs
from landscape.workflows.train import train

IDENTITY = Normalization((0.0,) * 3, (1.0,) * 3)


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for number, name in enumerate(("ant", "bee", "cow")):
            (tmp_path / split / name).mkdir(parents=True)
            for k in range(count):
                pixels = generator.integers(0, 80, (40 + 3 * k, 50, 3), dtype=np.uint8)
                pixels[:, :, number] += 150
                ending = "png" if k % 2 else "jpg"
                Image.fromarray(pixels).save(tmp_path / split / name / f"{k}.{ending}")
    return tmp_path


def samples(folder, **options):
    pictures = read_image_folder(folder, "train", size=16)
    return PictureSamples(pictures, IDENTITY, torch.device("cpu"), torch.float64, augment=True, **options)


def gathered(split, size, order=None, seed=None):
    draws = None if seed is None else torch.Generator().manual_seed(seed)
    inputs, labels = zip(*split.batches(size, order, draws), strict=True)
    return torch.cat(inputs), torch.cat(labels)


@pytest.mark.parametrize("seed", [None, 3])
def test_workers_and_batches_decide_nothing(folder, seed):
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    state = torch.get_rng_state()
    one = gathered(samples(folder), 12, order, seed)
    two = gathered(samples(folder, workers=2), 5, order, seed)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert torch.equal(one[1], samples(folder).labels[order])


def test_without_draws_the_pictures_are_those_of_an_analysis(folder):
    split = samples(folder)
    inputs, labels = gathered(split, 5)
    whole = split.pictures.chosen(torch.arange(12))
    assert torch.equal(inputs, whole.images.double() / 255)
    assert torch.equal(labels, whole.labels)
    assert torch.equal(first_inputs(split, 2), inputs[:2])


def test_half_of_the_crops_are_mirrored(folder):
    # Each picture at the same seed twice: what comes is the crop or its mirror image.
    split = samples(folder)
    draws = torch.Generator().manual_seed(8)
    seeds = torch.randint(2**62, (12,), generator=draws)
    mirrored = torch.randint(2, (12,), generator=draws, dtype=torch.uint8).bool()
    inputs, _ = gathered(split, 12, seed=8)
    for n in range(12):
        crop = split.pictures.decoded(n, int(seeds[n])).double() / 255
        assert torch.equal(inputs[n], crop.flip(2) if mirrored[n] else crop)
    assert 0 < int(mirrored.sum()) < 12


def test_a_large_split_is_evaluated_on_a_fixed_part(folder):
    part = samples(folder, evaluation=5).evaluated
    assert len(part) == 5
    assert part.pictures.paths == samples(folder, evaluation=5).evaluated.pictures.paths
    assert [path.parent.name for path in part.pictures.paths] == [part.pictures.classes[n] for n in part.labels]
    assert samples(folder).evaluated.pictures.paths == samples(folder).pictures.paths


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_named_in_one_line(folder, workers):
    path = folder / "train" / "bee" / "1.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError) as caught:
        gathered(samples(folder, workers=workers), 4, seed=1)
    assert f"imagenet train: {path} is no picture or damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_on_pictures_learns_stops_goes_on_and_is_analysed(folder, tmp_path):
    class StoppedError(Exception):
        pass

    config = TrainConfig(
        model="resnet8:width=0.125", data=f"imagenet:{folder}", batch_size=6, epochs=2, lr=0.02, schedule="cosine"
    )
    whole = train(config, TrainRun(out=tmp_path / "whole", workers=1))
    seen = []

    def stop(event):
        seen.append(event)
        if type(event).__name__ == "EpochFinished" and event.row["epoch"] == 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(config, TrainRun(out=tmp_path / "parts", workers=0), stop)
    parts = train(config, TrainRun(out=tmp_path / "parts", workers=0, resume=True))
    one, two = (torch.load(result.checkpoint, weights_only=True) for result in (whole, parts))
    for name, tensor in one["state_dict"].items():
        assert torch.equal(tensor, two["state_dict"][name]), name
    known = one["description"]
    assert (known["classes"], known["channels"], known["size"]) == (3, 3, 224)
    problem = landscape.load(whole.checkpoint, split="test", samples=4)
    assert len(problem) == 4
    assert landscape.analyze(problem, ["fisher_rao"]).measures["fisher_rao"].value > 0
    everything = landscape.load(whole.checkpoint, split="test", samples="all")
    loss = sum(float(everything.losses(everything.parameters, b).sum()) for b in everything.batches()) / 6
    assert loss == pytest.approx(known["metrics"]["test_loss"], rel=1e-4)
    assert not multiprocessing.active_children()
