"""Tests of the command line: fit, validate, test and predict."""

import re
from pathlib import Path

import pytest
import torch
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
    def test_last_line_names_the_log_folder_and_the_best_checkpoint(
        self, trained: TrainedRun
    ) -> None:
        folder, result = trained
        assert result.code == 0, result.err
        last_line = result.out.strip().splitlines()[-1]
        match = re.fullmatch(
            r"See the charts with: tensorboard --logdir (\S+) +Best checkpoint: (\S+)",
            last_line,
        )
        assert match
        assert (folder / match[1] / "kaiming").is_dir()
        assert (folder / match[2]).is_file()

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
    if "--trainer.max_epochs=2" in options:
        assert (
            tmp_path / "runs" / lesson / "version_0" / "checkpoints" / "best.ckpt"
        ).is_file()


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


class TestInputErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--data.names=nowhere.txt"], "error: nowhere.txt: no such file of names"),
            (
                ["--data.names=dotted.txt"],
                "error: dotted.txt, line 2: the name 'b.c' contains",
            ),
            (
                ["--data.names=short.txt"],
                "error: short.txt: 2 names split 0.8/0.1/0.1 leave",
            ),
            (["--data.batch_size=0"], "batch_size must be 1 or more, got 0"),
            (["--model.activation=Step"], "activation='Step' is not among those"),
            (["--model.init=xavier"], "Got value: xavier"),
            (["--model.widht=3"], "model.widht"),
            (["--threads=0"], "threads"),
            (["--ckpt_path=nope.ckpt"], "error: --ckpt_path nope.ckpt: no such file"),
            (["--sample.count=0"], "count must be 1 or more, got 0"),
        ],
    )
    def test_exit_code_2_and_a_message_without_traceback(
        self, tmp_path: Path, arguments: list[str], message: str
    ) -> None:
        (tmp_path / "dotted.txt").write_text("a\nb.c\n")
        (tmp_path / "short.txt").write_text("ann\nbea\n")
        result = run_in_process(tmp_path, *fit_arguments("kaiming", 10, *arguments))
        assert result.code == 2
        assert message in result.err
        assert "Traceback" not in result.err
