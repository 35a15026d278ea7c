"""Tests that a mistake on the command line ends in one line, with exit code 2, and leaves no file."""

from pathlib import Path

import pytest
import torch
from command_line import ROOT, Result, fit_arguments, run_in_process

NAIVE = (ROOT / "configs" / "naive.yaml").read_text()
FIT = ["fit", f"--config={ROOT / 'configs' / 'naive.yaml'}", "--data.names=few.txt"]

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Content of a checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    assert run_in_process(folder, *fit_arguments("naive", 1)).code == 0
    path = folder / "runs" / "naive" / "version_0" / "checkpoints" / "last.ckpt"
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path: Path, few_names: Path, trained: bytes) -> Path:
    """Working directory with files to be mistaken about."""
    (tmp_path / "dotted.txt").write_text("a\nb.c\n")
    (tmp_path / "short.txt").write_text("ann\nbea\n")
    (tmp_path / "bad.yaml").write_text("trainer: [1, 2\n  x: {")
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "latin.yaml").write_bytes(b"# caf\xe9\nmodel: {}\n")
    (tmp_path / "good.ckpt").write_bytes(trained)
    (tmp_path / "torn.ckpt").write_bytes(trained[:2000])
    (tmp_path / "text.ckpt").write_text("hello")
    (tmp_path / "empty.ckpt").write_bytes(b"")
    torch.save({"state_dict": {}, "global_step": 1}, tmp_path / "other.ckpt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.ckpt")
    return tmp_path


def assert_one_line(folder: Path, message: str, *arguments: str) -> Result:
    """Runs a command and compares its end with the expected one."""
    files = sorted(folder.rglob("*"))
    result = run_in_process(folder, *arguments)
    assert result.code == 2, result.err
    (line,) = result.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert result.out == ""
    assert sorted(folder.rglob("*")) == files
    return result


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of {fit,validate,test,predict,diagnose}"),
        (["fti"], "invalid choice: 'fti'"),
        (["fit"], "fit needs a lesson, such as --config configs/kaiming.yaml"),
        (["fit", "--trainer.max_steps=5"], "batchnorm, deep, deep_batchnorm, kaiming"),
        ([FIT[1], "fit"], "the subcommand comes first"),
        (["fit", "--config"], "--config: expected one argument"),
        (
            ["fit", "--config=nope.yaml"],
            "--config nope.yaml: No such file or directory",
        ),
        (["fit", "--config=."], "--config .: Is a directory"),
        (["fit", "--config=bad.yaml"], "--config bad.yaml, line 2: no valid YAML"),
        (["fit", "--config=list.yaml"], "--config list.yaml: expected the sections"),
        (["fit", "--config=empty.yaml"], "--config empty.yaml: expected the sections"),
        (["fit", "--config=latin.yaml"], "--config latin.yaml: no YAML, 'utf-8' codec"),
        (["predict"], "predict needs a trained network: give its checkpoint"),
        (["test"], "test needs a trained network: give its checkpoint"),
        (["predict", "--ckpt_path=good.ckpt", "--sample.count=0"], "count must be 1"),
        (["predict", "--ckpt_path=good.ckpt", "--count=3"], "mean --sample.count?"),
        (["test", "--ckpt_path=other.ckpt"], "not a checkpoint of this project"),
    ],
)
def test_any_subcommand(folder: Path, arguments: list[str], message: str) -> None:
    assert_one_line(folder, message, *arguments)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        # Checkpoints
        ("--ckpt_path=nope.ckpt", "--ckpt_path nope.ckpt: no such file"),
        ("--ckpt_path=.", "--ckpt_path .: a folder"),
        ("--ckpt_path=torn.ckpt", "torn.ckpt: no checkpoint, or a damaged one"),
        ("--ckpt_path=text.ckpt", "text.ckpt: no checkpoint, or a damaged one"),
        ("--ckpt_path=empty.ckpt", "empty.ckpt: no checkpoint, or a damaged one"),
        ("--ckpt_path=module.ckpt", "module.ckpt: no checkpoint, or a damaged one"),
        ("--ckpt_path=other.ckpt", "other.ckpt: not a checkpoint of this project"),
        # Folders
        ("--trainer.logger.save_dir=few.txt", "few.txt/naive/version_0: Not a dir"),
        ("--trainer.logger.save_dir=/proc/x", "/proc/x/naive/version_0: No such file"),
        # Options
        (
            "--trainer.max_step=5",
            "--trainer.max_step=5. Did you mean --trainer.max_steps?",
        ),
        ("--max_steps=5", "Did you mean --trainer.max_steps?"),
        ("--modle.init=tanh", "Did you mean --model?"),
        ("--model.widht=3", "unrecognized arguments: --model.widht=3"),
        ("--trainer.max_steps=five", "--trainer.max_steps: expected int, got five"),
        ("--trainer.max_steps=-5", "--trainer.max_steps must be 1 or more, or -1"),
        ("--trainer.max_steps=0", "--trainer.max_steps must be 1 or more, or -1"),
        ("--trainer.val_check_interval=0", "must be more than 0, got 0"),
        (
            "--trainer.val_check_interval=2.5",
            "invalid value 2.5 for val_check_interval",
        ),
        ("--trainer.accumulate_grad_batches=0", "must be 1 or more, got 0"),
        ("--trainer.gradient_clip_val=-1", "must be 0 or more, got -1"),
        ("--trainer.log_every_n_steps=-1", "must be 0 or more, got -1"),
        ("--trainer.devices=0", "devices"),
        ("--trainer.devices=two", "devices"),
        ("--trainer.accelerator=toaster", "accelerator='toaster'"),
        ("--trainer.precision=12", "--trainer.precision: expected one of 64, 32, 16"),
        ("--trainer.strategy=quick", "strategy='quick'"),
        ("--trainer.logger=Tensorboard", "no class Tensorboard is known"),
        ("--trainer.callbacks+=GradStat", "no class GradStat is known"),
        ("--trainer.callbacks.every_n_steps=0", "every_n_steps must be a whole number"),
        ("--model.gain=big", "--model.gain: expected float, got big"),
        ("--model.init=xavier", "--model.init: expected one of 'naive', 'logits'"),
        ("--model.activation=Step", "activation='Step' is not among those"),
        ("--model.hidden_sizes=[0]", "hidden_sizes must be 1 or more"),
        ("--model.lr_drop=2", "lr_drop must be a fraction of the run"),
        ("--model.optimizer=Adamm", "no class Adamm is known"),
        ("--model.optimizer.lr=-1", "model.optimizer: Invalid learning rate: -1.0"),
        ("--threads=0", "--threads: "),
        ("--seed_everything=x", "--seed_everything: expected bool or int, got x"),
        ("--seed_everything=-1", "--seed_everything must be from 0 to 4294967295"),
        # Data
        ("--data.names=nope.txt", "nope.txt: no such file of names"),
        ("--data.names=dotted.txt", "dotted.txt, line 2: the name 'b.c' contains"),
        ("--data.names=short.txt", "short.txt: 2 names split 0.8/0.1/0.1 leave"),
        ("--data.batch_size=0", "batch_size must be 1 or more, got 0"),
        ("--data.sampling=random", "--data.sampling: expected one of 'replacement'"),
    ],
)
def test_fit(folder: Path, option: str, message: str) -> None:
    assert_one_line(folder, message, *FIT, "--trainer.max_steps=2", option)


