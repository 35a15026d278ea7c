"""NonfiniteOrigin: the place where NaN or infinities began."""

from dataclasses import dataclass

from .request import Quantity


@dataclass(frozen=True)
class NonfiniteOrigin:
    """Place where NaN or infinities began.

    Attributes:
        step: Step on the axis of all plots.
        where: Name of the layer or parameter; "batch" for the batch; "" for the model itself.
        quantity: What is not finite there; None of the batch, and where it could not be told.
        operation: Operation of PyTorch that made it, such as "log"; empty where there is none.
        count: Number of values that are not finite.
        message: One sentence with all of it.
    """

    step: int
    where: str
    quantity: Quantity | None
    operation: str
    count: int
    message: str
