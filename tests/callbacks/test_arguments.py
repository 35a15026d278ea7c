"""Tests of the arguments of all instruments."""

import re
from pathlib import Path
from typing import Any

import pytest
from fits import (
    ALL,
    ARGUMENTS,
    Regression,
    expect_no_hooks,
    fit,
    runtime_warnings,
    tanh_net,
)
from lightning.pytorch.cli import LightningCLI

from callbacks import ActivationHistogram, SaturationMap

EACH = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
    ),
    pytest.mark.filterwarnings("ignore:`training_step` returned `None`"),
]


class TestArguments:
    @EACH
    @pytest.mark.parametrize(
        ("argument", "wrong"),
        [
            ("every_n_steps", 0),
            ("every_n_steps", -5),
            ("every_n_steps", 2.5),
            ("layers", "tanh*"),
            ("layers", []),
            ("params", "weight"),
            ("params", [3]),
        ],
    )
    def test_wrong_values_raise_at_once(
        self, kind: Any, argument: str, wrong: object
    ) -> None:
        with pytest.raises(
            ValueError, match=f"{argument} must be .* got {re.escape(repr(wrong))}"
        ):
            kind(**{argument: wrong})

    @pytest.mark.parametrize("kind", [ActivationHistogram, SaturationMap])
    @pytest.mark.parametrize("wrong", [0, 1, -0.5, 99, "0.99", True, float("nan")])
    def test_threshold(self, kind: Any, wrong: object) -> None:
        with pytest.raises(
            ValueError, match="threshold must be an output of tanh between 0 and 1"
        ):
            kind(threshold=wrong)

    @pytest.mark.parametrize("wrong", ["1", 1.0, True])
    def test_unit_dim(self, wrong: object) -> None:
        with pytest.raises(
            ValueError, match="unit_dim must be None or the number of an axis"
        ):
            SaturationMap(unit_dim=wrong)  # type: ignore[arg-type]

    @EACH
    @pytest.mark.parametrize("argument", ["layers", "params"])
    def test_an_argument_without_a_use_is_warned_of_at_once(
        self, kind: Any, argument: str
    ) -> None:
        with runtime_warnings() as messages:
            kind(**{argument: ["*"]})
            kind()
        message = f"{kind.__name__} has no use for {argument}=['*'], and ignores it. Training goes on."
        assert messages == ([] if argument in ARGUMENTS[kind] else [message])

    @pytest.mark.parametrize(
        ("kind", "argument"),
        [(kind, argument) for kind in ALL for argument in sorted(ARGUMENTS[kind])],
    )
    def test_a_pattern_without_a_match_ends_the_fit_before_it_begins(
        self, kind: Any, argument: str
    ) -> None:
        module = Regression(tanh_net())
        with pytest.raises(
            ValueError, match=rf"{argument}: no match for 'nothing\*'; there are: net"
        ):
            fit(lambda: module, [kind(**{argument: ["nothing*"]})])
        expect_no_hooks(module)

    @EACH
    def test_from_yaml(
        self, kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (argument, *_) = sorted(ARGUMENTS[kind])
        config = tmp_path / "config.yaml"
        config.write_text(
            f"trainer:\n  callbacks:\n    - class_path: callbacks.{kind.__name__}\n      init_args:\n"
            f"        every_n_steps: 3\n        dense_start: false\n        figures: false\n        {argument}: ['*']\n"
        )
        monkeypatch.setattr("sys.argv", ["train.py", f"--config={config}"])
        cli = LightningCLI(WithoutArguments, run=False, save_config_callback=None)
        (instrument,) = [c for c in cli.trainer.callbacks if isinstance(c, kind)]  # type: ignore[attr-defined]
        assert instrument.schedule.every_n_steps == 3
        assert (instrument.schedule.dense_start, instrument.figures) == (False, False)
        assert getattr(instrument, argument) == ["*"]


class WithoutArguments(Regression):
    """Model that LightningCLI can build."""

    def __init__(self) -> None:
        super().__init__(tanh_net())
