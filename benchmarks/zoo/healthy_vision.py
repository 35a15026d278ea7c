"""Healthy trainings of convolution networks and sequence networks."""

import torch.nn.functional as F
from torch import nn

from .data import Batches, character_rows, digit_images, discs, rare_words, waves
from .fits import Fit, adam, sgd
from .models import model
from .networks import cnn, convnext, resnet, unet, vgg
from .sequence_networks import (
    GPT,
    BagOfWords,
    CharacterRecurrent,
    Encoder,
    Recurrent,
    Temporal,
    sequence_loss,
)
from .training import Training


@model("vision", hidden=3)
def cnn_relu() -> Training:
    return Training(Fit(cnn(), F.cross_entropy), Batches(*digit_images(), size=48))


@model("vision", hidden=3)
def cnn_tanh() -> Training:
    net = cnn(activation=nn.Tanh)
    return Training(Fit(net, F.cross_entropy), Batches(*digit_images(), size=48))


@model("vision")
def vgg_batchnorm_dropout() -> Training:
    return Training(Fit(vgg(), F.cross_entropy), Batches(*digit_images(), size=48))


@model("vision")
def resnet_zero_gamma() -> Training:
    module = Fit(resnet(), F.cross_entropy, sgd(0.05, momentum=0.9))
    return Training(module, Batches(*digit_images(), size=32), steps=300)


@model("vision")
def squeeze_excite() -> Training:
    module = Fit(resnet(gate=True), F.cross_entropy, adam(2e-3))
    return Training(module, Batches(*digit_images(), size=32), steps=300)


@model("vision")
def convnext_layer_scale() -> Training:
    module = Fit(convnext(), F.cross_entropy, adam(2e-3))
    return Training(module, Batches(*digit_images(), size=48))


@model("vision", hidden=3)
def segmentation() -> Training:
    module = Fit(unet(), F.cross_entropy, adam(2e-3))
    return Training(module, Batches(*discs(), size=16))


@model("sequence")
def gpt_tied() -> Training:
    module = Fit(GPT(), sequence_loss, adam(2e-3))
    return Training(module, Batches(*character_rows(), size=32))


@model("sequence")
def gpt_untied() -> Training:
    module = Fit(
        GPT(tied=False, layers=3), sequence_loss, adam(1e-3, betas=(0.9, 0.95))
    )
    return Training(module, Batches(*character_rows(), size=32))


@model("sequence")
def lstm() -> Training:
    module = Fit(Recurrent("LSTM"), F.cross_entropy, adam(5e-3))
    return Training(module, Batches(*waves(), size=32))


@model("sequence")
def gru_characters() -> Training:
    module = Fit(CharacterRecurrent("GRU"), sequence_loss, adam(3e-3))
    return Training(module, Batches(*character_rows(), size=32))


@model("sequence")
def transformer_encoder() -> Training:
    module = Fit(Encoder(), F.cross_entropy, adam(2e-3))
    return Training(module, Batches(*waves(), size=32))


@model("sequence")
def temporal_convolutions() -> Training:
    module = Fit(Temporal(), F.cross_entropy, adam(2e-3))
    return Training(module, Batches(*waves(), size=32))


@model("sequence")
def rare_embeddings() -> Training:
    module = Fit(BagOfWords(), F.cross_entropy, adam(5e-3))
    return Training(module, Batches(*rare_words()))
