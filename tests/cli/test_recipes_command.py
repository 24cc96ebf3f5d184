"""`landscape recipes` and `landscape train --recipe`: what is listed, what wins, what is refused."""

import subprocess
import sys

import pytest
import torch
import yaml

from landscape.config.paper_recipes import paper_recipes
from landscape_cli.main import main


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_all_recipes_are_listed(capsys):
    assert main(["recipes"]) == 0
    out = capsys.readouterr().out
    assert all(f"{name} " in out for name in paper_recipes())
    (line,) = [line for line in out.splitlines() if line.startswith("tp-table2-two-phase ")]
    assert all(word in line for word in ("TP table 2", "two-phase", "92.48 ± 0.2", "resnet20", "cifar10"))


def test_a_table_lists_its_own(capsys):
    assert main(["recipes", "cs-table2"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("cs-", "tp-", "wd-"))]
    assert [line.split()[0] for line in lines] == ["cs-table2-no-bias-decay", "cs-table2-beta-decay"]


def test_one_recipe_shows_settings_and_commands(capsys):
    assert main(["recipes", "tp-table2-lars"]) == 0
    out = capsys.readouterr().out
    assert "landscape train --recipe tp-table2-lars --data cifar10:FOLDER\n" in out
    assert "landscape train --recipe tp-table2-lars --small\n" in out
    (line,) = [line for line in out.splitlines() if line.split()[:1] == ["batch_size"]]
    assert line.split() == ["batch_size", "8192", "512"]
    assert "our reading" in out
    assert "92.1 ± 0.1" in out


def test_the_list_needs_no_torch():
    program = "import sys; from landscape_cli.main import main; main(['recipes']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


def test_a_small_recipe_is_trained_and_options_go_before_it(tmp_path):
    command = ["train", "--recipe", "cb-figure10-b8000-discard", "--small", "--epochs", "1", "--set", "seed=3"]
    assert main([*command, "--out", "run", "-q"]) == 0
    settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    chosen = {name: settings[name] for name in ("data", "batch_size", "discard", "discard_epochs", "epochs", "seed")}
    assert chosen == {
        "data": "digits",
        "batch_size": 256,
        "discard": 0.3,
        "discard_epochs": 10,
        "epochs": 1,
        "seed": 3,
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["recipes", "cs-table22"], "unknown recipe or table 'cs-table22'. Did you mean cs-table2"),
        (["train", "--recipe", "tp-table2-larss", "--small"], "Did you mean tp-table2-lars"),
        (["train", "--small"], "--small is a variant of a recipe"),
        (["train", "--recipe", "tp-table2-lars", "--config", "x.yaml"], "expected --recipe or --config, got both"),
        (["train", "--recipe", "cb-figure10-b2000"], "--data cifar10:FOLDER, or take --small"),
        (["train", "--recipe", "cb-figure10-b2000", "--small", "--data", "mnist"], "--data mnist:FOLDER."),
        (["train", "--recipe", "wd-figure4-wn-conv", "--small"], "--recipe wd-figure4-wd-all --small --out RUN"),
    ],
)
def test_bad_input_ends_with_two_and_a_line(tmp_path, capsys, arguments, words):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []
