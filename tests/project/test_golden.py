"""Compares runs of the configs with values computed in plain PyTorch and with the losses of the lecture."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

# The configs name the classes of callbacks, which must have been imported.
import callbacks  # noqa: F401
from makemore_lightning.cli import make_cli

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:LightningCLI's args parameter",
        "ignore:This property will be removed:DeprecationWarning",
    ),
    pytest.mark.usefixtures("without_pictures"),
]


class StopAt(Callback):
    """Ends a run early: with a smaller `max_steps`, the learning rate would drop within its steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        trainer.should_stop = trainer.global_step == self.step


class Losses(Callback):
    """Records the loss of every batch."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self.values.append(float(outputs["loss"]))


def test_deep_batchnorm(
    makemore_names: Path, golden: dict[str, Any], tmp_path: Path
) -> None:
    expected = golden["deep_batchnorm_stock"]
    losses = Losses()
    cli = make_cli(
        [
            "fit",
            f"--config={ROOT / 'configs' / 'deep_batchnorm.yaml'}",
            f"--data.names={makemore_names}",
            f"--trainer.logger.init_args.save_dir={tmp_path}",
            "--trainer.enable_progress_bar=false",
        ],
        callbacks=[losses, StopAt(expected["steps"])],
    )
    assert len(losses.values) == expected["steps"]
    assert sum(p.numel() for p in cli.model.parameters()) == expected["parameters"]
    assert losses.values[0] == pytest.approx(expected["loss_first"], abs=1e-6)
    assert losses.values[-1] == pytest.approx(expected["loss_last"], abs=1e-4)
    for split in ("train", "val"):
        batches = cli.datamodule.evaluation_dataloader(split)
        result = cli.trainer.validate(cli.model, batches, verbose=False)[0]
        assert result["val/loss"] == pytest.approx(expected[split], abs=1e-4)


PARAMS = {"C": "network.embedding.weight", "W5": "network.head.weight"} | {
    f"W{i}": f"network.hidden.linear{i}.weight" for i in range(5)
}
LAYERS = [f"network.hidden.tanh{i}" for i in range(5)]
ROUNDING = 1e-7
"""Absolute error of a mean near 0 in single precision, for values with a standard deviation of about 1."""


@pytest.fixture(scope="module", params=[0.97, 0.99])
def written(
    request: pytest.FixtureRequest,
    makemore_names: Path,
    golden: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, EventAccumulator]:
    """Key of the saturation threshold, and events of the golden run with the instruments of its config."""
    folder = tmp_path_factory.mktemp("golden")
    config = yaml.safe_load((ROOT / "configs" / "deep_batchnorm.yaml").read_text())
    arguments = {
        each["class_path"]: each.setdefault("init_args", {})
        for each in config["trainer"]["callbacks"]
    }
    arguments["SaturationMap"]["threshold"] = request.param
    arguments["GradStats"]["means"] = True
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    make_cli(
        [
            "fit",
            f"--config={folder / 'config.yaml'}",
            f"--data.names={makemore_names}",
            f"--trainer.logger.init_args.save_dir={folder}",
            "--trainer.enable_progress_bar=false",
        ],
        callbacks=[StopAt(golden["deep_batchnorm_stock"]["steps"])],
    )
    events = EventAccumulator(
        str(folder / "deep_batchnorm" / "version_0"),
        size_guidance={"scalars": 0, "histograms": 0},
    )
    events.Reload()
    return f"sat{request.param:.2f}".replace("0.", ""), events


def value_at(events: EventAccumulator, tag: str, step: int) -> float:
    (value,) = [event.value for event in events.Scalars(tag) if event.step == step]
    return value


class TestInstruments:
    """Compares the event file with values computed in plain PyTorch on the same run."""

    @pytest.mark.parametrize(("step", "when"), [(0, "first"), (1000, "last")])
    def test_activations(
        self, written: Any, golden: dict[str, Any], step: int, when: str
    ) -> None:
        saturation, events = written
        for layer, expected in zip(
            LAYERS, golden["deep_batchnorm_stock"][f"act_{when}"], strict=True
        ):
            assert value_at(events, f"activation_mean/{layer}", step) == pytest.approx(
                expected["mean"], rel=1e-4, abs=ROUNDING
            )
            assert value_at(events, f"activation_std/{layer}", step) == pytest.approx(
                expected["std"], rel=1e-5
            )
            assert value_at(events, f"saturation/{layer}", step) == pytest.approx(
                expected[saturation], rel=1e-6
            )

    def test_gradients_of_activations(
        self, written: Any, golden: dict[str, Any]
    ) -> None:
        for layer, expected in zip(
            LAYERS, golden["deep_batchnorm_stock"]["act_last"], strict=True
        ):
            spread = expected["grad_std"]
            assert value_at(
                written[1], f"activation_grad_std/{layer}", 1000
            ) == pytest.approx(spread, rel=1e-5)
            assert value_at(
                written[1], f"activation_grad_mean/{layer}", 1000
            ) == pytest.approx(expected["grad_mean"], abs=ROUNDING * spread)

    @pytest.mark.parametrize(("name", "param"), PARAMS.items())
    def test_parameters(
        self, written: Any, golden: dict[str, Any], name: str, param: str
    ) -> None:
        events, expected = written[1], golden["deep_batchnorm_stock"]
        last = expected["wgrad_last"][name]
        assert value_at(events, f"grad_data_ratio/{param}", 0) == pytest.approx(
            expected["grad_data_first"][name], rel=1e-5
        )
        assert value_at(events, f"grad_data_ratio/{param}", 1000) == pytest.approx(
            last["grad_data"], rel=1e-5
        )
        assert value_at(events, f"weight_grad_std/{param}", 1000) == pytest.approx(
            last["std"], rel=1e-5
        )
        assert value_at(events, f"weight_grad_mean/{param}", 1000) == pytest.approx(
            last["mean"], rel=1e-4, abs=ROUNDING * last["std"]
        )
        assert value_at(events, f"update_ratio/{param}", 0) == pytest.approx(
            expected["ud_first"][name], rel=1e-5
        )
        assert value_at(events, f"update_ratio/{param}", 1000) == pytest.approx(
            expected["ud_last"][name], rel=1e-5
        )

    def test_histograms_count_every_value(self, written: Any) -> None:
        events = written[1]
        for layer in LAYERS:
            for event in events.Histograms(f"activation/{layer}"):
                assert (
                    event.histogram_value.num
                    == 32 * 100
                    == sum(event.histogram_value.bucket)
                )


@pytest.mark.parametrize(
    ("lesson", "loss"),
    [
        ("naive", 27.8817),
        ("logits", 3.31),
        ("tanh", 3.31),
        ("kaiming", 3.32),
        ("batchnorm", 3.32),
    ],
)
def test_loss_at_initialization(
    makemore_names: Path, tmp_path: Path, lesson: str, loss: float
) -> None:
    """Compares naive with the first loss that the lecture prints, to its last digit, and the others with the notes."""
    losses = Losses()
    make_cli(
        [
            "fit",
            f"--config={ROOT / 'configs' / lesson}.yaml",
            f"--data.names={makemore_names}",
            "--trainer.max_steps=1",
            f"--trainer.logger.init_args.save_dir={tmp_path}",
            "--trainer.enable_progress_bar=false",
        ],
        callbacks=[losses],
    )
    assert losses.values == [
        pytest.approx(loss, abs=5e-5 if lesson == "naive" else 0.03)
    ]
