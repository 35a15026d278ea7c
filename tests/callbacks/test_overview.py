"""The overview of a fit: one picture of all instruments, with their numbers, and the verdict above."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fits import ALL, Regression, every_step, fit, runtime_warnings, tanh_net
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from callbacks import ActivationHistogram, HealthCheck, UpdateRatio
from callbacks._overview import Overview
from callbacks.report.figures.draw import draw
from callbacks.report.overview_plot import OVERVIEW, overview_plot
from callbacks.report.reporter import Reporter

pytestmark = pytest.mark.filterwarnings("ignore")

PLOTS = {
    "std of activations": "activation_std",
    "std of their gradients": "activation_grad_std",
    "log10 update : weight": "update_ratio",
    "saturated": "saturation",
}


def fitted(folder: Path, instruments: list[Any], **options: Any) -> EventAccumulator:
    """Returns the events of a fit."""
    logger = TensorBoardLogger(folder, name=None)
    fit(lambda: Regression(tanh_net()), instruments, logger=logger, **options)
    everything = {"scalars": 0, "histograms": 0, "images": 0}
    events = EventAccumulator(logger.log_dir, size_guidance=everything)
    events.Reload()
    return events


def drawn_steps(events: EventAccumulator) -> list[int]:
    if OVERVIEW not in events.Tags()["images"]:
        return []
    return [picture.step for picture in events.Images(OVERVIEW)]


def test_one_picture_a_step_of_all_instruments(tmp_path: Path) -> None:
    assert drawn_steps(fitted(tmp_path, every_step(ALL))) == [0, 1, 2, 4]


def test_the_last_picture_is_drawn_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the time to wait for pictures runs out, the others are left out."""
    tags: list[str] = []
    monkeypatch.setattr(Reporter, "draw", lambda _, plots, step: tags.extend(plots))
    instruments = every_step(ALL)
    fitted(tmp_path, instruments, max_steps=4)  # no picture is due at step 3
    assert tags[-1] != OVERVIEW
    assert tags.count(OVERVIEW) == 4
    last = tags[len(tags) - len(set(tags)) :]
    assert last[0] == OVERVIEW


def test_the_last_step_has_a_picture(tmp_path: Path) -> None:
    instruments = [ActivationHistogram(3), UpdateRatio(2, dense_start=False)]
    events = fitted(tmp_path, instruments, max_steps=11)
    assert drawn_steps(events) == [0, 1, 2, 4, 10]


@pytest.mark.parametrize(
    "instruments",
    [every_step(ALL, figures=False), [HealthCheck(1)]],
    ids=["no figures", "nothing to show"],
)
def test_is_not_drawn(tmp_path: Path, instruments: list[Any]) -> None:
    assert drawn_steps(fitted(tmp_path, instruments)) == []


def test_an_instrument_without_figures_is_not_shown(tmp_path: Path) -> None:
    instruments = [ActivationHistogram(1), UpdateRatio(1, figures=False)]
    assert drawn_steps(fitted(tmp_path, instruments)) == [0, 1, 2, 4]
    plot = Overview(instruments).plots(Step(4))[OVERVIEW]  # type: ignore[arg-type]
    titles = [panel["title"] for panel in plot.arguments()["panels"]]
    assert titles == ["std of activations", "activations over depth"]


class Step:
    """Stands for the measurements of a step."""

    def __init__(self, step: int) -> None:
        self.step = step


def test_grids_are_the_numbers_that_loggers_got(tmp_path: Path) -> None:
    instruments = every_step(ALL)
    events = fitted(tmp_path, instruments)
    plot = Overview(instruments).plots(Step(4))[OVERVIEW]  # type: ignore[arg-type]
    panels = {panel["title"]: panel for panel in plot.arguments()["panels"]}
    assert len(panels) == 6
    for title, name in PLOTS.items():
        tags = [tag for tag in events.Tags()["scalars"] if tag.startswith(f"{name}/")]
        points = [events.Scalars(tag) for tag in tags]
        expected = np.array([[each.value for each in line] for line in points])
        assert expected.shape == (3 if name == "update_ratio" else 2, 5)
        grid = panels[title]["grid"]
        is_log = name.endswith("_std")
        shown = 10**grid if is_log else grid
        np.testing.assert_allclose(shown, expected, rtol=1e-6)
        assert panels[title]["steps"] == ["0", "4"]
    scales = panels["activations over depth"]
    grid = panels["std of activations"]["grid"]
    np.testing.assert_array_equal(scales["first"], grid[:, 0])
    np.testing.assert_array_equal(scales["last"], grid[:, -1])


def test_what_is_drawn_are_the_grids(tmp_path: Path) -> None:
    instruments = every_step(ALL)
    fitted(tmp_path, instruments)
    plot = Overview(instruments).plots(Step(4))[OVERVIEW]  # type: ignore[arg-type]
    arguments = plot.arguments()
    figure = draw(plot.figure, arguments)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    grids = [panel["grid"] for panel in arguments["panels"] if "grid" in panel]
    for image, grid in zip(images, grids, strict=True):
        assert np.ma.getdata(image.get_array()).tolist() == grid.tolist()  # type: ignore[union-attr]
    assert figure.texts[0].get_text().startswith("health ok: nothing found in 5")


def test_without_a_health_check_there_is_no_verdict() -> None:
    plot = overview_plot([{"saturation/a": ([0, 3], [0.1, 0.2])}], "", 3)
    assert plot is not None
    assert plot.title.startswith("layers (first on top) by steps 0 to 3")


def test_of_two_instruments_of_a_class_the_first_is_shown() -> None:
    histories = [{"saturation/a": ([0], [0.1])}, {"saturation/a": ([0], [0.9])}]
    plot = overview_plot(histories, "", 0)
    assert plot is not None
    assert plot.arguments()["panels"][0]["grid"].tolist() == [[0.1]]


def test_nothing_to_show_is_no_picture() -> None:
    histories = [{"grad_norm/total": ([0], [1.0]), "nonfinite/a": ([0], [1.0])}, {}]
    assert overview_plot(histories, "ok", 0) is None


def test_a_training_that_breaks_is_grey_to_its_end() -> None:
    class Breaks(Regression):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return (
                super().training_step(batch, batch_idx) * (1.0, math.nan)[batch_idx > 0]
            )

    stats = ActivationHistogram(every_n_steps=1)
    with runtime_warnings():
        fit(lambda: Breaks(tanh_net()), [stats])
    plot = overview_plot([stats.history], "", 4)
    assert plot is not None
    grid = plot.arguments()["panels"][0]["grid"]
    # The NaN of step 1 is in the weights from its update on.
    assert np.isnan(grid).tolist() == [[False, False, True, True, True]] * 2


def test_a_failure_holds_back_no_instrument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("by design")

    monkeypatch.setattr(Overview, "plots", fail)
    with runtime_warnings() as warned:
        events = fitted(tmp_path, every_step(ALL))
    (message,) = warned
    assert message.startswith("Overview failed in step 0 and is off until the next fit")
    assert "activation_distribution" in events.Tags()["images"]
    assert drawn_steps(events) == []
