"""Unseen healthy trainings whose loss measures no progress: GANs, and rewards in a room."""

from collections import deque
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn.utils.parametrizations import spectral_norm

from .data import Batches
from .fits import Fit, adam
from .models import model
from .networks import mlp
from .training import Training
from .unseen_data import Repeated, moons
from .unseen_fits import optimizer_of


class Adversaries(LightningModule):
    """Generator and critic of points, optimized by hand.

    Args:
        critic: Network of the critic.
        rounds: Steps of the critic for a step of the generator.
    """

    def __init__(self, critic: nn.Module, rounds: int = 1) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = mlp([4, 64, 64, 2])
        self.critic, self.rounds = critic, rounds

    def critic_loss(self, points: Tensor, fakes: Tensor) -> Tensor:
        """Hinge loss."""
        above = F.relu(1 - self.critic(points)).mean()
        return above + F.relu(1 + self.critic(fakes)).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        points, _ = batch
        generator, critic = self.optimizers()  # type: ignore[misc]
        fakes = self.generator(torch.randn(len(points), 4))
        loss = self.critic_loss(points, fakes.detach())
        self.step(critic, loss)
        if (batch_idx + 1) % self.rounds == 0:
            self.toggle_optimizer(generator)
            self.step(generator, -self.critic(fakes).mean())
            self.untoggle_optimizer(generator)
        return loss.detach()

    def step(self, optimizer: Any, loss: Tensor) -> None:
        """Makes one step of one of the two."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def configure_optimizers(self) -> Any:
        options: Any = {"lr": 1e-3, "betas": (0.0, 0.9)}
        return [
            torch.optim.Adam(self.generator.parameters(), **options),
            torch.optim.Adam(self.critic.parameters(), **options),
        ]


@model("rewards", head="", falls=False)
def gan_hinge_spectral() -> Training:
    critic = mlp([2, 64, 64, 1], nn.LeakyReLU)
    for name in ("fc1", "fc2", "head"):
        setattr(critic, name, spectral_norm(getattr(critic, name)))
    return Training(Adversaries(critic, 2), Batches(*moons(), size=128), steps=600)


class Wasserstein(Adversaries):
    """WGAN with a penalty on the gradient of the critic."""

    def critic_loss(self, points: Tensor, fakes: Tensor) -> Tensor:
        weight = torch.rand(len(points), 1)
        between = (weight * points + (1 - weight) * fakes).requires_grad_()
        scores = self.critic(between).sum()
        (slope,) = torch.autograd.grad(scores, between, create_graph=True)
        penalty = (slope.norm(dim=1) - 1).square().mean()
        distance = self.critic(fakes).mean() - self.critic(points).mean()
        return distance + penalty


@model("rewards", head="", falls=False)
def wgan_penalty() -> Training:
    critic = mlp([2, 64, 64, 1], nn.LeakyReLU)
    return Training(Wasserstein(critic, 3), Batches(*moons(), size=128), steps=900)


class Room:
    """Rooms of 5 x 5 fields, walked in parallel; a corner gives a reward and ends the walk."""

    moves = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])

    def __init__(self, count: int = 16) -> None:
        self.fields = torch.randint(4, (count, 2))

    def view(self) -> Tensor:
        """One-hot vectors of the fields."""
        return F.one_hot(5 * self.fields[:, 0] + self.fields[:, 1], 25).float()

    def act(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Moves, and returns rewards and whether a walk is over."""
        self.fields = (self.fields + self.moves[actions]).clamp(0, 4)
        ends = (self.fields == 4).all(1)
        fresh = torch.randint(4, self.fields.shape)
        self.fields = torch.where(ends[:, None], fresh, self.fields)
        return ends.float(), ends


class DeepQ(Fit):
    """DQN: a replay buffer, exploration, and a target network that is copied every 50 steps."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.target = mlp([25, 64, 64, 4])
        self.target.load_state_dict(self.net.state_dict())
        self.target.requires_grad_(False)
        self.room = Room()
        self.memory: deque[tuple[Tensor, ...]] = deque(maxlen=200)

    def explore(self, batch_idx: int) -> None:
        """Makes a move in each room, at random less and less often."""
        states = self.room.view()
        with torch.no_grad():
            actions = self(states).argmax(1)
        tries = torch.rand(len(actions)) < max(0.1, 1 - batch_idx / 200)
        actions = torch.where(tries, torch.randint(4, actions.shape), actions)
        rewards, ends = self.room.act(actions)
        move = (states, actions, rewards, self.room.view(), ends)
        self.memory.append(move)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if batch_idx % 50 == 0:
            self.target.load_state_dict(self.net.state_dict())
        self.explore(batch_idx)
        count = len(self.memory)
        rows = [self.memory[int(row)] for row in torch.randint(count, (8,))]
        columns = [torch.cat(column) for column in zip(*rows, strict=True)]
        states, actions, rewards, following, ends = columns
        future = self.target(following).amax(1) * ~ends
        values = self(states).gather(1, actions[:, None]).squeeze(1)
        return self.loss(values, rewards + 0.9 * future)


@model("rewards", falls=False)
def deep_q_network() -> Training:
    optimizer = optimizer_of(torch.optim.RMSprop, lr=1e-3)
    module = DeepQ(mlp([25, 64, 64, 4]), F.smooth_l1_loss, optimizer)
    return Training(module, Repeated(torch.zeros(1)), steps=600)


class ActorCritic(Fit):
    """Advantage actor-critic with two heads on a trunk, and walks of five moves."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if batch_idx == 0:
            self.room = Room()
        actor, critic, entropy = [], [], []
        for _ in range(5):
            outputs = self(self.room.view())
            policy = Categorical(logits=outputs[:, :4], validate_args=False)
            actions = policy.sample()
            rewards, ends = self.room.act(actions)
            with torch.no_grad():
                future = self(self.room.view())[:, 4] * ~ends
            advantage = rewards + 0.9 * future - outputs[:, 4]
            actor.append(-policy.log_prob(actions) * advantage.detach())
            critic.append(advantage.square())
            entropy.append(policy.entropy())
        losses = torch.stack(actor) + 0.5 * torch.stack(critic)
        return (losses - 0.01 * torch.stack(entropy)).mean()


@model("rewards", falls=False)
def actor_critic() -> Training:
    module = ActorCritic(mlp([25, 64, 64, 5], nn.Tanh), F.mse_loss, adam(3e-3))
    return Training(
        module, Repeated(torch.zeros(1)), {"gradient_clip_val": 0.5}, steps=250
    )
