"""Tests of the lessons' configs: each trains, is complete, and comments its values."""

import re
from pathlib import Path

import pytest
import yaml
from command_line import CONFIGS, fit_arguments, run_in_process

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
class TestConfigs:
    def test_trains(self, path: Path, tmp_path: Path) -> None:
        result = run_in_process(tmp_path, *fit_arguments(path.stem, 20))
        assert result.code == 0, result.err
        assert (
            tmp_path / "runs" / path.stem / "version_0" / "checkpoints" / "best.ckpt"
        ).is_file()

    def test_every_line_has_a_comment_or_is_evident(self, path: Path) -> None:
        evident = re.compile(
            r"\s*(#.*)?$|.*: *$|\s*- class_path: \S+$|\s+(class_path|activation|init|head_scale|"
            r"monitor|filename|every_n_steps|batch_size|batchnorm): "
        )
        lines = path.read_text().splitlines()
        uncommented = [
            line for line in lines if "  # " not in line and not evident.match(line)
        ]
        assert not uncommented

    def test_is_complete(self, path: Path) -> None:
        config = yaml.safe_load(path.read_text())
        assert list(config) == [
            "seed_everything",
            "threads",
            "trainer",
            "model",
            "data",
        ]
        assert config["trainer"]["max_steps"] == 200_000
        assert config["trainer"]["logger"]["init_args"]["name"] == path.stem
        # Short runs of any two lessons compare.
        assert config["model"]["lr_drop"] == 0.5


def test_every_lesson_has_a_config() -> None:
    lessons = {
        "naive",
        "logits",
        "tanh",
        "kaiming",
        "batchnorm",
        "deep",
        "deep_batchnorm",
    }
    assert {path.stem for path in CONFIGS} == lessons
