"""Picture of the last steps: loss, gradient norms, outputs of layers."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .rows import Numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LINES = 12
"""Layers in the picture: those whose output is the largest in the last step."""

WIDE = 30.0
"""Factor between the smallest and the largest number from which an axis is logarithmic."""

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
    norms = {"before clipping": [each.grad_norm for each in numbers]}
    if any(each.clipped != each.grad_norm for each in numbers[:-1]):
        norms["after clipping"] = [each.clipped for each in numbers]
    return {
        "loss": {"loss": [each.loss for each in numbers]},
        "gradient norm": norms,
        "largest magnitude of outputs": outputs_of(numbers),
    }


def outputs_of(numbers: Sequence[Numbers]) -> Lines:
    """Returns the largest magnitudes of the layers whose output is the largest in the last step."""
    names = dict.fromkeys(name for each in numbers for name in each.magnitudes)
    last = numbers[-1].magnitudes if numbers else {}

    def size(name: str) -> float:
        value = last.get(name, 0.0)
        return value if math.isfinite(value) else math.inf

    largest = set(sorted(names, key=size)[-MOST_LINES:])
    return {
        name: [each.magnitudes.get(name) for each in numbers]
        for name in names
        if name in largest
    }


def draw_panel(axes: "Axes", label: str, steps: Sequence[int], lines: Lines) -> None:
    """Draws lines over steps, on a log scale where it is of use; crosses at the top are NaN and infinities."""
    for name, values in lines.items():
        points = [math.nan if value is None else value for value in values]
        line = axes.plot(steps, points, marker=".", markersize=4, linewidth=1)[0]
        line.set_label(name)
        bad = [
            step
            for step, value in zip(steps, values, strict=True)
            if value is not None and not math.isfinite(value)
        ]
        top = axes.get_xaxis_transform()
        shade = line.get_color()
        axes.plot(bad, [0.97] * len(bad), "x", color=shade, transform=top)
    axes.set_ylabel(label)
    if is_wide([value for line in lines.values() for value in line]):
        axes.set_yscale("log")
    if len(lines) > 1:
        axes.legend(fontsize="small", ncols=2)


def is_wide(values: Sequence[float | None]) -> bool:
    """True if numbers are positive and span more than a factor of `WIDE`."""
    finite = [each for each in values if each is not None and math.isfinite(each)]
    return bool(finite) and min(finite) > 0 and max(finite) > WIDE * min(finite)
