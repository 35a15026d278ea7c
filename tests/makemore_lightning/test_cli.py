"""Tests of the command line: fit, validate, test and predict."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from command_line import (
    BEST_CHECKPOINT,
    LAST_CHECKPOINT,
    ROOT,
    RUN_FOLDER,
    Result,
    fit_arguments,
    run_in_process,
    run_in_subprocess,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytestmark = pytest.mark.usefixtures("without_pictures")

TrainedRun = tuple[Path, Result]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """Working directory and output of a short fit of kaiming.yaml."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, run_in_subprocess(folder, *fit_arguments())


class TestFit:
    def test_last_lines_are_commands(self, trained: TrainedRun, tmp_path: Path) -> None:
        folder, result = trained
        assert result.code == 0, result.err
        report, charts, predict = result.out.strip().splitlines()[-3:]
        program = str(ROOT / "train.py")
        run = str(RUN_FOLDER)
        assert shlex.split(report) == ["python", program, "report", run]
        assert run_in_process(folder, "report", run).code == 0
        assert (folder / RUN_FOLDER / "report.html").is_file()
        assert shlex.split(charts) == ["tensorboard", "--logdir", "runs"]
        python, *arguments = shlex.split(predict)
        checkpoint = str(BEST_CHECKPOINT)
        assert python == "python"
        assert arguments == [program, "predict", "--ckpt_path", checkpoint]
        names = f"--sample_file={tmp_path / 'names.txt'}"
        assert run_in_process(folder, *arguments[1:], names).code == 0

    def test_summary_shows_the_layers_in_80_columns(self, trained: TrainedRun) -> None:
        lines = trained[1].out.splitlines()
        layers = [
            line.split()[0]
            for line in lines
            if re.match("embedding|hidden|head ", line)
        ]
        assert layers == ["embedding", "hidden.linear0", "hidden.tanh0", "head"]
        assert max(len(line) for line in lines[:6]) <= 80

    def test_says_the_initial_loss_of_the_readme(self, trained: TrainedRun) -> None:
        line = "initial loss 3.30 (knowing nothing: ln 27 = 3.30)"
        assert line in trained[1].err.splitlines()

    def test_no_advertisement_and_no_warning(self, trained: TrainedRun) -> None:
        assert "litlogger" not in trained[1].err
        assert "arn" not in trained[1].err

    def test_logs_metrics_graph_and_hyperparameters(self, trained: TrainedRun) -> None:
        events = EventAccumulator(str(trained[0] / RUN_FOLDER)).Reload()
        scalars = events.Tags()["scalars"]
        assert {
            "train/loss",
            "train/loss_mean",
            "train/lr",
            "val/loss",
            "val/perplexity",
            "val/bits_per_character",
            "val/accuracy",
        } <= set(scalars)
        assert [event.step for event in events.Scalars("val/loss")] == [
            0,
            *range(11, 120, 12),
        ]
        assert events.Scalars("train/loss")[0].step == 0
        assert events.Graph()
        assert "_hparams_/session_start_info" in events.PluginTagToContent("hparams")

    def test_saves_two_checkpoints(self, trained: TrainedRun) -> None:
        checkpoints = trained[0] / RUN_FOLDER / "checkpoints"
        assert sorted(path.name for path in checkpoints.iterdir()) == [
            "best.ckpt",
            "last.ckpt",
        ]
        assert (
            torch.load(checkpoints / "last.ckpt", weights_only=True)["global_step"]
            == 120
        )

    def test_saved_config_reproduces_the_run(self, trained: TrainedRun) -> None:
        folder, _ = trained
        result = run_in_process(
            folder, "fit", f"--config={folder / RUN_FOLDER / 'config.yaml'}"
        )
        assert result.code == 0, result.err
        original = torch.load(folder / LAST_CHECKPOINT, weights_only=True)["state_dict"]
        second_run = folder / RUN_FOLDER.with_name("version_1")
        reproduced = torch.load(
            second_run / "checkpoints" / "last.ckpt", weights_only=True
        )["state_dict"]
        assert all(torch.equal(original[name], reproduced[name]) for name in original)


