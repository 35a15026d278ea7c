"""Unseen healthy trainings of sequences."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from .data import Batches, character_rows, table
from .fits import Fit, adam
from .models import model
from .networks import mlp
from .sequence_networks import sequence_loss
from .training import Training
from .unseen_data import learned, ratings
from .unseen_fits import decayed, optimizer_of
from .unseen_healthy_vision import warm_cosine
from .unseen_sequence_data import (
    double_letters,
    last_letters,
    neighbors,
    reversals,
    signals,
    speech,
)
from .unseen_sequence_networks import (
    CheckpointedGPT,
    ColumnTransformer,
    Llama,
    PackedGRU,
    Speech,
    Tagger,
    TextCNN,
    Translator,
)


@model("sequence")
def llama() -> Training:
    module = Fit(Llama(), sequence_loss, decayed(4e-3), warm_cosine)
    batches = Batches(*learned(*character_rows()), size=32)
    return Training(module, batches, {"gradient_clip_val": 1.0})


@model("sequence")
def gpt_checkpointed() -> Training:
    module = Fit(CheckpointedGPT(), sequence_loss, adam(2e-3))
    return Training(module, Batches(*learned(*character_rows()), size=32), steps=250)


@model("sequence")
def encoder_decoder() -> Training:
    module = Fit(Translator(), sequence_loss, adam(3e-3, betas=(0.9, 0.98)))
    batches = Batches(*learned(*reversals()), size=48)
    return Training(module, batches, steps=250)


def tag_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of all letters; what is behind a name is left out."""
    return F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=-100)


@model("sequence")
def bilstm_tagger() -> Training:
    module = Fit(Tagger(), tag_loss, adam(5e-3))
    return Training(module, Batches(*learned(*neighbors()), size=32))


@model("sequence")
def packed_gru() -> Training:
    optimizer = optimizer_of(torch.optim.Adam, lr=5e-3)
    module = Fit(PackedGRU(), F.cross_entropy, optimizer)
    return Training(module, Batches(*learned(*last_letters()), size=48))


def ctc(log_probabilities: Tensor, sounds: Tensor) -> Tensor:
    """Connectionist temporal classification."""
    rows, length, _ = log_probabilities.shape
    lengths = torch.full((rows,), length), torch.full((rows,), sounds.shape[1])
    return F.ctc_loss(log_probabilities.transpose(0, 1), sounds, *lengths)


@model("sequence")
def speech_ctc() -> Training:
    module = Fit(Speech(), ctc, adam(5e-3))
    batches = Batches(*learned(*speech()), size=32)
    return Training(module, batches, {"gradient_clip_val": 5.0}, steps=300)


@model("sequence")
def text_cnn() -> Training:
    optimizer = optimizer_of(torch.optim.Adadelta, lr=1.0)
    module = Fit(TextCNN(), F.cross_entropy, optimizer)
    return Training(module, Batches(*learned(*double_letters()), size=48))


class Forecast(nn.Module):
    """LSTM of two layers whose last output is mapped to the next eight values."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 32, 2, batch_first=True, dropout=0.1)
        self.head = nn.Linear(32, 8)

    def forward(self, series: Tensor) -> Tensor:
        outputs, _ = self.lstm(series)
        return self.head(outputs[:, -1])


@model("sequence")
def lstm_forecast() -> Training:
    module = Fit(Forecast(), F.l1_loss, adam(5e-3))
    return Training(module, Batches(*learned(*signals()), size=32))


class Causal(nn.Module):
    """Temporal convolutions with weight_norm that do not see the future."""

    def __init__(self) -> None:
        super().__init__()
        convs = []
        for number in range(4):
            before = 1 if number == 0 else 32
            convs.append(weight_norm(nn.Conv1d(before, 32, 3, dilation=2**number)))
        self.convs = nn.ModuleList(convs)
        self.head = nn.Linear(32, 8)

    def forward(self, series: Tensor) -> Tensor:
        h = series.transpose(1, 2)
        for number, conv in enumerate(self.convs):
            padded = F.pad(h, (2 * 2**number, 0))
            h = F.relu(conv(padded)) + (h if number else 0)
        return self.head(h[:, :, -1])


@model("sequence")
def tcn_weight_norm() -> Training:
    module = Fit(Causal(), F.mse_loss, adam(3e-3))
    return Training(module, Batches(*learned(*signals()), size=48))


class Factors(nn.Module):
    """Product of the embeddings of a user and an item, with sparse gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.users = nn.Embedding(80, 8, sparse=True)
        self.items = nn.Embedding(60, 8, sparse=True)
        for layer in (self.users, self.items):
            nn.init.normal_(layer.weight, std=0.3)

    def forward(self, pairs: Tensor) -> Tensor:
        return (self.users(pairs[:, 0]) * self.items(pairs[:, 1])).sum(1)


@model("sequence", head="")
def factorization_sparse() -> Training:
    optimizer = optimizer_of(torch.optim.SparseAdam, lr=1e-2)
    module = Fit(Factors(), F.mse_loss, optimizer)
    return Training(module, Batches(*learned(*ratings()), size=128), steps=400)


class OneHot(nn.Module):
    """Three letters as one-hot vectors before an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = mlp([81, 100, 27], nn.Tanh)

    def forward(self, ids: Tensor) -> Tensor:
        return self.mlp(F.one_hot(ids, 27).float().flatten(1))


@model("sequence", head="net.mlp.head")
def one_hot_letters() -> Training:
    ids, following = character_rows()
    windows = ids.unfold(1, 3, 1).flatten(0, 1)
    targets = following[:, 2:].flatten()
    module = Fit(OneHot(), F.cross_entropy, adam(5e-3))
    return Training(module, Batches(*learned(windows, targets), size=128))


@model("sequence")
def column_transformer() -> Training:
    module = Fit(ColumnTransformer(), F.cross_entropy, adam(1e-3))
    return Training(module, Batches(*learned(*table("wine")), size=32), steps=250)
