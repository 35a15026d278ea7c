"""Zoo of healthy and sick trainings, for `benchmarks/verdicts.py`."""

from . import (  # isort: skip  # models before the faults that break them
    healthy_generative,
    healthy_names,
    healthy_optimization,
    healthy_tables,
    healthy_transfer,
    healthy_vision,
    unseen_healthy_deep,
    unseen_healthy_generative,
    unseen_healthy_practice,
    unseen_healthy_representations,
    unseen_healthy_rewards,
    unseen_healthy_sequences,
    unseen_healthy_structures,
    unseen_healthy_tables,
    unseen_healthy_vision,
)
from . import (
    faults_of_initialization,
    faults_of_numbers,
    faults_of_optimization,
    unseen_faults_of_initialization,
    unseen_faults_of_loss,
    unseen_faults_of_numbers,
    unseen_faults_of_optimization,
)
from .cases import Case
from .faults import FAULTS
from .models import MODELS
from .mutations import mutations
from .split import Part, part_of

__all__ = [
    "FAULTS",
    "MODELS",
    "Case",
    "cases_of",
    "faults_of_initialization",
    "faults_of_numbers",
    "faults_of_optimization",
    "healthy_generative",
    "healthy_names",
    "healthy_optimization",
    "healthy_tables",
    "healthy_transfer",
    "healthy_vision",
    "unseen_faults_of_initialization",
    "unseen_faults_of_loss",
    "unseen_faults_of_numbers",
    "unseen_faults_of_optimization",
    "unseen_healthy_deep",
    "unseen_healthy_generative",
    "unseen_healthy_practice",
    "unseen_healthy_representations",
    "unseen_healthy_rewards",
    "unseen_healthy_sequences",
    "unseen_healthy_structures",
    "unseen_healthy_tables",
    "unseen_healthy_vision",
]


def cases_of(part: Part, seed: int) -> list[Case]:
    """Returns the cases of a part: the healthy ones, the faults, and the mutations that the seed draws."""
    models = [each for each in MODELS.values() if part_of(each.name) == part]
    healthy = [Case("healthy", each.name, each) for each in models]
    faults = [case for case in FAULTS if case.part == part]
    return [*healthy, *faults, *mutations(part, seed)]
