"""Charts with numbers under the mouse: the same data as the drawings, one file, and an error without Altair."""

import json
import math
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from torch.utils.tensorboard import SummaryWriter

from callbacks import write_report
from callbacks.page.curve_chart import MOST_LINES, curve_chart
from callbacks.page.curves import LAYER_CHARTS, Curves, layer_curves, loss_curves
from callbacks.page.html import page_of
from callbacks.page.run import Run, Series

STEPS = [0, 1, 2, 4, 8, 100, 1000]
ODD = "net.a:b[0]</script>"
"""A name with all that Altair, Vega and HTML read as something else."""


def run_of(layers: int, steps: list[int] = STEPS, name: str = "run") -> Run:
    """Returns a run with all numbers that are drawn over steps."""
    numbers = {
        f"{plot}/{layer}": Series(steps, [0.1 * (place + 1)] * len(steps))
        for plot in ("activation_std", "activation_grad_std", "saturation")
        for place, layer in enumerate([ODD, *(f"net.{i}" for i in range(1, layers))])
    }
    numbers["update_ratio/net.0.weight"] = Series(steps, [-3.0] * len(steps))
    numbers["train_loss"] = Series(steps, [2.0] * len(steps))
    return Run(name, "folder", numbers)


def specs_of(html: str) -> list[dict[str, Any]]:
    """Returns the charts of a page."""
    scripts = re.findall(r'<script type="application/json">(.*?)</script>', html)
    return [json.loads(script) for script in scripts]


def rows_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return max(spec["datasets"].values(), key=len)


@pytest.fixture(scope="module")
def html() -> str:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    return page_of([run_of(3)], hover=True)


def test_each_chart_over_steps_has_numbers(html: str) -> None:
    specs = specs_of(html)
    labels = ["loss", *(chart.label for chart in LAYER_CHARTS)]
    assert [list(rows_of(spec)[0])[-1] for spec in specs] == labels
    assert html.count('<figure class="hover">') == len(labels)
    run = run_of(3)
    for chart, spec in zip(LAYER_CHARTS, specs[1:], strict=True):
        shown: dict[str, Series] = {}
        for row in rows_of(spec):
            line = shown.setdefault(row[chart.name], Series([], []))
            line.steps.append(row["step"])  # type: ignore[attr-defined]
            line.values.append(row[chart.label])  # type: ignore[attr-defined]
        expected = run.of_plot(chart.plot)
        assert list(shown) == list(expected)
        for name, series in expected.items():
            assert shown[name].steps == series.steps
            assert shown[name].values == pytest.approx(series.values, rel=1e-3)


def test_a_name_is_no_markup_and_no_path(html: str) -> None:
    assert ODD not in html
    assert {row["layer"] for row in rows_of(specs_of(html)[1])} >= {ODD}


def test_drawings_for_print_are_those_of_a_page_without(html: str) -> None:
    plain = page_of([run_of(3)])
    drawings = r'<div class="drawing".*?</svg>'
    assert re.findall(drawings, plain, re.DOTALL) == re.findall(
        drawings, html, re.DOTALL
    )
    assert "<script" not in plain


def test_asks_for_no_address(html: str) -> None:
    markup = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert not re.search(r'(?:src|href)="(?!#|data:)', markup)
    assert "script src" not in html
    assert "cdn" not in html.lower()
    assert "$schema" not in json.dumps(specs_of(html))


def test_pages_of_many_layers_and_steps_are_small() -> None:
    pytest.importorskip("altair")
    steps = list(range(0, 100_000, 100))
    runs = [run_of(64, steps, f"run {number}") for number in range(4)]
    page = page_of(runs, hover=True)
    assert len(page) < 3_000_000
    for spec in specs_of(page):
        shown = [row["step"] for row in rows_of(spec)]
        assert (shown[0], shown[-1]) == (steps[0], steps[-1])


def test_what_cannot_be_drawn_is_left_out() -> None:
    pytest.importorskip("altair")
    series = Series([0, 1, 2, 3], [1.0, 0.0, math.nan, math.inf])
    numbers = {"activation_std/a": series, "saturation/a": series}
    scale, fraction = specs_of(page_of([Run("", "", numbers)], hover=True))
    assert [row["step"] for row in rows_of(scale)] == [0]  # on a logarithmic axis
    assert [row["step"] for row in rows_of(fraction)] == [0, 1]


def test_nothing_positive_is_drawn_without_a_warning() -> None:
    """As of layers whose outputs are constant."""
    numbers = {
        f"{plot}/{layer}": Series([0, 1], [0.0, 0.0])
        for plot in ("activation_std", "activation_grad_std")
        for layer in "ab"
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*positive")  # matplotlib's
        assert "Scale of activations" in page_of([Run("run", "", numbers)])


def test_a_page_without_curves_needs_no_script() -> None:
    pytest.importorskip("vl_convert")
    numbers = {"anything": Series([0, 1], [0.0, 0.0])}
    assert "<script" not in page_of([Run("", "", numbers)], hover=True)


def test_drawings_show_some_of_many_layers() -> None:
    curves = layer_curves(run_of(30), LAYER_CHARTS[0])
    assert curves is not None
    assert len(curves.lines) == 30
    svg = curve_chart(curves)
    assert svg.count(">net.") == MOST_LINES
    assert all(f">{name}<" in svg for name in ("net.a:b[0]&lt;/script&gt;", "net.29"))


def test_losses_of_runs_are_told_apart() -> None:
    curves = loss_curves([run_of(1, name="first"), run_of(1, name="second")])
    assert isinstance(curves, Curves)
    assert [line.name for line in curves.lines] == [
        "first, train_loss",
        "second, train_loss",
    ]


@pytest.mark.parametrize("package", ["altair", "vl_convert"])
def test_without_a_package_the_error_says_what_to_install(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("altair")
    with SummaryWriter(str(tmp_path / "run")) as writer:
        writer.add_scalar("train_loss", 1.0, 0)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "callbacks.page.hover_chart", raising=False)
    page = tmp_path / "page.html"
    message = f"{package} is not installed: pip install altair vl-convert-python"
    with pytest.raises(ValueError, match=message):
        write_report(tmp_path, page, hover=True)
    assert not page.exists()
    assert write_report(tmp_path, page).is_file()


def test_twins_are_the_same(tmp_path: Path) -> None:
    pytest.importorskip("altair")
    with SummaryWriter(str(tmp_path / "run")) as writer:
        writer.add_scalar("train_loss", 1.0, 0)
    plain = write_report(tmp_path, tmp_path / "plain.html")
    hover = write_report(tmp_path, tmp_path / "hover.html", hover=True)
    for suffix in (".json", ".md"):
        first, second = (page.with_suffix(suffix) for page in (plain, hover))
        assert first.read_text() == second.read_text()
