"""Tests of all instruments on models of Lightning, PyTorch and transformers, built from their classes."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fits import QUIET, every_step, expect_messages, runtime_warnings
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.demos import LightningTransformer
from lightning.pytorch.demos.boring_classes import (
    BoringModel,
    DemoModel,
    ManualOptimBoringModel,
)
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    ResNetConfig,
    ResNetForImageClassification,
)

from callbacks import ActivationHistogram, GradStats, SaturationMap, UpdateRatio

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"
    ),
    pytest.mark.filterwarnings("ignore:.*enable_nested_tensor"),
]


class Wrapped(LightningModule):
    """LightningModule around a model of transformers."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return self.model(**batch).loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class LSTMClassifier(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 16, bidirectional=True, batch_first=True)
        self.head = nn.Linear(32, 3)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        outputs, _ = self.lstm(self.embedding(batch["ids"]))
        return F.cross_entropy(self.head(outputs.mean(1)), batch["labels"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class DemoTransformer(LightningTransformer):
    """Demo without its text, which would have to be downloaded."""

    def prepare_data(self) -> None:
        pass


def gpt2() -> LightningModule:
    return Wrapped(
        GPT2LMHeadModel(
            GPT2Config(vocab_size=50, n_positions=16, n_embd=32, n_layer=2, n_head=2)
        )
    )


def resnet() -> LightningModule:
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    )
    config.num_labels = 4
    return Wrapped(ResNetForImageClassification(config))


def batches(make: Any) -> DataLoader[Any]:
    return DataLoader([make(seed) for seed in range(3)], batch_size=None)  # type: ignore[arg-type]


def ids(seed: int) -> Tensor:
    return torch.randint(0, 20, (4, 12), generator=torch.Generator().manual_seed(seed))


MODELS: dict[str, tuple[Any, Any]] = {
    "boring": (BoringModel, None),
    "demo": (
        DemoModel,
        lambda s: torch.randn(4, 32, generator=torch.Generator().manual_seed(s)),
    ),
    "manual": (ManualOptimBoringModel, None),
    "transformer": (lambda: DemoTransformer(20), lambda s: (ids(s), ids(s + 1))),
    "gpt2": (gpt2, lambda s: {"input_ids": ids(s), "labels": ids(s)}),
    "resnet": (
        resnet,
        lambda s: {
            "pixel_values": torch.randn(
                4, 3, 16, 16, generator=torch.Generator().manual_seed(s)
            ),
            "labels": torch.arange(4),
        },
    ),
    "lstm": (
        LSTMClassifier,
        lambda s: {"ids": ids(s), "labels": torch.tensor([0, 1, 2, 0])},
    ),
}


NO_ACTIVATION = "^SaturationMap has nothing to .* in step 0: .* calls no activation"
WITHOUT_ACTIVATIONS = ("boring", "manual", "lstm")


def fitted(name: str) -> dict[str, Any]:
    """Returns the records of the last step, of a fit whose weights are those of one without instruments."""

    def weights(*callbacks: Any) -> dict[str, Tensor]:
        torch.manual_seed(3)
        make, data = MODELS[name]
        module = make()
        loader = None if data is None else batches(data)
        Trainer(
            callbacks=list(callbacks), max_steps=3, limit_val_batches=0, **QUIET
        ).fit(module, loader)
        return module.state_dict()

    instruments = every_step()
    with runtime_warnings() as messages:
        observed = weights(*instruments)
    # A map alone needs activations; a model without any has one warning of it.
    expect_messages(messages, *[NO_ACTIVATION] * (name in WITHOUT_ACTIVATIONS))
    for bare, with_instruments in zip(
        weights().values(), observed.values(), strict=True
    ):
        assert torch.equal(bare, with_instruments)
    return {tag: value for c in instruments for tag, value in (c.latest or {}).items()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", MODELS)
def test_every_plot_has_finite_numbers(name: str) -> None:
    record = fitted(name)
    for plot in (
        "activation_std",
        "activation_grad_std",
        "weight_grad_std",
        "grad_data_ratio",
        "update_ratio",
    ):
        values = [value for tag, value in record.items() if tag.startswith(f"{plot}/")]
        assert values, plot
        assert all(
            isinstance(value, float) and math.isfinite(value) for value in values
        )
    assert not [tag for tag in record if tag.startswith("nonfinite")]


def test_gpt2_is_observed_at_its_activations() -> None:
    record = fitted("gpt2")
    layers = {tag.partition("/")[2] for tag in record if tag.startswith("saturation/")}
    assert layers == {f"model.transformer.h.{i}.mlp.act" for i in range(2)}
    assert (
        record["activation/model.transformer.h.0.mlp.act"].moments.count
        == 4 * 12 * 4 * 32
    )


def test_resnet_counts_channels_as_units() -> None:
    record = fitted("resnet")
    relus = [tag for tag in record if tag.startswith("saturation/")]
    assert relus
    assert all(0 < record[tag] < 1 for tag in relus)


def test_each_tensor_of_an_lstm_by_its_path() -> None:
    instruments = [
        kind(every_n_steps=1, figures=False, layers=["lstm"])
        for kind in (ActivationHistogram, SaturationMap)
    ]
    make, data = MODELS["lstm"]
    Trainer(callbacks=list(instruments), max_steps=2, **QUIET).fit(
        make(), batches(data)
    )
    assert instruments[0].latest is not None
    paths = {tag for tag in instruments[0].latest if tag.startswith("activation/")}
    assert paths == {"activation/lstm.0", "activation/lstm.1.0", "activation/lstm.1.1"}


def test_names_of_the_four_lines() -> None:
    """Builds the callbacks as the README does."""
    Trainer(
        callbacks=[ActivationHistogram(), GradStats(), UpdateRatio(), SaturationMap()],
        **QUIET,
    )
