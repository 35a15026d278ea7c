"""Faults of the loss and of the targets, on the unseen models."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .breaks import append, map_loss, map_output, swap_loss
from .breaks_of_training import permute_labels
from .cases import Sick
from .faults import fault
from .models import Model
from .unseen_breaks import change_inputs
from .unseen_faults_of_initialization import ALL


@fault("vision_transformer text_cnn signs_by_lion", "loss_input")
def probabilities_before_cross_entropy(model: Model) -> Sick:
    return Sick([map_output(lambda x: F.softmax(x, 1))], ["", model.head])


@fault("cnn_groupnorm mlp_dropout_half", "loss_input")
def softmax_behind_head(model: Model) -> Sick:
    places = ["", "net.softmax", model.head]
    return Sick([append("softmax", lambda: nn.Softmax(1))], places)


@fault("clipping_by_value cyclic_rate", "loss_input")
def softmax_over_rows(model: Model) -> Sick:
    return Sick([map_output(lambda x: F.softmax(x, 0))], ["", model.head])


@fault("multi_label regression_ordinal", "loss_input")
def sigmoid_before_logits_loss(model: Model) -> Sick:
    return Sick([map_output(torch.sigmoid)], ["", model.head])


@fault("mlp_dropout_half warm_restarts", "loss_input")
def logits_into_likelihood(model: Model) -> Sick:
    return Sick([swap_loss(nn.NLLLoss())], ["", model.head])


@fault("mlp_wide signs_by_lion", "loss_input")
def probabilities_into_likelihood(model: Model) -> Sick:
    breaks = [append("softmax", lambda: nn.Softmax(1)), swap_loss(F.nll_loss)]
    return Sick(breaks, ["", "net.softmax", model.head])


@fault("deep_sets entity_embeddings", "loss_input loss_stalls")
def targets_broadcast(_: Model) -> Sick:
    # (N, 1) - (N,) is N x N: the network learns the mean.
    return Sick([swap_loss(F.mse_loss)], [""])


@fault("cosine_margin selu_alpha_dropout", "update_low loss_stalls initial_loss")
def loss_by_a_million(_: Model) -> Sick:
    # By SGD; the losses are in millionths, and do not fall.
    return Sick([map_loss(lambda loss: loss / 1e6)], ALL)


@fault("lstm_forecast normalizing_flow mlp_mish_moons", "loss_diverges nonfinite")
def sign_of_the_loss(_: Model) -> Sick:
    return Sick([map_loss(torch.neg)], ALL)


@fault(
    "tcn_weight_norm deep_sets lstm_forecast", "input_scale initial_loss loss_stalls"
)
def targets_in_thousands(_: Model) -> Sick:
    def units(targets: Tensor) -> Tensor:
        return 3000 * targets + 20000

    return Sick([change_inputs(units, -1)], ALL)


@fault("mobilenet_v2 text_cnn vision_transformer deep_sets", "loss_stalls")
def labels_of_other_rows(_: Model) -> Sick:
    return Sick([permute_labels()], [""])


@fault("packed_gru bilstm_tagger", "loss_stalls")
def tokens_of_noise(_: Model) -> Sick:
    def noise(ids: Tensor) -> Tensor:
        return torch.randint_like(ids, 1, 27)

    return Sick([change_inputs(noise)], [""])


@fault("signs_by_lion cnn_groupnorm", "input_scale loss_stalls")
def images_of_zeros(_: Model) -> Sick:
    places = ["", "input", "net.fc1", "net.conv1"]
    return Sick([change_inputs(torch.zeros_like)], places)


@fault("mlp_pyramid mlp_dropout_half warm_restarts", "input_scale")
def pixels_to_255(_: Model) -> Sick:
    def pixels(x: Tensor) -> Tensor:
        return 96 * x + 78

    return Sick([change_inputs(pixels)], ["", "input", "net.fc1"])


@fault("lstm_forecast tcn_weight_norm", "input_scale")
def series_in_kelvin(_: Model) -> Sick:
    def kelvin(x: Tensor) -> Tensor:
        return 10 * x + 290

    places = ["", "input", "net.lstm", "net.convs.0"]
    return Sick([change_inputs(kelvin)], places)


@fault("mixture_density mlp_narrow fourier_features", "input_scale")
def inputs_in_tiny_units(_: Model) -> Sick:
    def units(x: Tensor) -> Tensor:
        return x / 3000

    places = ["", "input", "net.fc1", "net.features", "net.mlp.fc1"]
    return Sick([change_inputs(units)], places)
