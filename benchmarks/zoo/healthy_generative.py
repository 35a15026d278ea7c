"""Healthy trainings of generative models and by rewards: autoencoders, a VAE, a GAN, diffusion, bandits."""

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from .data import Batches, digit_pixels, digits, spirals
from .fits import Fit, adam
from .models import model
from .networks import mlp
from .training import Training


def with_sigmoid(net: nn.Sequential) -> nn.Sequential:
    """Adds a sigmoid as the output of pixels."""
    net.add_module("out", nn.Sigmoid())
    return net


@model("generative", hidden=3)
def autoencoder_sigmoid() -> Training:
    net = with_sigmoid(mlp([64, 64, 16, 64, 64]))
    # With a ReLU up to 11 of the 16 units of the code are dead on all images.
    net.act2 = nn.LeakyReLU()
    return Training(Fit(net, F.mse_loss, adam(2e-3)), pixels())


@model("generative")
def autoencoder_linear_code() -> Training:
    net = with_sigmoid(mlp([64, 64, 16, 64, 64]))
    net.act2 = nn.Identity()
    return Training(Fit(net, F.mse_loss, adam(2e-3)), pixels())


@model("generative", hidden=3)
def autoencoder_bce() -> Training:
    net = with_sigmoid(mlp([64, 64, 16, 64, 64], nn.LeakyReLU))
    return Training(Fit(net, F.binary_cross_entropy, adam(2e-3)), pixels())


def pixels() -> Batches:
    """Batches of digits as inputs and as targets."""
    return Batches(digit_pixels(), digit_pixels())


class VAE(nn.Module):
    """Variational autoencoder with eight latent numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = mlp([64, 64, 16])
        self.decoder = mlp([8, 64, 64])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        latent = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self.decoder(latent), mean, log_variance


def evidence(outputs: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
    """Negative evidence lower bound, a pixel."""
    logits, mean, log_variance = outputs
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
    likelihood = F.binary_cross_entropy_with_logits(logits, x)
    return likelihood + divergence / x.numel()


@model("generative", head="")
def vae() -> Training:
    return Training(Fit(VAE(), evidence, adam(2e-3)), pixels())


class Denoiser(nn.Module):
    """DiT-like network: blocks and a head that begin at zero, conditioned on the time."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.embed = nn.Linear(65, width)
        self.norms = nn.ModuleList(
            nn.LayerNorm(width, elementwise_affine=False) for _ in range(3)
        )
        self.modulations = nn.ModuleList(nn.Linear(1, 3 * width) for _ in range(2))
        self.mlps = nn.ModuleList(mlp([width, 96, width], nn.GELU) for _ in range(2))
        self.head = nn.Linear(width, 64)
        for layer in [*self.modulations, self.head]:
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.embed(torch.cat([x, time], 1))
        for norm, modulation, block in zip(
            self.norms, self.modulations, self.mlps, strict=False
        ):
            shift, scale, gate = modulation(time).chunk(3, dim=1)
            h = h + gate * block(norm(h) * (1 + scale) + shift)
        return self.head(self.norms[-1](h))


class Diffusion(Fit):
    """Training to predict the noise that was added to an image."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, _ = batch
        time = torch.rand(len(images), 1)
        noise = torch.randn_like(images)
        mixed = (1 - time).sqrt() * images + time.sqrt() * noise
        return self.loss(self(mixed, time), noise)


@model("generative")
def dit_zero_head() -> Training:
    return Training(Diffusion(Denoiser(), F.mse_loss, adam(2e-3)), Batches(*digits()))


class GAN(LightningModule):
    """GAN by hand: two optimizers, both losses hover."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = mlp([4, 64, 64, 2], nn.LeakyReLU)
        self.critic = mlp([2, 64, 64, 1], nn.LeakyReLU)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        points, _ = batch
        generator, critic = self.optimizers()  # type: ignore[misc]
        fake = self.generator(torch.randn(len(points), 4))
        scores = self.critic(points), self.critic(fake.detach())
        loss = F.softplus(-scores[0]).mean() + F.softplus(scores[1]).mean()
        self.step(critic, loss)
        self.step(generator, F.softplus(-self.critic(fake)).mean())
        return loss.detach()

    def step(self, optimizer: Any, loss: Tensor) -> None:
        """Makes one step of one of the two."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def configure_optimizers(self) -> Any:
        options: Any = {"lr": 1e-3, "betas": (0.5, 0.99)}
        return [
            torch.optim.Adam(self.generator.parameters(), **options),
            torch.optim.Adam(self.critic.parameters(), **options),
        ]


@model("rewards", head="", falls=False)
def gan() -> Training:
    return Training(GAN(), Batches(*spirals()))


class Bandit(Fit):
    """Policy gradient of a contextual bandit: the loss is no measure of progress."""

    entropy = 0.01

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, best = batch
        policy = torch.distributions.Categorical(logits=self(x))
        actions = policy.sample()
        rewards = (actions == best).float()
        advantage = rewards - rewards.mean()
        bonus = self.entropy * policy.entropy().mean()
        return -(policy.log_prob(actions) * advantage).mean() - bonus


@model("rewards", falls=False)
def bandit() -> Training:
    net = mlp([64, 64, 64, 10], nn.Tanh)
    return Training(Bandit(net, F.cross_entropy, adam(2e-3)), Batches(*digits()))


class Critic(Fit):
    """Temporal differences with a frozen target network that follows slowly."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.target = mlp([2, 64, 64, 3])
        self.target.load_state_dict(self.net.state_dict())
        self.target.requires_grad_(False)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        state, best = batch
        actions = torch.randint(3, (len(state),))
        reward = (actions == best).float()
        future = self.target(state.roll(1, 0)).amax(1)
        values = self(state).gather(1, actions[:, None]).squeeze(1)
        return self.loss(values, reward + 0.5 * future)

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        pairs = zip(self.target.parameters(), self.net.parameters(), strict=True)
        for target, param in pairs:
            target.data.lerp_(param.data, 0.02)


@model("rewards", falls=False)
def q_learning() -> Training:
    module = Critic(mlp([2, 64, 64, 3]), F.smooth_l1_loss, adam(1e-3))
    return Training(module, Batches(*spirals()))
