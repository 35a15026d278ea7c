"""Tests of the coordinate check: slopes, verdicts, its picture, and mup's numbers on the same networks."""

import copy
import json
from importlib import import_module
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from callbacks import CoordinateCheck, coordinate_check
from callbacks.trial.width_row import WidthRow, slope

WIDTHS = (32, 64, 128, 256)
STEPS = 4


def rows() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, 20, generator=generator)
    return TensorDataset(x, torch.randint(10, (64,), generator=generator))


class Model(LightningModule):
    """Classifies with Adam, or an optimizer of mup."""

    def __init__(self, net: nn.Module, kind: Any = torch.optim.Adam) -> None:
        super().__init__()
        self.net, self.kind = net, kind

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return self.kind(self.parameters(), lr=0.01)


def standard_net(width: int) -> nn.Sequential:
    torch.manual_seed(width)
    hidden = [nn.Linear(20, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(width, 10))


def checked(**options: Any) -> CoordinateCheck:
    def make_model(width: int) -> Model:
        return Model(standard_net(width))

    arguments = {"widths": WIDTHS, "steps": STEPS, "accelerator": "cpu", **options}
    return coordinate_check(
        make_model, DataLoader(rows(), 32, shuffle=True), **arguments
    )


def test_standard_parametrization_grows() -> None:
    check = checked()
    assert [row.layer for row in check.rows] == [f"net.{i}" for i in range(5)]
    head = check.rows[-1]
    assert head.verdict == "grows"
    assert head.slope is not None
    assert head.slope > 0.5
    assert all(abs(row.slope_at_start or 0) < 0.1 for row in check.rows)
    assert check.verdict == "warn"


def test_numbers_are_those_of_pytorch() -> None:
    data = DataLoader(rows(), 32)
    check = coordinate_check(
        lambda width: Model(standard_net(width)), data, (8, 16), 3, accelerator="cpu"
    )
    x, y = next(iter(data))
    for place, width in enumerate((8, 16)):
        net = standard_net(width)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        first = None
        for step in range(3):
            hidden = net[:3](x)
            first = hidden if first is None else first
            scale = check.rows[2].scales[step][place]
            assert scale == pytest.approx(hidden.abs().mean().item(), rel=1e-5)
            if step:
                change = (hidden - first).abs().mean().item()
                assert check.rows[2].updates[step - 1][place] == pytest.approx(
                    change, rel=1e-4
                )
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()


def test_every_step_and_width_has_the_same_batch() -> None:
    seen: list[Tensor] = []

    class Seeing(Model):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            seen.append(batch[0])
            return super().training_step(batch, batch_idx)

    data = DataLoader(rows(), 32, shuffle=True)
    options = {"widths": (8, 16), "accelerator": "cpu"}
    coordinate_check(lambda width: Seeing(standard_net(width)), data, **options)
    assert len(seen) == 2 * 4
    assert all(torch.equal(seen[0], batch) for batch in seen)


def test_datamodules_and_random_numbers_stay_as_they_are() -> None:
    class Data(LightningDataModule):
        def train_dataloader(self) -> Any:
            return DataLoader(rows(), 32, shuffle=True)

    data, state = Data(), torch.get_rng_state()
    attributes = dict(vars(data))
    check = coordinate_check(
        lambda width: Model(standard_net(width)), data, (8, 16), accelerator="cpu"
    )
    assert len(check.rows) == 5
    assert vars(data) == attributes
    assert torch.equal(torch.get_rng_state(), state)


def test_seeds_are_averaged() -> None:
    def make_model(width: int) -> Model:
        layers = (nn.Linear(20, width), nn.ReLU(), nn.Linear(width, 10))
        return Model(nn.Sequential(*layers))

    options: dict[str, Any] = {"widths": (8, 16), "steps": 1, "accelerator": "cpu"}
    data = DataLoader(rows(), 32)
    both = coordinate_check(make_model, data, seeds=2, **options).rows[0].scales[0]
    scales = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        layer = cast(Any, make_model(8)).net[0]
        scales.append(layer(next(iter(data))[0]).abs().mean().item())
    assert scales[0] != scales[1]
    assert both[0] == pytest.approx(sum(scales) / 2)


class TestRows:
    @staticmethod
    def row(scales: tuple[float, ...], updates: tuple[float, ...]) -> WidthRow:
        start = (1.0,) * len(scales)
        return WidthRow("layer", (start, scales), (updates,), (64, 128, 256))

    @pytest.mark.parametrize(
        ("scales", "updates", "verdict"),
        [
            ((1.0, 1.1, 1.05), (0.1, 0.1, 0.1), "flat"),
            ((1.0, 1.42, 2.0), (0.1, 0.1, 0.1), "grows"),
            ((1.0, 1.0, 1.0), (0.1, 0.07, 0.05), "shrinks"),
            ((1.0, 0.7, 0.5), (0.1, 0.2, 0.4), "grows"),
            ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), "flat"),
        ],
    )
    def test_verdict(self, scales: Any, updates: Any, verdict: str) -> None:
        assert self.row(scales, updates).verdict == verdict

    def test_slopes(self) -> None:
        assert slope((1, 10, 100), (3.0, 30.0, 300.0)) == pytest.approx(1)
        assert slope((64, 128), (1.0, 0.5)) == pytest.approx(-1)
        assert slope((64, 128), (0.0, 0.5)) is None
        assert slope((64, 128), (float("nan"), 0.5)) is None

    def test_json(self) -> None:
        row = self.row((1.0, 2.0, float("inf")), (1.0, 2.0, 4.0))
        content = json.loads(CoordinateCheck((64, 128, 256), (row,)).to_json())
        layer = content["layers"][0]
        assert layer["scales"][1] == [1.0, 2.0, None]
        assert layer["update_slope"] == pytest.approx(1.0)
        assert (layer["slope"], layer["verdict"]) == (None, "grows")

    def test_text(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        row = self.row((1.0, 2.0, 4.0), (1.0, 1.0, 1.0))
        lines = str(CoordinateCheck((64, 128, 256), (row,))).splitlines()
        assert lines[1].split() == [
            "layer",
            "1.00",
            "4.00",
            "+0.00",
            "+1.00",
            "+0.00",
            "grows",
        ]
        assert max(map(len, lines)) <= 80


def test_picture(tmp_path: Any) -> None:
    check = checked(widths=(8, 16, 32))
    file = tmp_path / "widths.png"
    figure = check.figure()
    figure.savefig(file)
    assert file.stat().st_size > 1000
    axes = figure.axes[0]
    solid = [line for line in axes.lines if line.get_linestyle() == "-"]
    assert len(solid) == 5
    assert np.asarray(solid[0].get_xdata()).tolist() == [3.0, 4.0, 5.0]
    assert len(axes.lines) == 10


@pytest.mark.parametrize("widths", [(64,), (64, 64), (0, 64), (64.0, 128), ()])
def test_wrong_widths(widths: Any) -> None:
    with pytest.raises(ValueError, match="widths must be two or more"):
        checked(widths=widths)


def test_wrong_seeds() -> None:
    with pytest.raises(ValueError, match="seeds must be"):
        checked(seeds=0)


@pytest.mark.parametrize("parametrization", ["standard", "maximal update"])
@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_numbers_are_those_of_mup(name: str, parametrization: str) -> None:
    mup = pytest.importorskip("mup")
    get_coord_data = import_module("mup.coord_check").get_coord_data

    is_mup = parametrization == "maximal update"

    def make_net(width: int) -> nn.Module:
        net = standard_net(width)
        if not is_mup:
            return net
        nets = [standard_net(size) for size in (8, 16, width)]
        for each in nets:
            each[4] = mup.MuReadout(each[0].out_features, 10, readout_zero_init=True)
        return mup.set_base_shapes(nets[2], nets[0], delta=nets[1])

    kinds = {
        "sgd": (torch.optim.SGD, mup.MuSGD),
        "adam": (torch.optim.Adam, mup.MuAdam),
    }
    kind = kinds[name][is_mup]
    data = DataLoader(rows(), 32)
    check = coordinate_check(
        lambda width: Model(make_net(width), kind),
        data,
        WIDTHS,
        STEPS,
        accelerator="cpu",
    )
    theirs = get_coord_data(
        {width: (lambda width=width: make_net(width)) for width in WIDTHS},
        copy.copy(data),
        optimizer=name,
        lr=0.01,
        mup=is_mup,
        nsteps=STEPS,
        cuda=False,
        show_progress=False,
    )
    for row in check.rows:
        of_layer = theirs[theirs.module == row.layer.removeprefix("net.")]
        for step, scales in enumerate(row.scales):
            of_step = of_layer[of_layer.t == step + 1].sort_values("width")
            assert list(scales) == pytest.approx(of_step.l1.tolist(), rel=1e-5)
    assert (check.verdict == "ok") == is_mup
