"""Training: our loop beside a plain one; what adaptive decay, the two-phase rule and K-FAC add to a step or an epoch.

The plain loop below is PyTorch alone. Images and labels are noise of CIFAR-10's shape, and weights are random: the time
of a step does not ask what is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import optim
from torch.nn.functional import cross_entropy

from benchmarks import peers
from benchmarks.clock import Answer, Contender, Lap, race, spread, whole
from benchmarks.context import Context
from benchmarks.memory import random_network
from benchmarks.outcome import Bar, Outcome, Row, row, weighted
from landscape.config.training import TrainConfig
from landscape.curvature.last_layer import top_eigenvalue
from landscape.parameters import describe
from landscape.training.batches import Batching
from landscape.training.decay.applying import Decay
from landscape.training.decay.plan import fill_decay, plan_decay
from landscape.training.ghost_norm import GhostNorms
from landscape.training.loop import WHOLE, train_epoch
from landscape.training.optimizers import build_optimizer, fill_options
from landscape.training.samples import Split
from landscape.training.schedules.constant import constant
from landscape.training.state import TrainingState
from landscape.workflows.sharpness_callback import last_layer_eigenvalue

TITLE = "Training"
LR = 0.01  # small: on labels that mean nothing the loss stays finite over all repeats
CIFAR = 50_000  # training images, an epoch
LARGE = 8_192  # the batch of the two-phase experiments
KFAC_BATCH = 128
SMALL = "mlp:width=32"
STATISTICS, INVERSES = 10, 100  # the intervals of K-FAC's paper


@dataclass
class Ours:
    """A network with its noise, its optimizer and its decay, trained by our loop."""

    state: TrainingState
    split: Split
    batch: int
    decay: Decay | None = None
    batching: Batching = WHOLE

    @classmethod
    def make(cls, context: Context, model: str, images: int, batch: int, **settings: str) -> Ours:
        """As `settings` (of `TrainConfig`) say."""
        network, x, y = random_network(model, images, context.device)
        config = fill_decay(fill_options(TrainConfig(model=model, lr=LR, **settings)))
        optimizer = build_optimizer(config, network.parameters())
        state = TrainingState(network, optimizer, torch.Generator().manual_seed(0), context.device)
        decay = None
        if config.decay is not None:
            decay = Decay(plan_decay(config, describe(network)), config.decay_mode, network, optimizer)
        return cls(state, Split(x, y), batch, decay)

    def epoch(self, _: int = 0) -> Answer:
        """A pass over the images, without an evaluation; what the decay notes is read, as after each epoch of a run."""
        train_epoch(
            self.state,
            self.split,
            schedule=constant(LR),
            batch_size=self.batch,
            batching=self.batching,
            decay=self.decay,
        )
        if self.decay is not None:
            self.decay.take_steps(1)
            self.decay.take_ratios(1)
        return Answer()


def bare_loop(context: Context, model: str, images: int, batch: int) -> Callable[[], None]:
    """A pass over the images as one writes it down: data in memory, no value read before the end."""
    network, x, y = random_network(model, images, context.device)
    optimizer = optim.SGD(network.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4)
    generator = torch.Generator().manual_seed(0)

    def epoch() -> None:
        network.train()
        total = torch.zeros((), device=context.device)
        for chosen in torch.randperm(images, generator=generator).split(batch):
            optimizer.zero_grad()
            loss = cross_entropy(network(x[chosen]), y[chosen])
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(chosen)
        total.item()

    return epoch


def run(context: Context) -> Outcome:
    """Four questions, each with a unit of its own: the row says what beside what."""
    outcome = Outcome(
        TITLE,
        "random weights, noise of CIFAR-10's shape",
        context.pick(16, 256, 512),
        unit="what stands behind the stroke",
    )
    for part in (_loop, _adaptive, _two_phase, _kfac):
        context.say(part.__name__.strip("_").replace("_", "-"))
        part(context, outcome)
    outcome.remarks.append(
        "Two rows of the plain loop beside itself show how much of a ratio is the machine's: both are 1 but for that. "
        "An epoch is the training alone; evaluating both splits after it is not counted on either side."
    )
    return outcome


def _loop(context: Context, outcome: Outcome) -> None:
    large = "resnet8" if context.scale == "smallest" else "resnet20"
    sizes = [(large, context.pick(8, 256, 512), context.pick(4, 128, 128), context.pick(1, 2, 9))]
    sizes.append((SMALL, context.pick(8, 512, 512), context.pick(4, 16, 16), context.pick(1, 7, 25)))
    for model, images, batch, repeats in sizes:
        plain = bare_loop(context, model, images, batch)
        again, ours = (
            bare_loop(context, model, images, batch),
            Ours.make(context, model, images, batch, optimizer="sgd"),
        )
        name = f"{model}, batch {batch}"
        races = race(
            [
                Contender(peers.PYTORCH, f"{name}: plain loop / plain loop", _work(again), again),
                Contender(peers.OURS, f"{name}: our loop / plain loop", ours.epoch, ours.epoch),
            ],
            whole(plain),
            repeats,
        )
        rows = [row(one) for one in races]
        outcome.rows += rows
        if model == large:
            outcome.bars.append(Bar.row(f"our training loop / a plain PyTorch loop, {name}", rows[1], 1.05))
    outcome.remarks.append(
        "The second network is so small (a step of about a millisecond) that what a loop does in Python can be seen."
    )


def _adaptive(context: Context, outcome: Outcome) -> None:
    model = "resnet8" if context.scale == "smallest" else "resnet20"
    images, batch = context.pick(8, 256, 512), context.pick(4, 128, 128)
    plain = Ours.make(context, model, images, batch, optimizer="sgd", decay="no-bias")
    adaptive = Ours.make(context, model, images, batch, optimizer="sgd", decay="adaptive-beta")
    what = f"{model}, batch {batch}: decay adaptive-beta / no-bias"
    races = race(
        [Contender(peers.OURS, what, adaptive.epoch, adaptive.epoch)], whole(plain.epoch), context.pick(1, 2, 9)
    )
    outcome.rows.append(row(races[0]))
    outcome.bars.append(Bar.row(f"adaptive beta decay / plain decay, {model}, batch {batch}", outcome.rows[-1], 1.03))
    outcome.remarks.append(
        f"What adaptive beta decay does is per step: at a batch of {LARGE:,} its share is {LARGE // 128} times smaller."
    )


def _two_phase(context: Context, outcome: Outcome) -> None:
    """An epoch costs CIFAR / images of one step on `images`; the eigenvalue LARGE / images of one on `images`."""
    model = "resnet8" if context.scale == "smallest" else "resnet20"
    images, micro = context.pick(8, 128, LARGE), context.pick(4, 64, 128)
    with _ghosts_trained(context, model, images, micro) as ours:
        ask = last_layer_eigenvalue(ours.state.model, ours.split, batch=images, seed=0, rows=micro)
        features, logits = torch.randn(LARGE, 64), torch.randn(LARGE, 10)
        features, logits = features.to(context.device), logits.to(context.device)
        repeats = context.pick(1, 1, 3)
        races = race(
            [
                Contender(peers.OURS, "eigenvalue", lambda _: Answer(ask(ours.state.model))),
                Contender(peers.OURS, "products", lambda _: Answer(top_eigenvalue(features, logits))),
            ],
            whole(ours.epoch),
            repeats,
        )
    what = f"{model}, batch {LARGE:,}: top eigenvalue after an epoch / the epoch"
    outcome.rows.append(weighted(peers.OURS, what, races, (LARGE / CIFAR, images / CIFAR)))
    outcome.bars.append(
        Bar.row(f"two-phase: the eigenvalue after an epoch / the epoch, {model}", outcome.rows[-1], 0.05)
    )
    outcome.remarks.append(
        f"Two-phase: a step and the forward passes of the eigenvalue on {images:,} images each, in parts of {micro} "
        f"with ghost batches of {micro}, carried over to an epoch of {CIFAR:,} and a batch of {LARGE:,} images; ten "
        f"power iterations on the features of {LARGE:,}."
    )


@contextmanager
def _ghosts_trained(context: Context, model: str, images: int, micro: int) -> Iterator[Ours]:
    ours = Ours.make(context, model, images, images, optimizer="sgd")
    ghosts = GhostNorms(ours.state.model, micro)
    ours.batching = Batching(micro=micro, ghosts=ghosts)
    with ghosts.installed():
        yield ours


def _kfac(context: Context, outcome: Outcome) -> None:
    model = "resnet8" if context.scale == "smallest" else "resnet32"
    batch = context.pick(4, KFAC_BATCH, KFAC_BATCH)
    steps = -(-CIFAR // KFAC_BATCH)
    statistics, inverses = (-(-steps // every) for every in (STATISTICS, INVERSES))
    weights = [(steps - statistics) / steps, (statistics - inverses) / steps, inverses / steps]
    plain = whole(bare_loop(context, model, batch, batch))
    for name, repeats in (("kfac-f", context.pick(1, 1, 5)), ("kfac-g", context.pick(1, 1, 5))):
        ours = Ours.make(context, model, batch, batch, optimizer=f"{name}:statistics={STATISTICS},inverses={INVERSES}")
        first = race([Contender(peers.OURS, f"{model}: {name}, its first step / SGD's", ours.epoch)], plain, 1)
        kinds = ((1, "a step"), (STATISTICS, "a step with statistics"), (INVERSES, "with statistics and inverses"))
        races = race(
            [Contender(peers.OURS, f"{model}: {name}, {what} / SGD's", _at_step(ours, n)) for n, what in kinds],
            plain,
            repeats,
        )
        epoch = weighted(peers.OURS, f"{model}: {name}, an epoch / SGD's, plain loop", races, weights)
        once = row(first[0], note="a step, and the factors from its batch alone")
        outcome.rows += [epoch, *(row(one) for one in races), once]
        outcome.bars.append(Bar.row(f"{name}, an epoch / SGD's, {model}, batch {batch}", epoch, 2.0))
    if context.scale == "full":
        outcome.rows.append(_hundred_steps(context, model, plain))
    outcome.remarks.append(
        f"K-FAC: an epoch of {steps} steps has {statistics} with statistics, {inverses} of them with inverses "
        f"(every {STATISTICS}th and {INVERSES}th). The pass that initialises the factors is apart, once a run: over "
        "one batch its first step less a plain one, over all samples as many epochs of SGD."
    )


def _hundred_steps(context: Context, model: str, plain: Callable[[], Lap]) -> Row:
    """As many steps as it takes to meet every kind, each timed in turn with the plain one."""
    ours = Ours.make(context, model, KFAC_BATCH, KFAC_BATCH, optimizer="kfac-f")
    ours.epoch()
    found = race([Contender(peers.OURS, "", ours.epoch)], plain, INVERSES)
    ratio, cpu = (sum(found[0].ratios(kind)) / INVERSES for kind in ("wall", "cpu"))
    what = f"{model}: kfac-f, the mean of {INVERSES} steps / SGD's"
    return Row(peers.OURS, what, INVERSES, spread([ratio]), spread([cpu]))


def _at_step(ours: Ours, number: int) -> Callable[[int], Answer]:
    """A step of K-FAC as its step `number`, which decides what is renewed."""

    def work(_: int) -> Answer:
        for state in ours.state.optimizer.state.values():
            if "step" in state:
                state["step"] = number
        return ours.epoch()

    return work


def _work(epoch: Callable[[], None]) -> Callable[[int], Answer]:
    def work(_: int) -> Answer:
        epoch()
        return Answer()

    return work
