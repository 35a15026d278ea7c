"""Search for the first step and place at which two runs differ beyond rounding."""

from collections.abc import Mapping, Sequence

from .comparison import differing_settings
from .parting import Parting
from .parting_messages import drift_message, equality, parting_message
from .run import Run
from .run_difference import RunDifference, StageRow
from .tag_differences import STAGES, TagDifferences, differences_of

JUMP = 30.0
"""Factor from one step to the next up to which rounding errors may grow."""

GRADUAL = "numbers"
"""Stage that is judged only where the others are equal: an accuracy moves by a whole example."""

Steps = Mapping[int, Sequence[TagDifferences]]
"""Tags that both runs have, by step."""


def difference_of(first: Run, second: Run, tolerance: float) -> RunDifference | None:
    """Compares two runs; None if they have no tag and step in common."""
    tags = differences_of(first, second)
    computed = by_step([each for each in tags if each.stage != GRADUAL])
    logged = by_step([each for each in tags if each.stage == GRADUAL])
    if not (computed or logged):
        return None
    parting = parting_of(computed, tolerance) or parting_of(logged, tolerance)
    growth = growth_of(computed or logged)
    names = (first.name, second.name)
    settings = differing_settings([first, second])
    if parting is None:
        kind, message = equality(tags, growth, tolerance)
        return RunDifference(
            *(names, kind, message),
            tolerance=tolerance,
            growth=growth,
            settings=settings,
        )
    is_drift = parting.first.stage != GRADUAL and drifts(parting, growth)
    kind = "drift" if is_drift else parting.first.stage
    message = drift_message(parting) if is_drift else parting_message(parting)
    return RunDifference(
        *(names, kind, message),
        step=parting.step,
        where=parting.first.where,
        tag=parting.first.tag,
        values=parting.difference.values,
        tolerance=tolerance,
        stages=stage_rows(parting),
        growth=growth,
        settings=settings,
    )


def by_step(tags: Sequence[TagDifferences]) -> dict[int, list[TagDifferences]]:
    """Returns tags by step, ascending."""
    steps: dict[int, list[TagDifferences]] = {}
    for each in tags:
        for step in each.differences:
            steps.setdefault(step, []).append(each)
    return dict(sorted(steps.items()))


def parting_of(steps: Steps, tolerance: float) -> Parting | None:
    """Returns the first step with a difference beyond the tolerance; None if there is none."""
    before = None
    for step, tags in steps.items():
        differing = [each for each in tags if each.excess(step) > tolerance]
        if differing:
            return Parting(step, tags, differing, before)
        before = step
    return None


def growth_of(steps: Steps) -> list[tuple[int, float]]:
    """Returns the largest difference of each step, see `TagDifferences.excess`."""
    return [
        (step, max(each.excess(step) for each in tags)) for step, tags in steps.items()
    ]


def drifts(parting: Parting, growth: Sequence[tuple[int, float]]) -> bool:
    """True if differences within the tolerance have grown beyond it, by `JUMP` a step at most."""
    earlier = [size for step, size in growth if step < parting.step]
    if parting.before is None or not any(earlier):
        return False
    stage, step = parting.first.stage, parting.step
    parameters = parting.excesses("parameters")
    gap = step - parting.before
    if stage != "parameters" and parameters:
        # Parameters that are equal at this step leave it no more than the errors of one step.
        gap = 1
        earlier += parameters
    return max(parting.excesses(stage)) <= max(earlier) * JUMP ** min(gap, 100)


def stage_rows(parting: Parting) -> list[StageRow]:
    """Returns a row for each stage of the step at which two runs part."""
    rows: list[StageRow] = []
    for stage in STAGES:
        tags = parting.of_stage(stage)
        differing = [each for each in parting.differing if each.stage == stage]
        sizes = parting.sizes(stage)
        first = differing[0].where if differing else ""
        if tags:
            rows.append(StageRow(stage, len(tags), len(differing), max(sizes), first))
    return rows
