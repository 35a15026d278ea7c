"""Tests of resuming: the rules as functions, then runs of train.py that are stopped and continued."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from command_line import (
    LAST_CHECKPOINT,
    ROOT,
    RUN_FOLDER,
    command,
    fit_arguments,
    run_in_process,
)
from jsonargparse import Namespace
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from makemore_lightning import InputError
from makemore_lightning.resume import (
    CHECKPOINT_KEYS,
    load_checkpoint,
    logger_arguments_to_continue,
    refuse_other_arguments,
    training_data_arguments,
)

pytestmark = pytest.mark.usefixtures("without_pictures")


class TestLoadCheckpoint:
    def test_returns_the_content_of_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "some.ckpt"
        content = dict.fromkeys(CHECKPOINT_KEYS, 7)
        torch.save(content, path)
        assert load_checkpoint(str(path)) == content

    def test_no_path_is_no_checkpoint(self) -> None:
        assert load_checkpoint(None) is None

    def test_missing_file_raises(self) -> None:
        with pytest.raises(InputError, match=r"--ckpt_path nope\.ckpt: no such file"):
            load_checkpoint("nope.ckpt")


class TestRefuseOtherArguments:
    def test_equal_arguments_pass(self) -> None:
        refuse_other_arguments(
            "model", {"gain": 1.0, "init": "naive"}, {"gain": 1.0, "init": "naive"}
        )

    def test_a_list_equals_a_tuple(self) -> None:
        refuse_other_arguments(
            "model", {"hidden_sizes": [200]}, {"hidden_sizes": (200,)}
        )

    def test_arguments_of_only_one_run_are_ignored(self) -> None:
        refuse_other_arguments("data", {"eval_batch_size": 1}, {"split_seed": 42})

    def test_message_lists_every_difference(self) -> None:
        with pytest.raises(
            InputError,
            match=r"model\.gain=1\.0 and not 2\.0, model\.init='naive' and not 'tanh'",
        ):
            refuse_other_arguments(
                "model", {"gain": 2.0, "init": "tanh"}, {"gain": 1.0, "init": "naive"}
            )


class TestLoggerArgumentsToContinue:
    def logger(self, **init_args: Any) -> Namespace:
        return Namespace(
            class_path="lightning.TensorBoardLogger", init_args=Namespace(**init_args)
        )

    def test_same_log_folder(self) -> None:
        logger = self.logger(save_dir="runs", name="kaiming")
        arguments = logger_arguments_to_continue(
            logger, "runs/kaiming/version_3/checkpoints/x.ckpt", {"global_step": 5}
        )
        assert arguments == {"version": "version_3", "purge_step": 5}

    def test_another_log_folder(self) -> None:
        logger = self.logger(save_dir="elsewhere", name="kaiming")
        assert (
            logger_arguments_to_continue(
                logger, "runs/kaiming/version_3/checkpoints/x.ckpt", {}
            )
            == {}
        )

    @pytest.mark.parametrize(
        "logger", [False, True, None, Namespace(class_path="CSVLogger")]
    )
    def test_no_tensorboard_logger(self, logger: Any) -> None:
        assert (
            logger_arguments_to_continue(
                logger, "runs/kaiming/version_3/checkpoints/x.ckpt", {}
            )
            == {}
        )


def test_training_data_arguments_replace_defaults_only() -> None:
    data, defaults = (
        Namespace(split_seed=42, block_size=5),
        Namespace(split_seed=42, block_size=3),
    )
    trained = {"split_seed": 7, "block_size": 4, "argument_of_another_version": 1}
    checkpoint = {"datamodule_hyper_parameters": trained}
    assert training_data_arguments(data, defaults, checkpoint) == {"split_seed": 7}


class TestResumedFit:
    """Fits that continue from a checkpoint of another fit."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        assert run_in_process(tmp_path, *fit_arguments("kaiming", 20)).code == 0
        return tmp_path

    def test_keeps_the_folder_and_the_config_of_the_run(self, folder: Path) -> None:
        config = (folder / RUN_FOLDER / "config.yaml").read_text()
        assert (
            run_in_process(
                folder, *fit_arguments("kaiming", 30), f"--ckpt_path={LAST_CHECKPOINT}"
            ).code
            == 0
        )
        assert (folder / RUN_FOLDER / "config.yaml").read_text() == config
        assert yaml.safe_load(config)["trainer"]["val_check_interval"] is None
        assert not (folder / "runs" / "kaiming" / "version_1").exists()

    def test_repeated_steps_have_one_point_on_the_charts(self, folder: Path) -> None:
        early = folder / LAST_CHECKPOINT.with_name("early.ckpt")
        shutil.copy(folder / LAST_CHECKPOINT, early)
        for _ in range(2):
            assert (
                run_in_process(
                    folder, *fit_arguments("kaiming", 250), f"--ckpt_path={early}"
                ).code
                == 0
            )
        events = EventAccumulator(str(folder / RUN_FOLDER)).Reload()
        steps = [event.step for event in events.Scalars("train/loss")]
        first_run, second_run = [0, 1, 2, 4, 8, 16, 19], [32, 64, 100, 200, 249]
        assert steps == first_run + second_run

    @pytest.mark.parametrize(
        "option",
        [
            "--model.gain=1.0",
            "--model.hidden_sizes=[50]",
            "--data.split_seed=7",
            "--data.unique=true",
        ],
    )
    def test_another_network_or_other_data_are_refused(
        self, folder: Path, option: str
    ) -> None:
        result = run_in_process(
            folder,
            *fit_arguments("kaiming", 30, option),
            f"--ckpt_path={LAST_CHECKPOINT}",
        )
        assert result.code == 2
        name = option.removeprefix("--").split("=")[0]
        assert f"error: the checkpoint was trained with {name}=" in result.err

    def test_another_logger_writes_to_a_new_folder(self, folder: Path) -> None:
        logger = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=runs"]
        arguments = [
            *fit_arguments("kaiming", 30, *logger),
            f"--ckpt_path={LAST_CHECKPOINT}",
        ]
        assert run_in_process(folder, *arguments).code == 0


