"""Picture of the last steps: loss, gradient norms, outputs of layers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .rows import Numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LINES = 12
"""Layers in the picture: those whose output is the largest in the last step."""

Lines = Mapping[str, Sequence[float | None]]


def save_picture(path: Path, numbers: Sequence[Numbers], step: int) -> bool:
    """Draws the last steps, and marks one; returns False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes: Any = figure.subplots(3, sharex=True)
    steps = [each.step for each in numbers]
    for panel, (label, lines) in zip(axes, panels_of(numbers).items(), strict=True):
        draw_panel(panel, label, steps, lines)
        panel.axvline(step, color="tab:red", linestyle=":", linewidth=1)
    axes[0].set_title(f"the last {len(numbers)} steps; the dotted line is step {step}")
    axes[-1].set_xlabel("step")
    figure.savefig(path, dpi=100)
    return True


def panels_of(numbers: Sequence[Numbers]) -> dict[str, Lines]:
    """Returns the lines of each panel, by its label."""
    names = dict.fromkeys(name for each in numbers for name in each.magnitudes)
    last = numbers[-1].magnitudes if numbers else {}
    largest = sorted(names, key=lambda name: last.get(name, 0.0))[-MOST_LINES:]
    outputs = {
        name: [each.magnitudes.get(name) for each in numbers]
        for name in names
        if name in largest
    }
    return {
        "loss": {"loss": [each.loss for each in numbers]},
        "gradient norm": {
            "before clipping": [each.grad_norm for each in numbers],
            "after clipping": [each.clipped for each in numbers],
        },
        "largest magnitude of outputs": outputs,
    }


def draw_panel(axes: "Axes", label: str, steps: Sequence[int], lines: Lines) -> None:
    """Draws lines over steps, on a log scale where all numbers are positive."""
    for name, values in lines.items():
        points = [float("nan") if value is None else value for value in values]
        axes.plot(steps, points, marker=".", markersize=4, linewidth=1, label=name)
    axes.set_ylabel(label)
    known = [value for line in lines.values() for value in line if value is not None]
    if known and min(known) > 0:
        axes.set_yscale("log")
    if len(lines) > 1:
        axes.legend(fontsize="small", ncols=2)
