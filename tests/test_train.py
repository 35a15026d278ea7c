"""The command line, as a person uses it."""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(ROOT.glob("configs/*.yaml"))
pytestmark = pytest.mark.usefixtures("without_pictures")


@dataclass
class Done:
    """How a command ended and what it said."""

    code: int | str | None
    out: str
    err: str


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), *arguments]


def run(folder: Path, *arguments: str) -> Done:
    """Runs the command as a process of its own."""
    done = subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True, timeout=120)
    return Done(done.returncode, done.stdout, done.stderr)


def run_here(folder: Path, *arguments: str) -> Done:
    """Runs the command in this process, which saves the seconds that it takes to import PyTorch."""
    code: int | str | None = 0
    with (
        contextlib.chdir(folder),
        mock.patch.object(sys, "argv", ["train.py", *arguments]),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            train.main()
        except SystemExit as ended:
            code = ended.code
    return Done(code, out.getvalue(), err.getvalue())


def fit_arguments(lesson: str = "kaiming", steps: int = 120, *more: str) -> list[str]:
    return ["fit", f"--config={ROOT / 'configs' / lesson}.yaml", f"--trainer.max_steps={steps}", *more]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A folder in which kaiming.yaml was fitted for a moment, and what that said."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, run(folder, *fit_arguments())


Trained = tuple[Path, Done]
VERSION = Path("runs", "kaiming", "version_0")


class TestFit:
    def test_says_where_everything_is_in_one_line(self, trained: Trained) -> None:
        folder, done = trained
        assert done.code == 0, done.err
        last_line = done.out.strip().splitlines()[-1]
        found = re.fullmatch(r"See the charts with: tensorboard --logdir (\S+) +Best checkpoint: (\S+)", last_line)
        assert found
        assert (folder / found[1] / "kaiming").is_dir()
        assert (folder / found[2]).is_file()

    def test_says_nothing_superfluous(self, trained: Trained) -> None:
        assert "litlogger" not in trained[1].err
        assert "arn" not in trained[1].err

    def test_leaves_charts_graph_and_hyperparameters(self, trained: Trained) -> None:
        events = EventAccumulator(str(trained[0] / VERSION)).Reload()
        scalars = events.Tags()["scalars"]
        assert {"train/loss", "val/loss", "val/perplexity", "val/bits_per_character", "val/accuracy"} <= set(scalars)
        assert any(tag.startswith("lr-") for tag in scalars)
        assert events.Scalars("train/loss")[0].step == 0
        assert events.Graph()
        assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")

    def test_leaves_two_checkpoints(self, trained: Trained) -> None:
        checkpoints = trained[0] / VERSION / "checkpoints"
        assert sorted(path.name for path in checkpoints.iterdir()) == ["best.ckpt", "last.ckpt"]
        assert torch.load(checkpoints / "last.ckpt", weights_only=True)["global_step"] == 120

    def test_the_config_that_is_kept_gives_the_same_run(self, trained: Trained) -> None:
        folder, _ = trained
        done = run_here(folder, "fit", f"--config={folder / VERSION / 'config.yaml'}")
        assert done.code == 0, done.err
        first, second = (
            torch.load(folder / "runs/kaiming" / version / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
            for version in ("version_0", "version_1")
        )
        assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("subcommand", ["validate", "test"])
def test_evaluates_a_checkpoint_alone_and_leaves_no_record(trained: Trained, subcommand: str) -> None:
    folder, _ = trained
    before = sorted(folder.rglob("*"))
    done = run_here(folder, subcommand, f"--ckpt_path={VERSION / 'checkpoints' / 'best.ckpt'}")
    assert done.code == 0, done.err
    assert "bits_per_character" in done.out
    assert sorted(folder.rglob("*")) == before


def test_evaluates_on_the_data_of_the_training(tmp_path: Path, few_names: Path) -> None:
    data = [f"--data.names={few_names}", "--data.split_seed=7"]
    assert run_here(tmp_path, *fit_arguments("kaiming", 30, *data)).code == 0
    checkpoint = f"--ckpt_path={VERSION / 'checkpoints' / 'best.ckpt'}"
    alone, told = (run_here(tmp_path, "test", checkpoint, *more).out for more in ([], data))
    assert "test/loss" in alone
    assert alone == told
    assert run_here(tmp_path, "test", checkpoint, "--data.split_seed=8").out != alone


class TestGoOn:
    """What a person might do to a run that is to go on."""

    LAST = VERSION / "checkpoints" / "last.ckpt"

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        assert run_here(tmp_path, *fit_arguments("kaiming", 20)).code == 0
        return tmp_path

    def test_the_kept_config_stays_that_of_the_run(self, folder: Path) -> None:
        kept = (folder / VERSION / "config.yaml").read_text()
        assert run_here(folder, *fit_arguments("kaiming", 30), f"--ckpt_path={self.LAST}").code == 0
        assert (folder / VERSION / "config.yaml").read_text() == kept
        assert yaml.safe_load(kept)["trainer"]["val_check_interval"] == 10_000
        assert not (folder / "runs" / "kaiming" / "version_1").exists()

    def test_steps_taken_again_stand_once_on_the_charts(self, folder: Path) -> None:
        early = folder / self.LAST.with_name("early.ckpt")
        shutil.copy(folder / self.LAST, early)
        for _ in range(2):
            assert run_here(folder, *fit_arguments("kaiming", 250), f"--ckpt_path={early}").code == 0
        events = EventAccumulator(str(folder / VERSION)).Reload()
        assert [event.step for event in events.Scalars("train/loss")] == [0, 100, 200]

    @pytest.mark.parametrize(
        "other", [["--model.gain=1.0"], ["--model.hidden_sizes=[50]"], ["--data.split_seed=7"], ["--data.unique=true"]]
    )
    def test_another_network_or_other_data_are_refused(self, folder: Path, other: list[str]) -> None:
        done = run_here(folder, *fit_arguments("kaiming", 30, *other), f"--ckpt_path={self.LAST}")
        assert done.code == 2
        name = other[0].removeprefix("--").split("=")[0]
        assert f"error: the checkpoint was trained with {name}=" in done.err

    def test_another_logger_is_given_a_folder_of_its_own(self, folder: Path) -> None:
        logger = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=runs"]
        assert run_here(folder, *fit_arguments("kaiming", 30, *logger), f"--ckpt_path={self.LAST}").code == 0


@pytest.mark.parametrize(
    "options",
    [
        ["--trainer.logger=false"],
        ["--trainer.fast_dev_run=true"],
        ["--trainer.enable_progress_bar=false"],
        ["--trainer.max_steps=-1", "--trainer.max_epochs=2"],
        ["--trainer.accumulate_grad_batches=2", "--trainer.gradient_clip_val=1.0"],
        ["--data.sampling=shuffle", "--data.unique=true"],
        ["--model.optimizer=AdamW", "--model.optimizer.init_args.lr=0.001"],
        ["--model.hidden_sizes=[50, 50]", "--model.activation=GELU"],
        ["--trainer.callbacks+=RichProgressBar"],
    ],
    ids=lambda options: " ".join(options),
)
@pytest.mark.parametrize("lesson", ["kaiming", "batchnorm"])
def test_other_ways_to_fit(tmp_path: Path, few_names: Path, lesson: str, options: list[str]) -> None:
    done = run_here(tmp_path, *fit_arguments(lesson, 20, f"--data.names={few_names}", *options))
    assert done.code == 0, done.err
    if "--trainer.max_epochs=2" in options:
        assert (tmp_path / "runs" / lesson / "version_0" / "checkpoints" / "best.ckpt").is_file()


class TestPredict:
    def names(self, trained: Trained, *arguments: str) -> list[str]:
        done = run_here(trained[0], "predict", f"--ckpt_path={VERSION / 'checkpoints' / 'best.ckpt'}", *arguments)
        assert done.code == 0, done.err
        return done.out.splitlines()

    def test_prints_and_saves_names(self, trained: Trained) -> None:
        names = self.names(trained)
        saved = (trained[0] / VERSION / "checkpoints" / "generated.txt").read_text().splitlines()
        assert len(names) == 20
        assert names == saved
        assert all(re.fullmatch("[a-z]*", name) for name in names)

    def test_count_seed_temperature_and_file(self, trained: Trained, tmp_path: Path) -> None:
        file = tmp_path / "some.txt"
        options = ["--sample.count=5", "--sample.seed=7", f"--sample_file={file}"]
        names = self.names(trained, *options)
        assert len(names) == 5
        assert file.read_text().splitlines() == names == self.names(trained, *options)
        assert names != self.names(trained, *options, "--sample.seed=8")
        assert len(set(self.names(trained, *options, "--sample.temperature=0"))) == 1

    def test_takes_a_config_as_well(self, trained: Trained) -> None:
        assert self.names(trained, f"--config={ROOT / 'configs' / 'kaiming.yaml'}") == self.names(trained)

    def test_needs_a_checkpoint(self, tmp_path: Path) -> None:
        done = run_here(tmp_path, "predict")
        assert done.code == 2
        assert done.err.splitlines()[-1].startswith("error: predict needs a trained network: give its checkpoint")


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--data.names=nowhere.txt"], "error: nowhere.txt: no such file of names"),
            (["--data.names=dotted.txt"], "error: dotted.txt, line 2: the name 'b.c' contains"),
            (["--data.names=short.txt"], "error: short.txt: 2 names split 0.8/0.1/0.1 leave"),
            (["--data.batch_size=0"], "batch_size must be 1 or more, got 0"),
            (["--model.activation=Step"], "activation='Step' is not among those"),
            (["--model.init=xavier"], "Got value: xavier"),
            (["--model.widht=3"], "model.widht"),
            (["--threads=0"], "threads"),
            (["--ckpt_path=nope.ckpt"], "error: --ckpt_path nope.ckpt: no such file"),
            (["--sample.count=0"], "count must be 1 or more, got 0"),
        ],
    )
    def test_end_with_what_was_wrong(self, tmp_path: Path, arguments: list[str], message: str) -> None:
        (tmp_path / "dotted.txt").write_text("a\nb.c\n")
        (tmp_path / "short.txt").write_text("ann\nbea\n")
        done = run_here(tmp_path, *fit_arguments("kaiming", 10, *arguments))
        assert done.code == 2
        assert message in done.err
        assert "Traceback" not in done.err


