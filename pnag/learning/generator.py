"""The generator π(α | B; θ): an LSTM over the tokens of an architecture (section 3.1)."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from pnag.search.decoding import Trajectory
from pnag.search.policies import Floats32, LstmPolicy
from profiler.spaces.decisions import DecisionGraph


class Generator(nn.Module):
    """Decides one live token per step; dead tokens are no steps at all.

    A step sees the previous choice, the position to decide, the budget's embedding (K
    embeddings, linearly interpolated) and how tight the remaining budget is.
    """

    def __init__(
        self,
        graph: DecisionGraph,
        n_budgets: int,
        *,
        n_hidden: int = 64,
        sees_tightness: bool = True,
    ) -> None:
        super().__init__()
        n_positions, n_choices = graph.n_positions, graph.n_choices
        self.n_choices = n_choices
        self.previous = nn.Embedding(n_positions * n_choices + 1, n_hidden)  # last: start
        self.position = nn.Embedding(n_positions + 1, n_hidden)  # last: finished
        self.budget = nn.Parameter(0.1 * torch.randn(n_budgets, n_hidden))
        scale = 0.1 if sees_tightness else 0.0
        self.tightness = nn.Parameter(scale * torch.randn(n_hidden), requires_grad=sees_tightness)
        self.lstm = nn.LSTM(n_hidden, n_hidden, batch_first=True)
        self.head = nn.Parameter(torch.zeros(n_positions + 1, n_hidden, n_choices))
        self.head_bias = nn.Parameter(torch.zeros(n_positions + 1, n_choices))
        for embedding in (self.previous, self.position):
            nn.init.normal_(embedding.weight, std=0.1)

    def log_probabilities(self, trajectory: Trajectory, budget_weights: Tensor) -> Tensor:
        """[n, T, C] log π of every choice at every step, given [n, K] budget weights.

        Closed choices hold -inf; steps of finished rows are undefined (mask them by `live`).
        """
        positions = torch.from_numpy(trajectory.positions)
        taken = positions * self.n_choices + torch.from_numpy(trajectory.choices)
        start = self.previous.num_embeddings - 1
        taken = taken.clamp(max=start)  # finished rows
        previous = torch.cat([torch.full_like(taken[:, :1], start), taken[:, :-1]], dim=1)
        tightness = torch.from_numpy(trajectory.tightness.astype(np.float32))
        inputs = (
            self.previous(previous)
            + self.position(positions)
            + (budget_weights @ self.budget)[:, None, :]
            + tightness[:, :, None] * self.tightness
        )
        hidden, _ = self.lstm(inputs)
        # one product with all heads, then each step's own: cheaper than gathering head matrices
        n, n_steps, n_hidden = hidden.shape
        heads = self.head.permute(1, 0, 2).reshape(n_hidden, -1)
        every = (hidden.reshape(-1, n_hidden) @ heads).view(n, n_steps, -1, self.n_choices)
        index = positions[:, :, None, None].expand(-1, -1, 1, self.n_choices)
        logits = every.gather(2, index)[:, :, 0] + self.head_bias[positions]
        opened = torch.from_numpy(trajectory.opened)
        live = opened.any(dim=-1, keepdim=True)
        return torch.log_softmax(logits.masked_fill(~opened & live, -torch.inf), dim=-1)

    def policy(self) -> LstmPolicy:
        """The same function for `decode`."""
        with torch.no_grad():
            into, hidden, *biases = (weight.detach() for weight in self.lstm.all_weights[0])
            into, hidden, bias = into.T, hidden.T, sum(biases, torch.zeros(()))
            n_hidden = hidden.shape[0]
            halved = torch.full((4 * n_hidden,), 0.5)
            halved[2 * n_hidden : 3 * n_hidden] = 1.0  # the cell candidate is a tanh already

            def gates(inputs: Tensor) -> Floats32:
                return cast(Floats32, ((inputs @ into) * halved).numpy())

            return LstmPolicy(
                previous=gates(self.previous.weight) + (bias * halved).numpy(),
                position=gates(self.position.weight),
                budget=gates(self.budget),
                tightness=gates(self.tightness),
                recurrent=(hidden * halved).contiguous().numpy(),
                head=self.head.numpy().copy(),
                head_bias=self.head_bias.numpy().copy(),
            )


def log_likelihood(log_probabilities: Tensor, trajectory: Trajectory) -> Tensor:
    """[n] log π(α | B): live steps only."""
    choices = torch.from_numpy(trajectory.choices)[:, :, None]
    live = torch.from_numpy(trajectory.live)
    chosen = log_probabilities.gather(2, choices)[:, :, 0]
    return chosen.masked_fill(~live, 0.0).sum(dim=1)


def mean_entropy(log_probabilities: Tensor, trajectory: Trajectory) -> Tensor:
    """Entropy in nats of a decision, averaged over decisions with more than one open choice."""
    opened = torch.from_numpy(trajectory.opened)
    decided = opened.sum(dim=-1) > 1
    log_p = log_probabilities.masked_fill(~opened, 0.0)
    entropy = -(log_p.exp().masked_fill(~opened, 0.0) * log_p).sum(dim=-1)
    return entropy[decided].sum() / decided.sum().clamp(min=1)
