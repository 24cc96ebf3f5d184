"""Schedules against their formulas, torch's own schedulers and scripted sequences of losses and eigenvalues."""

import itertools
import math

import pytest
import torch

from landscape.config.recipe import validate
from landscape.config.training import TrainConfig
from landscape.errors import OptionError
from landscape.training.schedules import SCHEDULES, build_schedule, build_two_phase, fill_schedule
from landscape.training.schedules.cosine import cosine
from landscape.training.schedules.polynomial import polynomial
from landscape.training.schedules.scaling import scaled
from landscape.training.schedules.steps import steps_down
from landscape.training.schedules.two_phase import TwoPhase, TwoPhaseRule, default_patience
from landscape.training.schedules.warmup import warmed_up
from landscape.training.step_plan import StepPlan

PEAK, STEPS, EPOCHS = 0.4, 5, 8  # 40 steps
PLAN = StepPlan(samples=22, sizes=(5,) * EPOCHS)  # four batches of 5 and one of 2


def rates(**options):
    config = fill_schedule(TrainConfig(lr=PEAK, epochs=EPOCHS, batch_size=5, **options))
    schedule = build_schedule(config, PLAN)
    return [schedule(step) for step in range(PLAN.total)]


def by_torch(make, number=STEPS * EPOCHS):
    """What a scheduler of torch's gives, a step of it a step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler, seen = make(optimizer), []
    for _ in range(number):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


LR = torch.optim.lr_scheduler


# -- against torch -------------------------------------------------------------------------------------------------


def test_cosine_is_torchs():
    assert rates(schedule="cosine") == pytest.approx(by_torch(lambda o: LR.CosineAnnealingLR(o, 40)), rel=1e-12)
    with_end = by_torch(lambda o: LR.CosineAnnealingLR(o, 40, eta_min=0.03))
    assert rates(schedule="cosine", lr_end=0.03) == pytest.approx(with_end, rel=1e-12)


def test_steps_are_torchs():
    theirs = by_torch(lambda o: LR.MultiStepLR(o, [15, 30], gamma=0.2))
    assert rates(schedule="step", lr_steps=(3, 6), lr_factor=0.2) == pytest.approx(theirs, rel=1e-12)


def test_polynomial_is_torchs_over_one_step_more():
    theirs = by_torch(lambda o: LR.PolynomialLR(o, 41, power=3), 41)[1:]
    assert rates(schedule="polynomial", warmup=0, lr_power=3) == pytest.approx(theirs, rel=1e-12)


def test_linear_warm_up_then_cosine_is_torchs_sequence():
    def make(optimizer):
        parts = [
            LR.LinearLR(optimizer, start_factor=1 / 10, total_iters=9),
            LR.CosineAnnealingLR(optimizer, 30),
        ]
        return LR.SequentialLR(optimizer, parts, [10])

    assert rates(schedule="cosine", warmup=2) == pytest.approx(by_torch(make), rel=1e-12)


# -- against the formulas ------------------------------------------------------------------------------------------


def test_polynomial_with_its_warm_up_by_the_formula():
    total, warm = 40, 12
    expected = []
    for t in range(1, total + 1):
        k, d = t - warm, total - warm + 1
        expected.append(PEAK * (t / warm) ** 2 if t <= warm else PEAK * (1 - k / d) ** 2)
    got = rates(schedule="polynomial")
    assert got == pytest.approx(expected, rel=1e-12)
    assert max(got) == got[warm - 1] == PEAK
    assert got[-1] > 0


def test_a_peak_and_ends():
    got = rates(schedule="polynomial", lr_start=0.1, lr_end=0.2, warmup=2, warmup_power=1)
    assert got[0] == pytest.approx(0.1 + 0.3 / 10)
    assert got[9] == pytest.approx(PEAK)
    assert got[-1] == pytest.approx(0.2 + 0.2 / 31**2)


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "polynomial"])
def test_a_linear_warm_up_goes_before_any(name):
    extra = {"lr_steps": (6,)} if name == "step" else {}
    got = rates(schedule=name, warmup=1.4, **extra)  # 7 steps
    assert got[:7] == pytest.approx([PEAK * t / 7 for t in range(1, 8)])
    assert got[7] == pytest.approx(PEAK)
    plain = rates(schedule=name, **extra)
    if name != "cosine":
        assert got[7:] == plain[7:]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_a_pure_function_of_the_step(name):
    extra = {"lr_steps": (3,)} if name == "step" else {}
    config = fill_schedule(TrainConfig(lr=PEAK, epochs=EPOCHS, schedule=name, **extra))
    schedule = build_schedule(config, PLAN)
    forwards = [schedule(step) for step in range(40)]
    assert [schedule(step) for step in reversed(range(40))] == forwards[::-1]
    assert all(0 < rate <= PEAK for rate in forwards)
    assert fill_schedule(config) == config


def test_a_run_without_steps_has_a_first_rate():
    """Epoch 0 of a run of 0 epochs shows the rate of the step that would come."""
    plan = StepPlan(22, ())
    for name in ("constant", "cosine", "polynomial", "two-phase"):
        assert build_schedule(fill_schedule(TrainConfig(lr=0.1, epochs=0, schedule=name)), plan)(0) >= 0


def test_pieces_on_their_own():
    assert cosine(1.0, 10, warmup=4)(7) == pytest.approx(0.5)
    assert polynomial(1.0, 10, warmup=4, power=1)(9) == pytest.approx(1 / 7)
    assert [steps_down(1.0, (2, 4), 0.5)(s) for s in range(6)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert warmed_up(lambda s: 9.0, 2.0, 4, power=2)(1) == pytest.approx(0.5)


def test_scaling_rules():
    assert scaled(0.1, "linear", 8192, 256) == pytest.approx(3.2)
    assert scaled(0.04, "sqrt", 512, 8192) == pytest.approx(0.01)
    config = fill_schedule(TrainConfig(lr=0.04, lr_scaling="sqrt", lr_batch=8192, batch_size=2048))
    assert build_schedule(config, PLAN)(0) == pytest.approx(0.02)


# -- steps and epochs ----------------------------------------------------------------------------------------------


def test_a_plan_counts_steps_by_epoch():
    plan = StepPlan(22, (5, 22, 8))
    assert [plan.steps(e) for e in (1, 2, 3)] == [5, 1, 3]
    assert (plan.total, plan.epochs) == (9, 3)
    assert [plan.first(e) for e in (1, 2, 3, 4)] == [0, 5, 6, 9]
    assert [plan.epoch_of(s) for s in range(10)] == [1] * 5 + [2] + [3] * 3 + [3]
    assert [plan.after(e) for e in (0, 0.5, 1, 2, 2.7, 3, 9)] == [0, 2, 5, 6, 8, 9, 9]


# -- two phases ----------------------------------------------------------------------------------------------------


def play(losses, eigenvalues, patience=2, **rule):
    """The rule on scripted sequences: its rows, and the factor in each epoch."""
    values = iter(eigenvalues)
    two_phase = TwoPhase(TwoPhaseRule(patience, **rule), lambda model: next(values))
    factors, rows = [], []
    for loss in losses:
        factors.append(two_phase.factor)
        rows.append(two_phase.after_epoch(torch.nn.Identity(), loss))
    assert next(values, None) is None, "every eigenvalue is asked for"
    return rows, factors


def column(rows, name):
    return [row[name] for row in rows]


def test_the_phases_follow_the_plateau():
    # Lowest at epoch 4; none lower in 5 and 6: a plateau at 6, two epochs more, and the switch after epoch 8.
    losses = [5.0, 4.0, 4.5, 3.0, 3.0, 3.5, 2.0, 1.0, 1.0]
    rows, factors = play(losses, [7.0, 6.0])
    assert column(rows, "phase") == ["explore"] * 6 + ["extra"] * 2 + ["converge"]
    assert column(rows, "plateau") == [0, 0, 0, 0, 0, 1, 0, 0, 0]
    assert column(rows, "top_eigenvalue") == [None] * 7 + [7.0, 6.0]
    assert column(rows, "batch_loss") == losses
    assert factors == [1.0] * 9


def converge(pairs, **rule):
    """Pairs of a loss and an eigenvalue in the convergence phase, after a switch with loss 1 and eigenvalue 10."""
    # patience 1: lowest at 1, plateau at 2, ceil(2/3) = 1 extra epoch, switch after 3.
    before, values = [1.0, 1.0, 1.0], [10.0, *(h for _, h in pairs)]
    rows, factors = play([*before, *(f for f, _ in pairs)], values, patience=1, **rule)
    assert column(rows, "phase")[:4] == ["explore", "explore", "extra", "converge"][: len(rows)]
    return column(rows[3:], "cut"), factors[3:]


@pytest.mark.parametrize(
    ("pairs", "cuts"),
    [
        ([(2.0, 11.0)], [1]),  # both rise
        ([(2.0, 10.0)], [0]),  # a tie is no rise
        ([(1.0, 11.0)], [0]),
        ([(2.0, 9.0)], [0]),  # the loss alone
        ([(0.5, 20.0)], [0]),  # the eigenvalue alone
        ([(2.0, 11.0), (3.0, 12.0)], [1, 0]),  # never after two epochs in a row
        # After a cut h' is 0: the next epoch only sets h' = 12, f' = 3, and the one after it is compared with those.
        ([(2.0, 11.0), (3.0, 12.0), (3.1, 12.1)], [1, 0, 1]),
        ([(2.0, 11.0), (3.0, 12.0), (2.9, 12.1), (3.0, 12.2)], [1, 0, 0, 1]),
        # Every epoch without a cut becomes the one to compare with.
        ([(0.5, 5.0), (0.6, 6.0)], [0, 1]),
        ([(2.0, -1.0), (3.0, 5.0), (4.0, 6.0)], [0, 0, 1]),  # h' must be positive
        ([(float("nan"), float("nan")), (2.0, 11.0)], [0, 0]),
    ],
)
def test_the_rate_is_cut_where_loss_and_sharpness_rise(pairs, cuts):
    got, factors = converge(pairs)
    assert got == cuts
    assert factors == [0.5**n for n in itertools.accumulate([0, *cuts[:-1]])]


def test_another_factor_and_other_extra_epochs():
    assert converge([(2.0, 11.0), (1.0, 1.0)], factor=0.1)[1] == [1.0, 0.1]
    rows, _ = play([1.0] * 8, [1.0] * 2, patience=4, extra=0.4)  # plateau at 5, ceil(2.0) more
    assert column(rows, "phase") == ["explore"] * 5 + ["extra"] * 2 + ["converge"]
    rows, _ = play([1.0] * 6, [1.0] * 2, patience=4, extra=0.0)
    assert column(rows, "phase") == ["explore"] * 5 + ["converge"]


def test_a_third_of_the_epochs_rounds_up_exactly():
    rule = TwoPhaseRule(1)
    assert [rule.extra_epochs(x) for x in (1, 2, 3, 4, 300)] == [1, 1, 1, 2, 100]
    assert [default_patience(n) for n in (0, 1, 20, 21, 200, 201)] == [1, 1, 1, 2, 10, 11]


@pytest.mark.parametrize("stop", range(1, 12))
def test_a_restored_rule_goes_on(stop):
    losses = [3.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.5, 1.6, 1.7, 1.8, 1.9]
    values = {epoch: 5.0 + epoch for epoch in range(20)}
    config = fill_schedule(TrainConfig(schedule="two-phase", epochs=40, lr_factor=0.25))

    def fresh():
        clock = iter(range(100))
        return build_two_phase(config, lambda model: values[next(clock)] + 0 * len(losses))

    whole = fresh()
    rows = [whole.after_epoch(torch.nn.Identity(), loss) for loss in losses]
    asked = sum(row["top_eigenvalue"] is not None for row in rows[:stop])
    first = fresh()
    for loss in losses[:stop]:
        first.after_epoch(torch.nn.Identity(), loss)
    again = fresh()
    for _ in range(asked):
        again._top_eigenvalue(None)
    again.restore(first.to_plain())
    assert [again.after_epoch(torch.nn.Identity(), loss) for loss in losses[stop:]] == rows[stop:]
    assert again.state == whole.state


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schedule": "cosin"}, "unknown schedule 'cosin'. Did you mean cosine"),
        ({"schedule": "step"}, "needs lr_steps"),
        ({"schedule": "step", "lr_steps": (6, 3)}, "ascending epochs from 1 to 7, got 6, 3"),
        ({"schedule": "step", "lr_steps": (8,)}, "ascending epochs from 1 to 7"),
        ({"schedule": "cosine", "lr_power": 2}, "schedule cosine takes no lr_power; .* choose polynomial"),
        ({"schedule": "constant", "lr_factor": 0.5}, "choose step, two-phase"),
        ({"schedule": "cosine", "patience": 3}, "choose two-phase"),
        ({"schedule": "cosine", "warmup": 9}, "warm-up of 9 epochs is longer than the run of 8"),
        ({"schedule": "cosine", "lr_end": 0.5}, "lr_end 0.5 is above the peak, lr 0.4"),
        ({"warmup_power": 2.0}, "set warmup"),
        ({"lr_scaling": "sqrt"}, "go together"),
        ({"lr_batch": 256}, "go together"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(options, words):
    with pytest.raises(OptionError, match=words):
        fill_schedule(TrainConfig(lr=PEAK, epochs=EPOCHS, **options))


@pytest.mark.parametrize("given", ["3,5", "3, 5", [3, 5], (3, 5)])
def test_epochs_may_be_given_as_text(given):
    assert validate(TrainConfig, {"lr_steps": given}).lr_steps == (3, 5)
    assert validate(TrainConfig, {"lr_steps": 3}).lr_steps == (3,)


@pytest.mark.parametrize("given", ["3,x", "", [], "3;5"])
def test_epochs_that_are_none_are_refused(given):
    with pytest.raises(OptionError, match="lr_steps"):
        validate(TrainConfig, {"lr_steps": given})


def test_a_default_schedule_is_left_as_it_is():
    config = TrainConfig(lr=0.1)
    assert fill_schedule(config) == config
    assert math.isclose(build_schedule(config, PLAN)(17), 0.1)
