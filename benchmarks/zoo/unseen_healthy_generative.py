"""Unseen healthy trainings of densities and generators."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data import Batches, digit_pixels
from .fits import Fit, adam
from .models import model
from .networks import mlp
from .training import Training
from .unseen_data import learned, moons


class SummedVAE(nn.Module):
    """Variational autoencoder as in PyTorch's examples, with the loss summed over a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(64, 128)
        self.mean, self.log_variance = nn.Linear(128, 6), nn.Linear(128, 6)
        self.fc3 = nn.Linear(6, 128)
        self.fc4 = nn.Linear(128, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.relu(self.fc1(x))
        mean, log_variance = self.mean(h), self.log_variance(h)
        latent = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        pixels = torch.sigmoid(self.fc4(F.relu(self.fc3(latent))))
        return pixels, mean, log_variance


def summed_evidence(outputs: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
    pixels, mean, log_variance = outputs
    likelihood = F.binary_cross_entropy(pixels, x, reduction="sum")
    divergence = 1 + log_variance - mean.square() - log_variance.exp()
    return likelihood - 0.5 * divergence.sum()


@model("generative", head="")
def vae_summed() -> Training:
    module = Fit(SummedVAE(), summed_evidence, adam(2e-3))
    return Training(
        module, Batches(digit_pixels(), digit_pixels(), size=128), steps=450
    )


class Quantized(nn.Module):
    """VQ-VAE: four vectors of a codebook an image, with straight-through gradients."""

    def __init__(self, codes: int = 32, width: int = 8) -> None:
        super().__init__()
        self.encoder = mlp([64, 128, 4 * width])
        self.codebook = nn.Embedding(codes, width)
        nn.init.uniform_(self.codebook.weight, -1 / codes, 1 / codes)
        self.decoder = mlp([4 * width, 128, 64])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encoder(x).view(len(x), 4, -1)
        distances = torch.cdist(z, self.codebook.weight[None])
        nearest = self.codebook(distances.argmin(2))
        commitment = F.mse_loss(z, nearest.detach())
        loss = F.mse_loss(nearest, z.detach()) + 0.25 * commitment
        straight = z + (nearest - z).detach()
        return self.decoder(straight.flatten(1)), loss


def quantized_loss(outputs: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
    pixels, loss = outputs
    return F.mse_loss(pixels, x) + loss


@model("generative", head="")
def vq_vae() -> Training:
    module = Fit(Quantized(), quantized_loss, adam(2e-3))
    return Training(module, Batches(digit_pixels(), digit_pixels()), steps=500)


class Coupling(nn.Module):
    """Affine coupling of two numbers that begins as the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp([1, 48, 48, 2])
        last: Any = self.net.head
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fixed, moved = x.chunk(2, 1)
        log_scale, shift = self.net(fixed).chunk(2, 1)
        log_scale = 2 * torch.tanh(log_scale / 2)
        moved = moved * log_scale.exp() + shift
        return torch.cat([moved, fixed], 1), log_scale.squeeze(1)


class Flow(nn.Module):
    """RealNVP: log-density of points."""

    def __init__(self) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(Coupling() for _ in range(6))

    def forward(self, x: Tensor) -> Tensor:
        volume = torch.zeros(len(x))
        for coupling in self.couplings:
            x, change = coupling(x)
            volume = volume + change
        return volume - 0.5 * x.square().sum(1) - math.log(2 * math.pi)


@model("generative", head="")
def normalizing_flow() -> Training:
    def likelihood(densities: Tensor, _: Tensor) -> Tensor:
        return -densities.mean()

    module = Fit(Flow(), likelihood, adam(2e-3))
    return Training(module, Batches(*learned(*moons()), size=128))


class NoiseNet(nn.Module):
    """MLP of points and an embedding of the time by sines."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = mlp([18, 96, 96, 96, 2], nn.SiLU)

    def forward(self, points: Tensor, time: Tensor) -> Tensor:
        angles = time * 2.0 ** torch.arange(8) / 2
        return self.mlp(torch.cat([points, angles.sin(), angles.cos()], 1))


class PointDiffusion(Fit):
    """Training to predict the noise of points, by the schedule of a cosine."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        points, _ = batch
        time = torch.rand(len(points), 1)
        noise = torch.randn_like(points)
        angle = time * math.pi / 2
        return self.loss(self(angle.cos() * points + angle.sin() * noise, time), noise)


@model("generative", head="net.mlp.head")
def diffusion_points() -> Training:
    module = PointDiffusion(NoiseNet(), F.mse_loss, adam(4e-3))
    return Training(module, Batches(*learned(*moons()), size=128), steps=700)


class Masked(nn.Module):
    """Autoencoder of eight rows of pixels as tokens, half of which a mask token stands for."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.mask = nn.Parameter(0.02 * torch.randn(width))
        self.positions = nn.Parameter(0.02 * torch.randn(8, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 96, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 8)

    def forward(self, rows: Tensor, hides: Tensor) -> Tensor:
        tokens = torch.where(hides[:, :, None], self.mask, self.embed(rows))
        return self.head(self.encoder(tokens + self.positions))


class MaskedFit(Fit):
    """Training to predict what the mask hides."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, _ = batch
        rows = images.view(-1, 8, 8)
        hides = torch.rand(len(rows), 8) < 0.5
        return self.loss(self(rows, hides)[hides], rows[hides])


@model("generative")
def masked_autoencoder() -> Training:
    from .data import digits

    module = MaskedFit(Masked(), F.mse_loss, adam(3e-3))
    return Training(module, Batches(*learned(*digits()), size=48), steps=450)
