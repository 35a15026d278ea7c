"""LayerRow: numbers of one layer in a trial."""

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LayerRow:
    """Numbers of one layer: at step 0, if not said otherwise; None where there is no such number.

    Attributes:
        layer: Name as in `named_modules()`; of an activation function, that of its caller and its own.
        kind: Class name.
        shape: Shape of the output.
        mean: Mean of the output.
        std: Standard deviation of the output.
        saturated: Fraction of the outputs at which the activation is flat; of ReLU, its zeros.
        dead: Fraction of the units that are flat on every example of all steps of the trial.
        grad_std: Standard deviation of the gradient of the loss for the output.
        weight: Name of the parameter that the next two numbers are of.
        grad_data: Standard deviation of its gradient / its own.
        update_ratio: log10 of the standard deviation of an update / that of the parameter, median over all steps; None
            of a parameter whose elements were all equal at first.
        verdict: Worst severity of the findings in the layer and its parameters: "ok", "warn" or "fail".
    """

    layer: str
    kind: str
    shape: tuple[int, ...] | None = None
    mean: float | None = None
    std: float | None = None
    saturated: float | None = None
    dead: float | None = None
    grad_std: float | None = None
    weight: str | None = None
    grad_data: float | None = None
    update_ratio: float | None = None
    verdict: str = "ok"

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields; numbers that are not finite become None."""
        fields = asdict(self)
        return {name: finite_or_none(value) for name, value in fields.items()}


def finite_or_none(value: Any) -> Any:
    """Returns None of NaN and infinities, which JSON has not; anything else as it is."""
    is_number = isinstance(value, float)
    return None if is_number and not math.isfinite(value) else value