def four_hundred_steps(*more: str) -> list[str]:
    options = ["--trainer.max_steps=400", "--trainer.val_check_interval=50", *more]
    return command("fit", f"--config={ROOT / 'configs' / 'kaiming.yaml'}", *options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    subprocess.run(four_hundred_steps(), cwd=folder, check=True, capture_output=True, timeout=120)
    return folder


@pytest.mark.slow
class TestStopped:
    """Processes that are stopped for real go on to the same weights."""

    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_goes_on_to_the_same_weights_and_charts(self, whole: Path, tmp_path: Path, how: signal.Signals) -> None:
        last, stopped = VERSION / "checkpoints" / "last.ckpt", tmp_path
        process = subprocess.Popen(four_hundred_steps(), cwd=stopped, stderr=subprocess.PIPE, text=True)
        while not (stopped / last).exists():
            assert process.poll() is None, "ended before its first checkpoint"
            time.sleep(0.01)
        os.kill(process.pid, how)
        _, said = process.communicate(timeout=120)
        if process.returncode == 0:
            pytest.skip("the run was over before the signal came")
        if how != signal.SIGKILL:
            assert process.returncode == 128 + how
            assert f"--ckpt_path {last}" in said
        again = four_hundred_steps(f"--ckpt_path={last}")
        subprocess.run(again, cwd=stopped, check=True, capture_output=True, timeout=120)

        ends = [torch.load(folder / last, weights_only=True) for folder in (whole, stopped)]
        for name, value in ends[0]["state_dict"].items():
            assert torch.equal(value, ends[1]["state_dict"][name]), name
        assert [path.name for path in (stopped / "runs" / "kaiming").iterdir()] == ["version_0"]
        charts = [EventAccumulator(str(folder / VERSION)).Reload() for folder in (whole, stopped)]
        for tag in ("train/loss", "val/loss"):
            points = [[(event.step, event.value) for event in chart.Scalars(tag)] for chart in charts]
            assert points[0] == points[1], tag


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
class TestConfigs:
    def test_trains(self, path: Path, tmp_path: Path) -> None:
        done = run_here(tmp_path, *fit_arguments(path.stem, 20))
        assert done.code == 0, done.err
        assert (tmp_path / "runs" / path.stem / "version_0" / "checkpoints" / "best.ckpt").is_file()

    def test_every_line_gives_its_reason(self, path: Path) -> None:
        evident = re.compile(
            r"\s*(#.*)?$|.*: *$|\s*- class_path: \S+$|\s+(class_path|activation|init|head_scale|"
            r"monitor|filename|logging_interval|every_n_steps|batch_size|batchnorm|gamma): "
        )
        silent = [line for line in path.read_text().splitlines() if "  # " not in line and not evident.match(line)]
        assert not silent

    def test_is_complete(self, path: Path) -> None:
        config = yaml.safe_load(path.read_text())
        assert list(config) == ["seed_everything", "threads", "trainer", "model", "data"]
        assert config["trainer"]["max_steps"] == 200_000
        assert config["trainer"]["logger"]["init_args"]["name"] == path.stem


def test_lessons_are_all_there() -> None:
    assert {path.stem for path in CONFIGS} == {
        *("naive", "logits", "tanh", "kaiming", "batchnorm", "deep", "deep_batchnorm")
    }
