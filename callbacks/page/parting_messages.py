"""Sentences on two runs: up to which step they are equal, what differs first, and what to look for."""

from collections.abc import Sequence

from .parting import Parting
from .tag_differences import STAGES, TagDifferences

LOW_PRECISION = 0.01
"""Relative difference of activations up to which the cause may be bfloat16 or float16."""


def equality(
    tags: Sequence[TagDifferences],
    growth: Sequence[tuple[int, float]],
    tolerance: float,
) -> tuple[str, str]:
    """Returns kind and message of two runs that do not differ beyond the tolerance."""
    compared = f"{len(tags)} tags at {len(growth)} steps"
    is_exact = [
        difference.is_exact for each in tags for difference in each.differences.values()
    ]
    if all(is_exact):
        return "equal", f"Equal to the last bit: {compared}."
    largest = max(size for _, size in growth)
    return (
        "rounding",
        f"Equal within rounding: {compared}, the largest relative difference {largest:.1e}, where {tolerance:g} is "
        "allowed; gradients and updates may differ by 100 times as much.",
    )


def drift_message(parting: Parting) -> str:
    """Returns the sentences on rounding errors that grow."""
    return (
        f"Equal within rounding up to step {parting.before}; then the differences grow, as rounding errors do: another "
        f"machine, number of threads or version. The first beyond the tolerance is {parting.first.tag} at step "
        f"{parting.step}."
    )


def parting_message(parting: Parting) -> str:
    """Returns the sentences on two runs that part at once: up to where they are equal, and what to look for."""
    explain = EXPLANATIONS[parting.first.stage]
    sentences = [since(parting), explain(parting)]
    stage = parting.first.stage
    is_small = max(parting.sizes(stage)) <= LOW_PRECISION
    if stage == "activations" and is_small:
        sentences.append("Differences as small as these are what bf16 or 16-bit makes.")
    return " ".join(filter(None, sentences))


def since(parting: Parting) -> str:
    """Returns a sentence on the steps before."""
    if parting.before is None:
        return ""
    return f"Equal up to step {parting.before}."


def explain_parameters(parting: Parting) -> str:
    """Names the initialization, or the updates before this step."""
    differing = {each.where for each in parting.differing if each.stage == "parameters"}
    count = f"{len(differing)} of {len(parting.places('parameters'))} parameters"
    start = f"At step {parting.step} {count} differ, {parting.first.where} first:"
    if parting.before is None:
        return f"{start} the initialization, its seed, or a checkpoint."
    if parting.step - parting.before == 1:
        return (
            f"{start} the optimizer moved them in another way in step {parting.before}."
        )
    return (
        f"{start} the cause is in one of the steps {parting.before} to {parting.step - 1}, not all of which were "
        "recorded."
    )


def explain_activations(parting: Parting) -> str:
    """Names the batch, or the code between two layers."""
    where, places = parting.first.where, parting.places("activations")
    start = f"At step {parting.step} {equal_before(parting)}outputs of {where} differ:"
    position = places.index(where)
    if position == 0:
        return f"{start} the batch, or the code up to this first recorded layer."
    return f"{start} the code of this layer, or between {places[position - 1]}, whose outputs are equal, and {where}."


def explain_loss(parting: Parting) -> str:
    """Names the targets and the loss function."""
    places = parting.places("activations")
    last = f"layers after {places[-1]}" if places else "the batch, the layers"
    return (
        f"At step {parting.step} {equal_before(parting)}{parting.first.where} differs: the targets, the loss function, "
        f"or {last}."
    )


def explain_gradients(parting: Parting) -> str:
    """Names the backward pass."""
    return (
        f"At step {parting.step} {equal_before(parting)}gradients differ, from {parting.first.where} backwards: the "
        "loss, or a backward pass."
    )


def explain_updates(parting: Parting) -> str:
    """Names the optimizer."""
    return (
        f"At step {parting.step} {equal_before(parting)}the updates differ, of {parting.first.where} first: the "
        "optimizer, its learning rate or weight decay, or clipping."
    )


def explain_numbers(parting: Parting) -> str:
    """Names the logged number."""
    tag = parting.first.tag
    return f"At step {parting.step} the logged number {tag} differs, and no loss or value of a layer does."


EXPLANATIONS = {
    "parameters": explain_parameters,
    "activations": explain_activations,
    "loss": explain_loss,
    "gradients": explain_gradients,
    "updates": explain_updates,
    "numbers": explain_numbers,
}
"""Sentence by the stage that differs first."""


def equal_before(parting: Parting) -> str:
    """Returns the recorded stages before the one that differs first, as the begin of a clause."""
    stages = STAGES[: STAGES.index(parting.first.stage)]
    recorded = [stage for stage in stages if parting.of_stage(stage)]
    if not recorded:
        return ""
    *most, last = recorded
    listed = f"{', '.join(most)} and {last}" if most else last
    return f"{listed} are equal, and "
