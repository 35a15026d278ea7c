"""Tests of NamesDataModule."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from makemore_lightning import InputError, NamesDataModule
from makemore_lightning.batches import Windows
from makemore_lightning.datamodule import SPLITS
from makemore_lightning.vocabulary import Vocabulary


def prepared(names: Path | str, **arguments: Any) -> NamesDataModule:
    data = NamesDataModule(str(names), **arguments)
    data.prepare_data()
    data.setup("fit")
    return data


def all_windows(data: NamesDataModule) -> list[Windows]:
    return [data.windows(split) for split in SPLITS]


def test_split_of_makemores_file_equals_the_notes_split(
    makemore_names: Path, golden: dict[str, Any]
) -> None:
    data = prepared(makemore_names)
    assert [
        len(data.windows(split).targets) for split in ("train", "val", "test")
    ] == golden["split_rows"]
    assert data.splits["train"].names[:3] == ("yuheng", "diondre", "xavien")
    assert data.vocabulary.characters == ".abcdefghijklmnopqrstuvwxyz"


def test_split_is_by_name_and_complete(few_names: Path) -> None:
    data = prepared(few_names)
    names = [name for split in data.splits.values() for name in split.names]
    assert sorted(names) == sorted(few_names.read_text().split())
    assert [len(split.names) for split in data.splits.values()] == [48, 6, 6]


def test_split_depends_on_the_seed(few_names: Path) -> None:
    assert prepared(few_names).splits == prepared(few_names).splits
    assert prepared(few_names).splits != prepared(few_names, split_seed=1).splits


def test_fractions(few_names: Path) -> None:
    data = prepared(few_names, fractions=(0.5, 0.2, 0.3))
    assert [len(split.names) for split in data.splits.values()] == [30, 12, 18]


def test_unique_keeps_held_out_names_out_of_train() -> None:
    repeated, unique = prepared("ssa2018"), prepared("ssa2018", unique=True)
    train, val = (repeated.splits[split].names for split in ("train", "val"))
    trained_on = set(train)
    repeated_fraction = sum(name in trained_on for name in val) / len(val)
    assert 0.12 < repeated_fraction < 0.14
    assert not set(unique.splits["train"].names) & set(unique.splits["val"].names)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_too_few_names(tmp_path: Path, count: int) -> None:
    path = tmp_path / "few.txt"
    path.write_text("ann\n" * count)
    with pytest.raises(
        InputError,
        match=rf"few.txt: {count} names split 0.8/0.1/0.1 leave .* Every split needs",
    ):
        prepared(path)


def test_unknown_character_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "accents.txt"
    path.write_text("ann\n" * 20 + "zoé\n", encoding="utf-8")
    data = prepared(path)
    data.vocabulary = Vocabulary(".anzo")
    with pytest.raises(
        InputError, match=r"accents.txt, line 21: the character 'é' of 'zoé'"
    ):
        all_windows(data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"block_size": 0}, "block_size must be 1 or more, got 0"),
        ({"batch_size": -1}, "batch_size must be 1 or more, got -1"),
        ({"fractions": (0.8, 0.1, 0.2)}, r"sum of 1, got \(0.8, 0.1, 0.2\)"),
        ({"fractions": (1.0, 0.0, 0.0)}, "above 0"),
        ({"fractions": (0.9, 0.1)}, "three shares"),
        ({"sampling": "bootstrap"}, "got 'bootstrap'"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NamesDataModule(**arguments)


def test_training_batches_continue_the_global_generator_without_changing_it(
    few_names: Path,
) -> None:
    data = prepared(few_names)
    torch.manual_seed(3)
    torch.randn(5)
    rows = len(data.windows("train").targets)
    state = torch.get_rng_state()
    contexts, _ = next(iter(data.train_dataloader()))
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    expected_rows = torch.randint(rows, (32,))
    assert torch.equal(contexts, data.windows("train").contexts[expected_rows])


def test_makemore_is_downloaded_in_prepare_data(
    few_names: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls: list[str] = []
    monkeypatch.setattr("makemore_lightning.names.download", urls.append)
    monkeypatch.setattr("makemore_lightning.names._cached_file", lambda url: few_names)
    data = prepared("makemore", makemore_url="http://127.0.0.1:9/names.txt")
    assert urls == ["http://127.0.0.1:9/names.txt"]
    assert data.splits["train"].path == few_names


def test_a_clean_file_logs_no_warning(
    few_names: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        prepared(few_names)
    assert not caplog.records