def test_batchnorm_with_one_row(folder: Path) -> None:
    message = "BatchNorm needs batches of 2 rows or more, got batch_size 1"
    assert_one_line(
        folder, message, *FIT, "--model.batchnorm=true", "--data.batch_size=1"
    )


@pytest.mark.parametrize(
    ("line", "replacement", "message"),
    [
        ("  every_n_steps: 100", "  every_n_steps: 0", "1 or more, got 0"),
        (
            "  every_n_steps: 100",
            "  every_n_step: 100",
            "Option 'every_n_step' is not accepted by ActivationHistogram",
        ),
        (
            "  every_n_steps: 100",
            "  every_n_steps: often",
            "--trainer.callbacks.every_n_steps: expected int, got often",
        ),
        ("max_steps: 200000", "max_step: 200000", "mean --trainer.max_steps?"),
        ("model:", "modle:", "Did you mean --model?"),
        ("class_path: GradStats", "class_path: GradStat", "no class GradStat is known"),
        ("torch.optim.SGD", "torch.optim.SDG", "has no attribute 'SDG'"),
        ("lr: 0.1", "rate: 0.1", "Option 'rate' is not accepted by torch.optim.SGD"),
    ],
)
def test_misspelt_line_of_a_config(
    folder: Path, line: str, replacement: str, message: str
) -> None:
    assert NAIVE.count(line)
    (folder / "edited.yaml").write_text(NAIVE.replace(line, replacement, 1))
    options = ["--data.names=few.txt", "--trainer.logger.save_dir=runs"]
    assert_one_line(folder, message, "fit", "--config=edited.yaml", *options)


def test_a_failed_start_beside_another_run_leaves_that_run(folder: Path) -> None:
    assert run_in_process(folder, *FIT, "--trainer.max_steps=1").code == 0
    assert_one_line(folder, "short.txt", *FIT, "--data.names=short.txt")


def test_a_failure_after_the_first_step_leaves_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(
        "makemore_lightning.module.MakemoreModule.on_validation_epoch_end", fail
    )
    options = ["--trainer.max_steps=3", "--trainer.num_sanity_val_steps=0"]
    with pytest.raises(RuntimeError, match="no"):
        run_in_process(folder, *FIT, *options)
    assert (folder / "runs" / "naive" / "version_0" / "config.yaml").is_file()
