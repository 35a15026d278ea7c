"""Faults of the optimization and of the data."""

from makemore_lightning import NamesDataModule

from .breaks import detach, map_loss
from .breaks_of_training import (
    argue,
    cut_batches,
    forget,
    give_copy,
    multiply_rate,
    permute_labels,
    recreate,
    scale_inputs,
    set_rate_of,
    zero_grad,
)
from .cases import Sick
from .faults import fault
from .models import Model
from .training import Training


def all_of(model: Model) -> list[str]:
    """Returns the places of a model that a fault of the whole may be told by."""
    return ["", *model.hidden, *model.activations, model.head]


@fault("mlp_relu cnn_relu transformer_encoder cnn_tanh mlp_relu_spirals", "update_high")
def rate_x100(model: Model) -> Sick:
    return Sick([multiply_rate(100)], all_of(model))


HIGH = "update_high loss_diverges nonfinite"


@fault("mlp_tanh gpt_tied regression_diabetes mlp_kaiming regression_wiggle", HIGH)
def rate_x1000(model: Model) -> Sick:
    return Sick([multiply_rate(1000)], all_of(model))


LOW = "update_low loss_stalls"


@fault("mlp_relu lstm deep_tanh mlp_elu cnn_tanh", LOW)
def rate_far_too_low(model: Model) -> Sick:
    return Sick([multiply_rate(1e-4)], all_of(model))


@fault("mlp_gelu_layernorm cnn_relu mlp_relu_spirals class_weights", "unmoved", True)
def rate_zero_of_layer(model: Model) -> Sick:
    layer = model.hidden[1] if model.hidden else "net.fc2"
    return Sick([set_rate_of(layer, by=0)], [layer])


UNEVEN = "uneven_learning update_low unmoved"


@fault("mlp_tanh label_smoothing momentum mlp_kaiming", UNEVEN, True)
def rate_tiny_of_layer(model: Model) -> Sick:
    return Sick([set_rate_of(model.hidden[1], by=1e-5)], [model.hidden[1]])


@fault("mlp_relu mlp_tanh cnn_tanh mlp_relu_spirals", "unmoved", True)
def detached_layer(model: Model) -> Sick:
    places = [*model.hidden[:2]]
    return Sick([detach(model.hidden[1])], places)


@fault("gpt_tied rare_embeddings gru_characters", "unmoved", True)
def detached_embedding(model: Model) -> Sick:
    name = {"gpt_tied": "net.positions"}.get(model.name, "net.embedding")
    return Sick([detach(name)], [name])


@fault("mlp_relu segmentation mlp_kaiming", "optimizer_params unmoved", True)
def layer_not_in_optimizer(model: Model) -> Sick:
    layers = model.hidden[:2]
    return Sick([forget(*layers)], ["", *layers])


@fault("mlp_tanh lstm mlp_elu vgg_batchnorm_dropout", "optimizer_params unmoved")
def optimizer_of_copy(model: Model) -> Sick:
    layers = [f"net.fc{number}" for number in (1, 2, 3)]
    convs = [f"net.conv{number}" for number in (1, 2, 3, 4)]
    return Sick([give_copy], [*all_of(model), *layers, *convs, "net.rnn"])


@fault("mlp_relu cnn_relu mlp_relu_spirals", "optimizer_params unmoved", True)
def layer_recreated(model: Model) -> Sick:
    layer = model.hidden[1]
    return Sick([recreate(layer)], ["", layer])


@fault("by_hand accumulated_by_hand", "stale_gradients")
def zero_grad_forgotten(model: Model) -> Sick:
    return Sick([zero_grad("never")], all_of(model))


@fault("by_hand accumulated_by_hand", "unmoved stale_gradients")
def zero_grad_before_step(model: Model) -> Sick:
    return Sick([zero_grad("late")], all_of(model))


def two_names(training: Training) -> None:
    """Draws two rows of names a batch."""
    training.batches = NamesDataModule(batch_size=2)


@fault("mlp_batchnorm makemore_deep_batchnorm makemore_batchnorm", "batchnorm")
def batchnorm_of_two_rows(model: Model) -> Sick:
    names = model.family == "makemore"
    norms = [f"network.hidden.batchnorm{number}" for number in range(5)]
    places = ["", "net.norm1", "net.norm2", "network.head_norm", *norms]
    return Sick([two_names if names else cut_batches(2)], places)


@fault("mlp_relu cnn_relu regression_diabetes mlp_kaiming class_weights", "input_scale")
def inputs_unscaled(model: Model) -> Sick:
    first = model.hidden[0]
    return Sick([scale_inputs(80, 120)], ["", "input", first])


@fault("deep_tanh lstm mlp_relu_spirals temporal_convolutions", "input_scale")
def inputs_tiny(model: Model) -> Sick:
    first = model.hidden[0] if model.hidden else "net"
    places = ["", "input", first, "net.rnn", "net.stem"]
    return Sick([scale_inputs(1e-3)], places)


@fault("mlp_batchnorm cnn_relu mlp_dropout class_weights", "loss_stalls")
def labels_permuted(model: Model) -> Sick:
    return Sick([permute_labels()], [""])


@fault("mlp_relu lstm cnn_tanh mlp_elu", "loss_diverges")
def gradient_ascent(model: Model) -> Sick:
    return Sick([map_loss(lambda loss: -loss)], [""])


@fault("regression_diabetes regression_wiggle", "loss_diverges update_high nonfinite")
def rate_diverges(model: Model) -> Sick:
    return Sick([multiply_rate(3000)], all_of(model))


LOST = "low_precision unmoved update_low"


@fault("mlp_leaky momentum", LOST)
def bfloat16_weights(model: Model) -> Sick:
    breaks = [multiply_rate(0.002), argue(precision="bf16-true")]
    return Sick(breaks, all_of(model))
