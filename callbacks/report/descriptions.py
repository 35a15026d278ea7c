"""Descriptions of tags, which TensorBoard shows beside a chart: what it is, what is good, and what is not."""

from ..measure.formats import FORMATS

RANGES = {
    "underflow": (
        "Fraction of the values that are not zero and would become zero in {format} (at {zero:.2g} and below). "
        "**Good:** below 0.01, or not there. **Bad:** most of a gradient: it needs a scale, or a wider format."
    ),
    "subnormal": (
        "Fraction of the values that would be subnormal in {format} (below {normal:.2g}), with fewer digits. "
        "**Bad:** most of them."
    ),
    "overflow": (
        "Fraction of the values beyond the largest number of {format}, {largest:.5g}. **Good:** this chart is not "
        "there."
    ),
}
"""Markdown by the second part of the names of `NumberRange`'s charts."""


def range_descriptions() -> dict[str, str]:
    """Returns the descriptions of the charts of `NumberRange`."""
    descriptions: dict[str, str] = {}
    for name, each in FORMATS.items():
        limits = {
            "zero": each.step / 2,
            "normal": 2.0**each.lowest,
            "largest": each.largest,
        }
        for kind, text in RANGES.items():
            descriptions[f"{name}_{kind}"] = text.format(format=name, **limits)
    return descriptions


DESCRIPTIONS = {
    "activation": (
        "Distribution of the outputs of a layer. **Good:** a spread that stays alike from layer to layer. "
        "**Bad:** all values near zero, or at the ends of a tanh or sigmoid."
    ),
    "activation_mean": "Mean of the outputs of a layer.",
    "activation_std": (
        "Standard deviation of the outputs of a layer. **Good:** lines side by side, largest : smallest below 3 at "
        "step 0. **Bad:** a factor of 10 between layers: the signal dies or explodes with depth."
    ),
    "activation_grad": (
        "Distribution of the loss's gradient for the outputs of a layer. **Good:** alike from layer to layer."
    ),
    "activation_grad_mean": "Mean of the loss's gradient for the outputs of a layer.",
    "activation_grad_std": (
        "Standard deviation of the loss's gradient for the outputs of a layer. **Good:** lines side by side. "
        "**Bad:** a factor of 10 between layers; from 100 on the first or the last layers do not learn."
    ),
    "weight": "Distribution of a parameter before the update.",
    "weight_mean": "Mean of a parameter before the update.",
    "weight_std": "Standard deviation of a parameter before the update.",
    "weight_grad": "Distribution of the gradient of a parameter, unscaled and before clipping.",
    "weight_grad_mean": "Mean of the gradient of a parameter, unscaled and before clipping.",
    "weight_grad_std": "Standard deviation of the gradient of a parameter, unscaled and before clipping.",
    "grad_data_ratio": (
        "std(gradient) / std(parameter), before the update. **Good:** 0.01 to 0.07 in small networks; factors of 100 "
        "between parameters are normal in transformers. **Bad:** a factor of 1000."
    ),
    "grad_norm": (
        "L2 norm of all gradients, unscaled and before clipping. **Good:** settles after the first steps. "
        "**Bad:** peaks that go with jumps of the loss."
    ),
    "grad_norm/clipped": (
        "L2 norm of the gradients that the optimizer takes, unscaled and after clipping. **Good:** at the limit where "
        "`total` is above it. **Bad:** equal to `total` above the limit: clipping does not work."
    ),
    "grad_norm/clip_active": (
        "Fraction of the due steps up to now on which clipping lowered the norm of the gradients. **Good:** small, or "
        "as it is meant. **Bad:** 0 to the end where clipping is meant to work; 1 where it is meant for peaks alone."
    ),
    "update_ratio": (
        "log10( std(update) / std(parameter) ), of the true change. **Good:** near -3, up to -2 for the last layer. "
        "**Bad:** most layers above -1.5: the learning rate is too high; below -4.5: the layer hardly moves."
    ),
    "saturation": (
        "Fraction of the outputs at which the activation is flat. **Good:** below 0.15 of tanh and sigmoid; about "
        "half of ReLU, whose zeros are how it works. **Bad:** above 0.3 of tanh and sigmoid, above 0.9 of ReLU."
    ),
    "dead_units": (
        "Fraction of the units that are flat on every example of the batch: they learn nothing from it. "
        "**Good:** near 0. **Bad:** above 0.5 at all steps."
    ),
    "nonfinite": "Number of NaN and infinite values. **Good:** this chart is not there.",
    "health": (
        "Number of places at which a rule of HealthCheck is broken; `verdict`: 0 ok, 1 warn, 2 fail. The Text page has "
        "the findings, with their remedies."
    ),
    "overview": (
        "Lowest, median and highest number over all layers or parameters; the Custom Scalars page draws them as bands."
    ),
    "Overview": (
        "The whole model: every layer (the first on top) at every observed step, and the scale of layers over depth, "
        "dotted at the first step; with the verdict of HealthCheck. **Good:** colors that stay alike from top to "
        "bottom. **Bad:** colors that change from layer to layer; yellow in `saturated`."
    ),
    "activation_distribution": "Curves of the distributions of activations, one a layer. **Good:** alike.",
    "activation_grad_distribution": "Curves of the distributions of gradients of activations. **Good:** alike.",
    "weight_grad_distribution": "Curves of the distributions of gradients of parameters, with gradient : weight.",
    "saturation_map": "Examples by units; white is saturated. **Bad:** a white column is a dead unit.",
    "number_range": (
        "Magnitudes by octave, one row a layer or parameter, darker where there are more values; the gray bars are "
        "what each format holds, thin where its numbers are subnormal. **Good:** rows below the thick part of a bar, "
        "or narrow enough to be moved there by a scale."
    ),
    **range_descriptions(),
}
"""Markdown by tag, or by the first part of all other tags."""


def description_of(tag: str) -> str:
    """Returns what TensorBoard shows beside the chart of a tag; "" of a tag that is not ours."""
    return DESCRIPTIONS.get(tag) or DESCRIPTIONS.get(tag.partition("/")[0], "")
