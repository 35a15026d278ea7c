"""Figures that an instrument draws for a notebook, of any tag that it has."""

import copy
import gc
import pickle
import subprocess
import sys
import weakref
from typing import Any

import pytest
from fits import ALL, Regression, every_step, fit, tanh_net
from lightning.pytorch import Callback, Trainer
from matplotlib.figure import Figure
from matplotlib.text import Text

from callbacks import ActivationHistogram, GradStats, Histogram, SaturationMap

PICTURES = {
    "ActivationHistogram": ["activation_distribution"],
    "GradStats": ["activation_grad_distribution", "weight_grad_distribution"],
    "UpdateRatio": ["update_ratio"],
    "SaturationMap": ["saturation_map/net.1", "saturation_map/net.3"],
    "NumberRange": [
        f"number_range/{tensor}"
        for tensor in ("activation", "activation_grad", "weight")
    ],
    "HealthCheck": [],
}


def title_of(figure: Figure) -> str:
    return " ".join(text.get_text() for text in [*figure.texts, *figure.findobj(Text)])  # type: ignore[attr-defined]


def regression() -> Regression:
    return Regression(tanh_net())


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_of_every_tag(kind: Any) -> None:
    instrument = kind(every_n_steps=1)
    fit(regression, [instrument], max_steps=3)
    for tag in [*PICTURES[kind.__name__], *instrument.latest]:
        figure = instrument.figure(tag)
        assert isinstance(figure, Figure)
        assert figure.axes


def test_a_number_is_drawn_over_its_steps() -> None:
    instrument = GradStats(every_n_steps=1)
    fit(regression, [instrument], max_steps=3)
    (line,) = instrument.figure("grad_norm/total").axes[0].lines
    assert list(line.get_xdata()) == [0, 1, 2]  # type: ignore[arg-type]
    values = instrument.history["grad_norm/total"].values
    assert list(line.get_ydata()) == values  # type: ignore[arg-type]


def test_a_histogram_draws_itself() -> None:
    instrument = ActivationHistogram(every_n_steps=1)
    fit(regression, [instrument], max_steps=1)
    histogram = (instrument.latest or {})["activation/net.1"]
    assert isinstance(histogram, Histogram)
    assert repr(histogram).startswith("Histogram(64 values, mean ")
    assert histogram.plot().axes[0].lines


def test_during_the_fit() -> None:
    instruments = every_step()
    titles = []

    class Reader(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
            figure = instruments[0].figure("activation_distribution")  # type: ignore[attr-defined]
            titles.append(title_of(figure))

    fit(regression, [*instruments, Reader()], max_steps=2)
    assert [f"step {step}" in title for step, title in enumerate(titles)] == [
        True,
        True,
    ]


def test_after_a_fit_that_was_stopped() -> None:
    class Stop(Callback):
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            raise ZeroDivisionError("by design")

    instrument = GradStats(every_n_steps=1)
    with pytest.raises(ZeroDivisionError):
        fit(regression, [instrument, Stop()], max_steps=2)
    assert instrument.figure("weight_grad_distribution").axes


def test_an_unknown_tag_lists_what_there_is() -> None:
    instrument = SaturationMap(every_n_steps=1, figures=False)
    with pytest.raises(ValueError, match="nothing yet, before the first due step"):
        instrument.figure("saturation/net.1")
    fit(regression, [instrument], max_steps=1)
    expected = "no figure of 'saturation_map/net.1'; there are figures of: saturation/net.1, dead_units/net.1"
    with pytest.raises(ValueError, match=expected):
        instrument.figure("saturation_map/net.1")


def test_keeps_no_model_in_memory() -> None:
    instruments = every_step()
    model = weakref.ref(fit(regression, instruments, max_steps=2)[1])
    for (
        instrument
    ) in instruments:  # Lightning leaves the model's methods on every callback
        for name in ("log", "log_dict"):
            vars(instrument).pop(name)
    gc.collect()
    assert model() is None
    drawn = [
        instrument for instrument in instruments if PICTURES[type(instrument).__name__]
    ]
    assert all(instrument._last_plots for instrument in drawn)  # type: ignore[attr-defined]


def test_survives_a_copy() -> None:
    instrument = ActivationHistogram(every_n_steps=1)
    fit(regression, [instrument], max_steps=1)
    for twin in (copy.deepcopy(instrument), pickle.loads(pickle.dumps(instrument))):
        assert twin.figure("activation_distribution").axes


def test_figures_are_imported_when_one_is_asked_for() -> None:
    """Lightning imports matplotlib by way of torchmetrics, so that it cannot be asked for itself."""
    code = "import sys, callbacks; assert 'callbacks.report.figures' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_notebook_shows_a_figure_as_png() -> None:
    instrument = ActivationHistogram(every_n_steps=1)
    fit(regression, [instrument], max_steps=1)
    figure: Any = instrument.figure("activation_distribution")
    assert figure._repr_png_().startswith(b"\x89PNG")