@pytest.mark.parametrize("subcommand", ["validate", "test"])
def test_evaluation_needs_only_a_checkpoint_and_writes_no_file(
    trained: TrainedRun, subcommand: str
) -> None:
    folder, _ = trained
    files_before = sorted(folder.rglob("*"))
    result = run_in_process(folder, subcommand, f"--ckpt_path={BEST_CHECKPOINT}")
    assert result.code == 0, result.err
    assert "bits_per_character" in result.out
    assert sorted(folder.rglob("*")) == files_before


def test_evaluation_uses_the_data_of_the_training(
    tmp_path: Path, few_names: Path
) -> None:
    data = [f"--data.names={few_names}", "--data.split_seed=7"]
    assert run_in_process(tmp_path, *fit_arguments("kaiming", 30, *data)).code == 0
    checkpoint = f"--ckpt_path={BEST_CHECKPOINT}"
    default_output = run_in_process(tmp_path, "test", checkpoint).out
    assert "test/loss" in default_output
    assert default_output == run_in_process(tmp_path, "test", checkpoint, *data).out
    assert (
        run_in_process(tmp_path, "test", checkpoint, "--data.split_seed=8").out
        != default_output
    )


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
        ["--model.hidden_sizes=[50, 50]", "--model.activation=Identity"],
        ["--trainer.callbacks+=RichProgressBar"],
    ],
    ids=lambda options: " ".join(options),
)
@pytest.mark.parametrize("lesson", ["kaiming", "batchnorm"])
def test_fit_with_options(
    tmp_path: Path, few_names: Path, lesson: str, options: list[str]
) -> None:
    result = run_in_process(
        tmp_path, *fit_arguments(lesson, 20, f"--data.names={few_names}", *options)
    )
    assert result.code == 0, result.err
    if "--trainer.fast_dev_run=true" not in options:
        version = (
            ["version_0"]
            if "--trainer.logger=false" in options
            else [lesson, "version_0"]
        )
        checkpoints = tmp_path.joinpath("runs", *version, "checkpoints")
        assert (checkpoints / "best.ckpt").is_file()
    assert {path.name for path in tmp_path.iterdir()} <= {"runs", few_names.name}


