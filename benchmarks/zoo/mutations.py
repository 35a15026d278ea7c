"""Mutations: breaks of a healthy training at a place that is drawn at random."""

import random
from collections.abc import Callable

from torch import nn

from .breaks import detach, evaluate, fill, remove, scale_weights, shift_bias
from .breaks_of_training import (
    forget,
    multiply_rate,
    permute_labels,
    scale_inputs,
    set_rate_of,
)
from .cases import Case, Sick
from .models import MODELS, Model
from .split import Part, part_of

Mutate = Callable[[Model, random.Random], Sick]
Eligible = Callable[[Model], bool]

MUTATIONS: dict[str, tuple[Mutate, frozenset[str], bool, Eligible]] = {}
"""By name: the mutation, the rules that name it, whether it is silent, and the models it is drawn from."""


def mutation(
    rules: str, eligible: Eligible, silent: bool = False
) -> Callable[[Mutate], Mutate]:
    """Registers a mutation under the name of its function."""

    def register(mutate: Mutate) -> Mutate:
        row = (mutate, frozenset(rules.split()), silent, eligible)
        MUTATIONS[mutate.__name__] = row
        return mutate

    return register


def plain(model: Model) -> bool:
    """True of a supervised network with two hidden layers or more without norms."""
    return len(model.hidden) >= 2 and model.family not in ("generative", "rewards")


def classifies(model: Model) -> bool:
    """True of a plain network that classifies."""
    return (
        plain(model) and "regression" not in model.name and model.name != "contrastive"
    )


def takes_numbers(model: Model) -> bool:
    """True of a plain network whose inputs are floats."""
    return classifies(model) and model.family != "transfer"


def draw_layer(model: Model, generator: random.Random) -> int:
    return generator.randrange(len(model.hidden))


SCALE = "saturation activation_scale gradient_scale initial_loss"


@mutation(SCALE, classifies)
def weights_x30(model: Model, generator: random.Random) -> Sick:
    number = draw_layer(model, generator)
    layer = model.hidden[number]
    places = [layer, *model.activations[number:], model.head, ""]
    return Sick([scale_weights(layer, by=30)], places)


def is_deep(model: Model) -> bool:
    """True of a plain network with three hidden layers or more."""
    return classifies(model) and len(model.hidden) >= 3


@mutation("activation_scale gradient_scale", is_deep)
def all_weights_x_thirtieth(model: Model, _: random.Random) -> Sick:
    # A single small layer does no harm: the others make up for it within a few steps.
    places = ["", *model.hidden, *model.activations, model.head]
    return Sick([scale_weights(*model.hidden, by=1 / 30)], places)


def stacks(model: Model) -> bool:
    """True of a network without max-pooling, which is no linear function."""
    return classifies(model) and not model.name.startswith(("cnn", "bf16"))


@mutation("linear_stack", stacks, silent=True)
def activation_removed(model: Model, generator: random.Random) -> Sick:
    number = draw_layer(model, generator)
    layers = [*model.hidden, model.head][number : number + 2]
    return Sick([remove(model.activations[number])], layers)


@mutation("dead_units saturation", classifies)
def bias_minus_20(model: Model, generator: random.Random) -> Sick:
    number = draw_layer(model, generator)
    layer = model.hidden[number]
    return Sick([shift_bias(layer, by=-20)], [layer, model.activations[number]])


@mutation("unmoved", classifies, silent=True)
def layer_detached(model: Model, generator: random.Random) -> Sick:
    number = draw_layer(model, generator)
    return Sick([detach(model.hidden[number])], model.hidden[: number + 1])


@mutation("optimizer_params unmoved", classifies, silent=True)
def half_of_the_parameters(model: Model, generator: random.Random) -> Sick:
    count = len(model.hidden) // 2
    layers = generator.sample(list(model.hidden), max(1, count))
    return Sick([forget(*layers)], ["", *layers])


@mutation("unmoved", classifies, silent=True)
def rate_zero(model: Model, generator: random.Random) -> Sick:
    layer = model.hidden[draw_layer(model, generator)]
    return Sick([set_rate_of(layer, by=0)], [layer])


@mutation("update_high loss_diverges nonfinite", takes_numbers)
def rate_x300(model: Model, _: random.Random) -> Sick:
    places = ["", *model.hidden, *model.activations, model.head]
    return Sick([multiply_rate(300)], places)


@mutation("update_low loss_stalls", takes_numbers)
def rate_x_ten_thousandth(model: Model, _: random.Random) -> Sick:
    places = ["", *model.hidden, model.head]
    return Sick([multiply_rate(1e-4)], places)


@mutation("loss_stalls", takes_numbers)
def labels_shuffled(model: Model, _: random.Random) -> Sick:
    return Sick([permute_labels()], [""])


def needs_scale(model: Model) -> bool:
    """True of a plain network whose training inputs of another scale do harm."""
    return takes_numbers(model) and model.name != "cnn_tanh"


@mutation("input_scale", needs_scale)
def inputs_x200(model: Model, _: random.Random) -> Sick:
    return Sick([scale_inputs(200)], ["", "input", model.hidden[0]])


@mutation("symmetry", classifies)
def layers_constant(model: Model, generator: random.Random) -> Sick:
    number = draw_layer(model, generator)
    # Units stay alike only if the weights behind them are alike as well.
    before, behind = [*model.hidden, model.head][number : number + 2]
    places = [before, behind, model.activations[number]]
    return Sick([fill(before, behind, value=0.02)], places)


MODES = {"mlp_batchnorm", "resnet_zero_gamma", "transformer_encoder"} | {
    *("mlp_dropout", "vgg_batchnorm_dropout", "squeeze_excite"),
    *("mlp_dropout_half", "mobilenet_v2"),
}
"""Models with layers that differ between train and eval mode."""


@mutation("eval_mode batchnorm", lambda model: model.name in MODES, silent=True)
def layers_in_eval(model: Model, _: random.Random) -> Sick:
    kinds = (nn.Dropout, nn.BatchNorm1d, nn.BatchNorm2d)
    training = model.make()
    modules = training.module.named_modules()
    places = [name for name, module in modules if isinstance(module, kinds)]
    return Sick([evaluate(kinds)], ["", *places])


def mutations(part: Part, seed: int) -> list[Case]:
    """Returns each mutation once, of a model of a part and at a place that the seed draws."""
    cases = []
    for name, (mutate, rules, silent, eligible) in MUTATIONS.items():
        generator = random.Random(f"{name} {part} {seed}")
        models = [each for each in MODELS.values() if part_of(each.name) == part]
        model = generator.choice([each for each in models if eligible(each)])
        sick = mutate(model, generator)
        places = frozenset(sick.places)
        breaks = tuple(sick.breaks)
        case = Case("mutation", name, model, breaks, rules, places, silent)
        cases.append(case)
    return cases
