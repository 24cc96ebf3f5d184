"""`landscape train`: which setting wins, what it prints, how it ends."""

import inspect
import re

import pytest
import torch
import typer
import yaml

from landscape.config.training import TrainConfig, TrainRun
from landscape.training.decay.policies import DECAYS
from landscape.training.events import EpochFinished, StepDone
from landscape.training.history import read_history
from landscape.training.optimizers import OPTIMIZERS
from landscape.training.rescaling import fill_rescaling
from landscape.training.schedules import SCHEDULES
from landscape.workflows import train as workflow
from landscape_cli.main import app, main
from landscape_cli.train import train

QUICK = ["train", "--model", "mlp:width=8,depth=2", "--batch-size", "400", "--epochs", "1"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config_of(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())


def test_says_where_the_run_is_and_what_to_type_next(tmp_path, capsys):
    assert main([*QUICK, "--out", "my run"]) == 0
    out, err = capsys.readouterr()
    assert "my run (epoch 1)" in out
    assert "landscape analyze 'my run/final.pt'" in out
    assert re.search(r"test +accuracy 0\.\d{4}", out)
    assert "epoch 0:" in err
    assert "epoch 1:" in err
    assert (tmp_path / "my run" / "final.pt").exists()


def test_quiet_says_the_result_only(capsys):
    assert main([*QUICK, "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert "final.pt" in out
    assert err == ""


def test_options_and_set_go_before_the_recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "model: mlp:width=8,depth=2\nlr: 0.5\nseed: 3\nbatch_size: 300\nepochs: 1\nmomentum: 0.1\n"
    )
    assert main(["train", "--config", "recipe.yaml", "--lr", "0.25", "--set", "seed=4", "--out", "run"]) == 0
    settings = config_of(tmp_path / "run")
    chosen = {name: settings[name] for name in ("model", "lr", "seed", "batch_size", "momentum")}
    assert chosen == {"model": "mlp:depth=2,width=8", "lr": 0.25, "seed": 4, "batch_size": 300, "momentum": 0.1}


def test_a_runs_config_is_a_recipe(tmp_path):
    assert main([*QUICK, "--out", "one", "-q"]) == 0
    assert main(["train", "--config", "one/config.yaml", "--out", "two", "-q"]) == 0
    assert config_of(tmp_path / "one") == config_of(tmp_path / "two")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--optimizer", "sdg"], "Did you mean sgd"),
        (["--optimizer", "sam:bas=lamb"], "sam with base sgd has no option 'bas'. Did you mean base"),
        (["--model", "resnet9"], "Did you mean"),
        (["--data", "digts"], "Did you mean digits"),
        (["--set", "epoch=3"], "unknown setting 'epoch'. Did you mean epochs"),
        (["--set", "epochs"], "expected key=value"),
        (["--lr", "-1"], "lr: expected a value greater than 0"),
        (["--lr", "0.1", "--set", "lr=0.2"], "given as --lr and by --set"),
        (["--weight-decay", "0.1", "--set", "weight_decay=0.2"], "given as --weight-decay and by --set"),
        (["--config", "none.yaml"], "no recipe at none.yaml"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--optimizer", "adamw", "--momentum", "0.9"], "adamw takes no momentum"),
        (["--batch-size", "5000"], "1437"),
        (["--decay", "adaptive_beta"], "Did you mean adaptive-beta"),
        (["--decay", "all", "--decay-threshold", "0.2"], "takes no decay_threshold"),
        (["--decay-mode", "cupled"], "Did you mean coupled"),
        (["--decay", "beta", "--model", "mlp"], "no trained beta"),
        (["--schedule", "cosin"], "Did you mean cosine"),
        (["--schedule", "step"], "needs lr_steps"),
        (["--schedule", "step", "--lr-steps", "5,x"], "lr_steps"),
        (["--lr-scaling", "square"], "lr_scaling: expected 'linear' or 'sqrt'"),
        (["--micro-batch-size", "16"], "set a ghost_batch_size"),
        (["--ghost-batch-size", "48"], "does not divide"),
        (["--discard", "1.5"], "discard: expected a value less than 1"),
        (["--batch-schedule", "512"], "expected EPOCHS:BATCH"),
        (["--freeze", "bm"], "expected 'bn', 'gamma' or 'beta', got 'bm'"),
        (["--checkpoint-every", "-1"], "checkpoint_every"),
        (["--track", "norm"], "Did you mean norms"),
        (["--track", "norms", "--track", "edg"], "Did you mean edge"),
        (["--config", "."], "it is a folder; of a run take its config.yaml"),
        (["--track", "norms", "--track-every", "5epochs"], "expected epochs such as 5, or steps such as 100steps"),
        (["--track", "norms", "--track-samples", "5000"], "expected at most 1437"),
        (["--track", "norms", "--track-by", "rol"], "neither role, layer or tensor"),
        (["--track-every", "5"], "--track-every needs --track"),
        (["--model", "mlp", "--track", "effective_learning_rate"], "no layer of this network feeds"),
        (["--log", "tensorbord"], "log.0: expected 'csv', 'tensorboard' or 'wandb'"),
        (["--resume"], "no run to resume"),
        (["--resume", "--out", "nowhere"], "no run to resume"),
        (["--epochs", "many"], "--epochs"),
    ],
)
def test_bad_input_ends_with_two_and_a_line(tmp_path, capsys, arguments, words):
    assert main(["train", *arguments]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_track_may_be_repeated(tmp_path):
    assert main([*QUICK, "--track", "norms", "--track", "margins,norms", "--out", "run"]) == 0
    assert yaml.safe_load((tmp_path / "run" / "track.yaml").read_text())["names"] == ["norms", "margins"]


def test_divergence_ends_with_three(capsys):
    assert main([*QUICK, "--lr", "1e30", "--out", "run"]) == 3
    assert re.search(r"step \d+ \(epoch 1\), learning rate 1e\+30", capsys.readouterr().err)


def interrupt_after(monkeypatch, condition):
    """Let the loop be interrupted at the first event that meets `condition`."""
    original = workflow.train

    def interrupted(config, run, on_event, group):
        def hear(event):
            on_event(event)
            if condition(event):
                raise KeyboardInterrupt

        return original(config, run, hear, group)

    monkeypatch.setattr(workflow, "train", interrupted)


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    three = [*QUICK[:-1], "3"]
    with monkeypatch.context() as patch:
        interrupt_after(patch, lambda event: isinstance(event, StepDone) and event.epoch == 2)
        assert main([*three, "--out", "run"]) == 130
    assert "landscape train --resume --out run" in capsys.readouterr().err
    # The settings need not be given again.
    assert main(["train", "--resume", "--out", "run"]) == 0
    assert "from epoch 1" in capsys.readouterr().err
    assert main([*three, "--out", "whole", "-q"]) == 0
    one, two = (torch.load(tmp_path / f / "final.pt", weights_only=True)["state_dict"] for f in ("run", "whole"))
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def test_resume_refuses_other_settings(capsys, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, lambda event: isinstance(event, EpochFinished))
        assert main([*QUICK, "--out", "run"]) == 130
    capsys.readouterr()
    assert main(["train", "--resume", "--out", "run", "--lr", "0.7"]) == 2
    assert "lr: 0.1 there, 0.7 asked" in capsys.readouterr().err


def test_resuming_a_finished_run_says_so(capsys):
    assert main([*QUICK, "--out", "run"]) == 0
    assert main(["train", "--resume", "--out", "run"]) == 0
    assert "nothing to do" in capsys.readouterr().err


def help_of(option):
    """The help of one option as one line."""
    command = typer.main.get_command(app).commands["train"]
    return next(parameter.help for parameter in command.params if option in parameter.opts)


def test_help_names_the_defaults_that_hold():
    config = TrainConfig()
    for name in ("model", "data", "optimizer", "batch_size", "epochs", "seed"):
        assert f"Default: {getattr(config, name)}." in help_of(f"--{name.replace('_', '-')}"), name
    for name in ("lr", "momentum", "weight_decay"):
        words = help_of(f"--{name.replace('_', '-')}").partition("Default: ")[2]
        for family in OPTIMIZERS.values():
            field = family.options.model_fields.get(name)
            assert field is None or str(field.default) in words, (name, family.name)


def test_every_setting_has_an_option():
    parameters = inspect.signature(train).parameters
    # Of a recipe only: the type of the weights, and what a run fills in by itself.
    assert TrainConfig.model_fields.keys() - {"dtype", "norm_transfer_hash"} <= parameters.keys()
    assert all(parameters[name].default is None for name in TrainConfig.model_fields if name in parameters)


def test_options_reach_the_settings(tmp_path):
    options = ["--decay", "adaptive-beta", "--decay-mode", "decoupled", "--decay-lambda", "0.5"]
    more = ["--decay-threshold", "0.2", "--model", "resnet8:width=0.125", "--epochs", "0", "--out", "run"]
    assert main(["train", *options, *more]) == 0
    settings = config_of(tmp_path / "run")
    chosen = {"decay": "adaptive-beta", "decay_mode": "decoupled", "decay_lambda": 0.5, "decay_threshold": 0.2}
    assert {name: settings[name] for name in chosen} == chosen


def test_help_names_the_policies_and_their_defaults():
    assert all(name in help_of("--decay") for name in DECAYS)
    for option, field in (("--decay-lambda", "decay_lambda"), ("--decay-threshold", "decay_threshold")):
        fields = (policy.options.model_fields.get(field) for policy in DECAYS.values())
        assert all(str(field.default) in help_of(option) for field in fields if field is not None)


def test_schedule_options_reach_the_settings(tmp_path):
    options = ["--schedule", "step", "--lr-steps", "1,2", "--lr-factor", "0.2", "--warmup", "0.5"]
    assert main([*QUICK[:-1], "3", *options, "--lr-scaling", "linear", "--lr-batch", "800", "--out", "run", "-q"]) == 0
    settings = config_of(tmp_path / "run")
    assert (settings["lr_steps"], settings["lr_factor"], settings["warmup"]) == ([1, 2], 0.2, 0.5)
    rates = [row["lr"] for row in read_history(tmp_path / "run" / "history.csv")]
    assert rates == pytest.approx([0.025, 0.05, 0.01, 0.002])


def test_batch_options_reach_the_settings(tmp_path):
    options = [
        "--batch-schedule",
        "1:100@0.05",
        "--micro-batch-size",
        "50",
        "--discard",
        "0.3",
        "--discard-epochs",
        "1",
    ]
    assert main([*QUICK, *options, "--out", "mlp", "-q"]) == 0
    settings = config_of(tmp_path / "mlp")
    assert settings["batch_schedule"] == "1:100@0.05"
    assert (settings["micro_batch_size"], settings["discard"], settings["discard_epochs"]) == (50, 0.3, 1)
    norms = ["--model", "resnet8:width=0.125", "--epochs", "0", "--micro-batch-size", "32"]
    assert main(["train", *norms, "--allow-microbatch-bn", "--out", "bn", "-q"]) == 0
    assert config_of(tmp_path / "bn")["allow_microbatch_bn"] is True


def test_norm_loss_and_precision_options_reach_the_settings(tmp_path, capsys):
    network = ["train", "--model", "resnet8:width=0.125", "--batch-size", "400", "--epochs", "1", "-q"]
    options = ["--rescale", "layer", "--rescale-target", "initial", "--rescale-every", "epoch"]
    assert main([*network, *options, "--label-smoothing", "0.1", "--precision", "bf16", "--out", "run"]) == 0
    settings = config_of(tmp_path / "run")
    assert [settings[name] for name in ("rescale", "rescale_target", "rescale_every")] == ["layer", "initial", "epoch"]
    assert (settings["label_smoothing"], settings["precision"]) == (0.1, "bf16")
    assert main([*network, "--norm-transfer", "run", "--out", "transferred"]) == 0
    assert config_of(tmp_path / "transferred")["norm_transfer"] == str(tmp_path / "run")
    capsys.readouterr()
    assert main([*network, "--norm-transfer", "runs/none", "--out", "refused"]) == 2
    assert "there is no run folder" in capsys.readouterr().err


def test_help_names_the_defaults_of_norms_loss_and_precision():
    config = TrainConfig()
    for name in ("label_smoothing", "precision"):
        assert f"Default: {getattr(config, name)}." in help_of(f"--{name.replace('_', '-')}")
    filled = fill_rescaling(TrainConfig(rescale="filter"))
    for name in ("rescale_target", "rescale_every"):
        assert f"Default: {getattr(filled, name)}." in help_of(f"--{name.replace('_', '-')}")


def test_help_names_the_schedules_and_their_defaults():
    assert all(name in help_of("--schedule") for name in SCHEDULES)
    for option in ("warmup_power", "lr_start", "lr_end", "lr_power", "lr_factor"):
        fields = (family.options.model_fields.get(option) for family in SCHEDULES.values())
        defaults = {field.default for field in fields if field is not None}
        assert all(str(default) in help_of(f"--{option.replace('_', '-')}") for default in defaults), option


def test_options_of_the_run_have_the_defaults_of_its_settings():
    run = TrainRun()
    defaults = {name: p.default for name, p in inspect.signature(train).parameters.items()}
    assert defaults["devices"] is None, "the device of the run's settings"
    # An option that may be repeated is None where it is not given.
    names = [name for name in TrainRun.model_fields if name not in ("device", "log")]
    assert {name: defaults[name] for name in names} == run.model_dump(include=set(names))
    assert defaults["log"] is None
