"""Registry of the faults: breaks at a chosen place, each on models of more than one part of the zoo."""

from collections.abc import Callable, Iterable

from .cases import Case, Sick
from .models import MODELS, Model

Make = Callable[[Model], Sick]

FAULTS: list[Case] = []
"""All faults."""


def fault(
    on: str, rules: str, silent: bool = False, nan_steps: Iterable[int] = ()
) -> Callable[[Make], Make]:
    """Registers a function of a model as a fault of some models.

    Args:
        on: Names of the models.
        rules: Names of the rules that name the cause.
        silent: True if the loss falls as before.
        nan_steps: Steps at which the first NaN or infinity may be reported.
    """

    def register(make: Make) -> Make:
        for name in on.split():
            sick = make(MODELS[name])
            case = Case(
                "fault",
                make.__name__,
                MODELS[name],
                tuple(sick.breaks),
                frozenset(rules.split()),
                frozenset(sick.places),
                silent,
                frozenset(nan_steps),
            )
            FAULTS.append(case)
        return make

    return register
