"""Tests of `train.py report` and `train.py compare`."""

from pathlib import Path

import pytest
from command_line import run_in_process
from torch.utils.tensorboard import SummaryWriter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Working directory with two runs."""
    for name, loss in (("first", 2.0), ("second", 1.0)):
        with SummaryWriter(str(tmp_path / "runs" / name)) as writer:
            writer.add_scalar("train/loss", 3.0, 0)
            writer.add_scalar("train/loss", loss, 10)
    return tmp_path


def test_report_writes_three_files_and_names_the_page(folder: Path) -> None:
    result = run_in_process(folder, "report", "runs", "--output=lessons.html")
    assert result.code == 0, result.err
    assert result.out.startswith("lessons.html")
    names = {path.name for path in folder.iterdir()}
    assert names == {"runs", "lessons.html", "lessons.json", "lessons.md"}


def test_report_with_numbers_under_the_mouse(folder: Path) -> None:
    pytest.importorskip("altair")
    result = run_in_process(folder, "report", "runs", "--output=a.html", "--hover")
    assert result.code == 0, result.err
    assert '<figure class="hover">' in (folder / "a.html").read_text()


def test_report_stands_in_the_folder_that_runs_share(folder: Path) -> None:
    run_in_process(folder, "report", "runs/first", "runs/second")
    assert (folder / "runs" / "report.html").is_file()


def test_compare_prints_a_row_a_run(folder: Path) -> None:
    result = run_in_process(folder, "compare", "runs")
    assert result.code == 0, result.err
    assert "| first | 10 | 3.0000 | 2.0000 | - | - | - | not judged |" in result.out
    assert "| second | 10 | 3.0000 | 1.0000 |" in result.out


@pytest.mark.parametrize("command", ["report", "compare"])
def test_a_folder_without_runs_is_one_line(folder: Path, command: str) -> None:
    result = run_in_process(folder, command, "nowhere")
    assert result.code == 2
    assert result.err.startswith("error: nowhere is no folder: give folders of runs")
    assert len(result.err.splitlines()) == 1


def test_a_page_that_cannot_be_written_is_one_line(folder: Path) -> None:
    (folder / "file").write_text("")
    result = run_in_process(folder, "report", "runs", "--output=file/page.html")
    assert result.code == 2
    assert len(result.err.splitlines()) == 1


class TestDiff:
    """`report --diff`."""

    def test_runs_that_differ_end_with_code_1(self, folder: Path) -> None:
        result = run_in_process(folder, "report", "--diff", "runs/first", "runs/second")
        assert result.code == 1, result.err
        assert result.out.startswith(
            "first and second: loss, step 10: train/loss\n\nEqual up to step 0."
        )
        assert "| 10 | train/loss | 2 | 1 |" in result.out
        assert {path.name for path in folder.iterdir()} == {"runs"}

    def test_equal_runs_end_with_code_0(self, folder: Path) -> None:
        result = run_in_process(folder, "report", "--diff", "runs/first", "runs/first")
        assert (result.code, result.err) == (0, "")
        assert "Equal to the last bit: 1 tags at 2 steps." in result.out

    def test_a_tolerance_decides(self, folder: Path) -> None:
        arguments = ("report", "--diff", "runs/first", "runs/second", "--tolerance=0.6")
        result = run_in_process(folder, *arguments)
        assert (result.code, result.err) == (0, "")
        assert "Equal within rounding" in result.out

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            (["runs/first"], "--diff compares two runs: give two folders, not 1"),
            (["runs", "runs/first"], "runs has 2 runs in it: give the folder of one"),
            (["runs/first", "runs/second", "--tolerance=-1"], "tolerance must be"),
        ],
    )
    def test_a_mistake_is_one_line(
        self, folder: Path, arguments: list[str], error: str
    ) -> None:
        result = run_in_process(folder, "report", "--diff", *arguments)
        assert result.code == 2
        assert result.err.startswith(f"error: {error}")
        assert len(result.err.splitlines()) == 1
