"""Registry of the healthy trainings, which faults and mutations break."""

from collections.abc import Callable
from dataclasses import dataclass

from .training import Training


@dataclass(frozen=True)
class Model:
    """One healthy training and the names of its places.

    Attributes:
        name: Name of the training.
        family: Kind of network or task; the split is balanced over families.
        make: Builds the training with PyTorch's global generator.
        hidden: Names of hidden weight layers without normalization behind them, first to last.
        activations: Names of the activation behind each of these.
        head: Name of the last weight layer.
        falls: True if the loss must fall; that of a GAN or a bandit need not.
    """

    name: str
    family: str
    make: Callable[[], Training]
    hidden: tuple[str, ...] = ()
    activations: tuple[str, ...] = ()
    head: str = ""
    falls: bool = True


MODELS: dict[str, Model] = {}
"""All models by name."""

Make = Callable[[], Training]


def model(
    family: str, hidden: int = 0, head: str = "net.head", falls: bool = True
) -> Callable[[Make], Make]:
    """Registers a function under its name as a healthy training.

    Args:
        family: Kind of network or task.
        hidden: Number of hidden layers that are called `net.fc1`, ... and followed by `net.act1`, ...
        head: Name of the last weight layer.
        falls: True if the loss must fall.
    """

    def register(make: Make) -> Make:
        layers = tuple(f"net.fc{number}" for number in range(1, hidden + 1))
        activations = tuple(f"net.act{number}" for number in range(1, hidden + 1))
        name = make.__name__
        MODELS[name] = Model(name, family, make, layers, activations, head, falls)
        return make

    return register