def command_of_400_steps(*options: str) -> list[str]:
    config = ROOT / "configs" / "kaiming.yaml"
    return command(
        "fit",
        f"--config={config}",
        "--trainer.max_steps=400",
        "--trainer.val_check_interval=50",
        *options,
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Working directory of a run without a stop."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    subprocess.run(
        command_of_400_steps(), cwd=folder, check=True, capture_output=True, timeout=120
    )
    return folder


@pytest.mark.slow
class TestStoppedProcess:
    """Processes that receive a signal, then continue to the same weights."""

    @pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_same_weights_and_charts(
        self, uninterrupted: Path, tmp_path: Path, stop: signal.Signals
    ) -> None:
        process = subprocess.Popen(
            command_of_400_steps(), cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        while not (tmp_path / LAST_CHECKPOINT).exists():
            assert process.poll() is None, "ended before its first checkpoint"
            time.sleep(0.01)
        os.kill(process.pid, stop)
        _, stderr = process.communicate(timeout=120)
        if process.returncode == 0:
            pytest.skip("the run ended before the signal arrived")
        resume = command_of_400_steps(f"--ckpt_path={LAST_CHECKPOINT}")
        if stop != signal.SIGKILL:
            assert process.returncode == 128 + stop
            python, *arguments = shlex.split(stderr.splitlines()[-1])
            assert python == "python"
            resume = [sys.executable, *arguments]
            checkpoint = ["--ckpt_path", str(LAST_CHECKPOINT)]
            assert resume == command_of_400_steps(*checkpoint)
        subprocess.run(
            resume, cwd=tmp_path, check=True, capture_output=True, timeout=120
        )

        expected = torch.load(uninterrupted / LAST_CHECKPOINT, weights_only=True)[
            "state_dict"
        ]
        resumed = torch.load(tmp_path / LAST_CHECKPOINT, weights_only=True)[
            "state_dict"
        ]
        for name, value in expected.items():
            assert torch.equal(value, resumed[name]), name
        assert [path.name for path in (tmp_path / "runs" / "kaiming").iterdir()] == [
            "version_0"
        ]
        for tag in ("train/loss", "train/loss_mean", "train/lr", "val/loss"):
            points = self.points(tmp_path, tag)
            expected_points = self.points(uninterrupted, tag)
            assert expected_points.items() <= points.items(), tag
            # A stopped run has one more point, at its stop.
            extra = points.keys() - expected_points.keys()
            assert len(extra) <= (stop != signal.SIGKILL), tag

    def points(self, folder: Path, tag: str) -> dict[int, float]:
        events = EventAccumulator(str(folder / RUN_FOLDER)).Reload()
        points = {event.step: event.value for event in events.Scalars(tag)}
        assert len(points) == len(events.Scalars(tag))
        return points
