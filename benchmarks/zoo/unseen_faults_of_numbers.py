"""Faults that make a NaN or an infinity, on the unseen models."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .breaks import scale_weights, swap_loss
from .breaks_of_numbers import trap
from .breaks_of_training import change_batches, nan_in_batch
from .cases import Sick
from .faults import fault
from .faults_of_numbers import BATCH
from .models import Model
from .unseen_breaks import change_inputs


@fault("cnn_groupnorm lstm_forecast selu_alpha_dropout", "nonfinite", nan_steps=[61])
def nan_in_a_row(_: Model) -> Sick:
    first = ["net.conv1", "net.lstm", "net.fc1"]
    return Sick([nan_in_batch(61)], [*BATCH, *first])


@fault("converged_long_ago mlp_pyramid", "nonfinite", nan_steps=[0])
def constant_column_standardized(model: Model) -> Sick:
    def standardize(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, 3] = 1.0
        return (x - x.mean(0)) / x.std(0)

    return Sick([change_inputs(standardize)], [*BATCH, model.hidden[0]])


def log_of_zero(x: Tensor) -> Tensor:
    """Logarithm of what a ReLU cuts off."""
    return torch.log(F.relu(x))


@fault("cnn_groupnorm mlp_pyramid", "nonfinite", nan_steps=[83])
def log_of_relu(_: Model) -> Sick:
    return Sick([trap("net.act2", log_of_zero, 83)], ["net.act2"])


def square_overflows(x: Tensor) -> Tensor:
    """Energy in units that are too small."""
    return (1e25 * (x.abs() + 1)).square()


@fault("deep_sets lstm_forecast", "nonfinite", nan_steps=[172])
def square_of_large_numbers(model: Model) -> Sick:
    place = "net.points.act1" if model.name == "deep_sets" else "net.head"
    return Sick([trap(place, square_overflows, 172)], [place])


def softmax_of_nothing(x: Tensor) -> Tensor:
    """Softmax over positions that are all masked."""
    return x.masked_fill(torch.ones_like(x, dtype=torch.bool), -torch.inf).softmax(-1)


@fault("llama signs_by_lion", "nonfinite", nan_steps=[44])
def all_positions_masked(model: Model) -> Sick:
    place = "net.blocks.1.project" if model.name == "llama" else model.activations[0]
    return Sick([trap(place, softmax_of_nothing, 44)], [place])


def entropy_behind_where(x: Tensor) -> Tensor:
    """Entropy whose infinite derivative at zero `torch.where` does not keep off."""
    distances = x - x.amin(-1, keepdim=True)
    return torch.where(distances > 0, distances * distances.log(), 0.0)


@fault("mlp_mish_moons column_transformer", "nonfinite", nan_steps=[119])
def entropy_in_backward(model: Model) -> Sick:
    place = model.hidden[1] if model.hidden else model.head
    return Sick([trap(place, entropy_behind_where, 119)], [place])


def root_of_distance(x: Tensor) -> Tensor:
    """Root of the distance to the least number, which is zero once."""
    return (x - x.amin(-1, keepdim=True)).pow(0.5)


@fault("mlp_wide entity_embeddings", "nonfinite", nan_steps=[158])
def root_in_backward(model: Model) -> Sick:
    place = model.activations[0] if model.hidden else "net.mlp.act1"
    return Sick([trap(place, root_of_distance, 158)], [place])


def cosine_by_hand(x: Tensor) -> Tensor:
    """Cosine of a vector of zeros, without a lower bound of its length."""
    zeros = x - x
    return zeros / zeros.norm(dim=-1, keepdim=True)


@fault("triplet_margin cosine_margin", "nonfinite", nan_steps=[91])
def cosine_of_zeros(model: Model) -> Sick:
    place = "net.head" if model.name == "triplet_margin" else "net.mlp.head"
    return Sick([trap(place, cosine_by_hand, 91)], [place])


LOSS = ["", "loss"]


@fault("bilstm_tagger", "nonfinite", nan_steps=[53])
def all_targets_ignored(_: Model) -> Sick:
    def ignore(number: int, batch: list[Tensor]) -> list[Tensor]:
        if number == 53:
            batch[-1] = torch.full_like(batch[-1], -100)
        return batch

    return Sick([change_batches(ignore)], LOSS)


def likelihood_by_hand(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy as the logarithm of a softmax, which may be zero."""
    probabilities = logits.softmax(1).gather(1, targets[:, None])
    return -probabilities.log().mean()


@fault("mlp_dropout_half", "nonfinite", nan_steps=[0])
def log_of_softmax_by_hand(model: Model) -> Sick:
    breaks = [scale_weights(model.head, by=3000), swap_loss(likelihood_by_hand)]
    return Sick(breaks, LOSS)