class TestLoggers:
    """Loggers other than that of the config."""

    def fit(self, folder: Path, names: Path, *options: str) -> Result:
        arguments = fit_arguments("kaiming", 5, f"--data.names={names}", *options)
        return run_in_process(folder, *arguments)

    def test_runs_without_logger_have_folders_of_their_own(
        self, tmp_path: Path, few_names: Path
    ) -> None:
        for version in range(2):
            result = self.fit(tmp_path, few_names, "--trainer.logger=false")
            folder = tmp_path / "runs" / f"version_{version}"
            assert (folder / "checkpoints" / "last.ckpt").is_file()
            assert "tensorboard" not in result.out
            assert f"version_{version}/checkpoints/best.ckpt" in result.out
            config = yaml.safe_load((folder / "config.yaml").read_text())
            assert config["trainer"]["default_root_dir"] is None

    def test_csv_logger_does_not_warn_of_the_config(
        self, tmp_path: Path, few_names: Path, recwarn: pytest.WarningsRecorder
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:
            # The warning is raised where the command line would have ignored it.
            patch.setattr("warnings.simplefilter", lambda *_: None)
            result = self.fit(tmp_path, few_names, "--trainer.logger=CSVLogger")
        assert result.code == 0, result.err
        assert not [w for w in recwarn if "Experiment logs" in str(w.message)]
        folder = tmp_path / RUN_FOLDER
        assert (folder / "config.yaml").is_file()
        assert "train/loss_mean" in (folder / "metrics.csv").read_text()
        assert "tensorboard" not in result.out


class TestOptimizer:
    """An optimizer on the command line has its own learning rate, not that of the config's."""

    def rate(self, folder: Path, names: Path, *options: str) -> tuple[float, str]:
        """Runs a fit and returns the learning rate of its config and what it printed."""
        arguments = fit_arguments("kaiming", 2, f"--data.names={names}", *options)
        result = run_in_process(folder, *arguments)
        assert result.code == 0, result.err
        config = yaml.safe_load((folder / RUN_FOLDER / "config.yaml").read_text())
        return config["model"]["optimizer"]["init_args"]["lr"], result.err

    @pytest.mark.parametrize(
        "option", ["--model.optimizer=AdamW", "--model.optimizer=torch.optim.AdamW"]
    )
    def test_another_class(self, tmp_path: Path, few_names: Path, option: str) -> None:
        rate, message = self.rate(tmp_path, few_names, option)
        assert rate == 0.001
        assert "AdamW trains with its own learning rate, 0.001" in message

    @pytest.mark.parametrize(
        ("options", "rate"),
        [
            (["--model.optimizer=SGD"], 0.1),
            (["--model.optimizer=AdamW", "--model.optimizer.init_args.lr=0.02"], 0.02),
            (["--model.optimizer", "AdamW", "--model.optimizer.lr", "0.02"], 0.02),
            (["--model.optimizer.lr=0.02"], 0.02),
        ],
    )
    def test_silent_if_there_is_nothing_to_choose(
        self, tmp_path: Path, few_names: Path, options: list[str], rate: float
    ) -> None:
        assert self.rate(tmp_path, few_names, *options) == (rate, "")


@pytest.mark.slow
class TestTwoProcesses:
    def test_fit_resume_and_predict(self, tmp_path: Path, few_names: Path) -> None:
        names = f"--data.names={few_names}"
        devices = "--trainer.devices=2"
        checkpoint = f"--ckpt_path={LAST_CHECKPOINT}"
        for steps, options in ((8, []), (12, [checkpoint])):
            arguments = fit_arguments("kaiming", steps, names, devices, *options)
            result = run_in_subprocess(tmp_path, *arguments)
            assert result.code == 0, result.err
            assert result.out.count("tensorboard --logdir runs") == 1
        events = EventAccumulator(str(tmp_path / RUN_FOLDER)).Reload()
        assert [event.step for event in events.Scalars("train/loss")] == [
            *(0, 1, 2, 4, 7),
            *(8, 11),
        ]
        versions = [path.name for path in (tmp_path / "runs" / "kaiming").iterdir()]
        assert versions == ["version_0"]
        predict = ["predict", checkpoint, devices, "--sample.count=3"]
        result = run_in_subprocess(tmp_path, *predict)
        assert result.code == 0, result.err
        assert len(result.out.splitlines()) == 3


class TestPredict:
    def names(self, trained: TrainedRun, *arguments: str) -> list[str]:
        result = run_in_process(
            trained[0], "predict", f"--ckpt_path={BEST_CHECKPOINT}", *arguments
        )
        assert result.code == 0, result.err
        return result.out.splitlines()

    def test_prints_and_saves_names(self, trained: TrainedRun) -> None:
        names = self.names(trained)
        saved = (
            (trained[0] / RUN_FOLDER / "checkpoints" / "generated.txt")
            .read_text()
            .splitlines()
        )
        assert len(names) == 20
        assert names == saved
        assert all(re.fullmatch("[a-z]*", name) for name in names)

    def test_count_seed_temperature_and_file(
        self, trained: TrainedRun, tmp_path: Path
    ) -> None:
        file = tmp_path / "some.txt"
        options = ["--sample.count=5", "--sample.seed=7", f"--sample_file={file}"]
        names = self.names(trained, *options)
        assert len(names) == 5
        assert file.read_text().splitlines() == names == self.names(trained, *options)
        assert names != self.names(trained, *options, "--sample.seed=8")
        assert len(set(self.names(trained, *options, "--sample.temperature=0"))) == 1

    def test_accepts_a_config(self, trained: TrainedRun) -> None:
        assert self.names(
            trained, f"--config={ROOT / 'configs' / 'kaiming.yaml'}"
        ) == self.names(trained)

    def test_requires_a_checkpoint(self, tmp_path: Path) -> None:
        result = run_in_process(tmp_path, "predict")
        assert result.code == 2
        assert result.err.splitlines()[-1].startswith(
            "error: predict needs a trained network: give its checkpoint"
        )

    def test_prints_names_that_cannot_be_saved(self, trained: TrainedRun) -> None:
        checkpoint = f"--ckpt_path={BEST_CHECKPOINT}"
        result = run_in_process(trained[0], "predict", checkpoint, "--sample_file=runs")
        assert result.code == 2
        assert len(result.out.splitlines()) == 20
        assert result.err.startswith("error: the names above are not saved, runs: ")
