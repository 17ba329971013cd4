"""Settings of a training run, with the defaults that the ablation in docs/results.md chose."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pnag.learning.rewards import reward_named
from profiler.errors import InvalidInputError
from profiler.printable import shown

STRATEGIES = ("joint", "independent")
RANGES = {  # least and most
    "n_evaluations": (1, 10_000_000),
    "n_budgets": (1, 10_000),
    "rounds": (1, 10_000),
    "samples_per_budget": (1, 10_000),
    "seed": (0, 2**32 - 1),
    "refine_steps": (0, 100_000),
    "evaluator_hidden": (1, 4096),
    "evaluator_steps": (0, 1_000_000),
    "evaluator_full_steps": (0, 1_000_000),
    "evaluator_batch": (2, 1_000_000),
    "evaluator_rate": (0.0, 10.0),
    "generator_hidden": (1, 4096),
    "generator_steps": (0, 1_000_000),
    "generator_rate": (0.0, 10.0),
    "budgets_per_step": (1, 10_000),
    "policy_gradient": (0.0, 1e6),
    "entropy": (0.0, 1e6),
    "imitation": (0.0, 1e6),
    "n_elites": (1, 10_000),
}


@dataclass(frozen=True)
class TrainSettings:
    """One run of evaluator and generator.

    Attributes:
        n_evaluations: accuracies asked for in all (M of the paper).
        n_budgets: K, budgets with an embedding of their own.
        rounds: evaluations are spent in so many rounds; after the first, where the generator
            proposes.
        reward: a name of `pnag.learning.rewards.REWARDS`.
        strategy: one generator for all budgets, or an independent search for each of the K.
        active: whether the generator proposes at all; else every round is drawn at random.
        refine_steps: steps of local search on half of the proposals, guided by the evaluator.
        evaluator_steps, evaluator_full_steps: per round, on all pairs of `evaluator_batch`
            architectures, then on all pairs of all.
        generator_steps: per round, each on `budgets_per_step` x `samples_per_budget` samples.
        samples_per_budget: population whose mean is the baseline of the policy gradient.
        policy_gradient, imitation: weights of the two parts of the generator's loss.
        normalise_reward: whether a budget's rewards are divided by their spread.
        entropy: weight of the entropy bonus at the start; it falls linearly to zero.
        n_elites: best known architectures per budget to imitate.
        sees_tightness: whether the generator sees how tight the remaining budget is.
        constrained: whether training samples within budgets, or leaves that to the reward.

    Raises:
        InvalidInputError: a value out of range, or fewer evaluations than rounds to spend them in.
    """

    n_evaluations: int = 16_000
    n_budgets: int = 10
    rounds: int = 12
    reward: str = "pareto"
    strategy: str = "joint"
    seed: int = 0
    active: bool = True
    refine_steps: int = 60
    evaluator_hidden: int = 128
    evaluator_steps: int = 100
    evaluator_full_steps: int = 8
    evaluator_batch: int = 1024
    evaluator_rate: float = 1e-2
    generator_hidden: int = 64
    generator_steps: int = 50
    generator_rate: float = 5e-3
    budgets_per_step: int = 16
    samples_per_budget: int = 8
    policy_gradient: float = 1.0
    normalise_reward: bool = True
    entropy: float = 0.5
    imitation: float = 1.0
    n_elites: int = 4
    constrained: bool = True
    sees_tightness: bool = True

    def __post_init__(self) -> None:
        reward_named(self.reward)
        if self.strategy not in STRATEGIES:
            raise InvalidInputError(
                f"unknown strategy {self.strategy!r}; known: {', '.join(STRATEGIES)}"
            )
        for name, (least, most) in RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise InvalidInputError(
                    f"{name} must be from {least} to {most}, not {shown(getattr(self, name))}"
                )
        needed = self.rounds * self.n_learners
        if self.n_evaluations < needed:
            searches = f" of {self.n_learners} searches" if self.n_learners > 1 else ""
            raise InvalidInputError(
                f"at least {needed} evaluations are needed, one in each of {self.rounds} rounds"
                f"{searches}; {self.n_evaluations} were asked for"
            )

    @property
    def n_learners(self) -> int:
        """One of all budgets, or one of each."""
        return self.n_budgets if self.strategy == "independent" else 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> TrainSettings:
        """What `to_json` wrote; what it does not know is left out.

        Raises:
            InvalidInputError: a value of another type, or out of range.
        """
        given = {}
        for name, default in cls().to_json().items():
            value = given[name] = document.get(name, default)
            is_whole_for_real = type(default) is float and type(value) is int
            if type(value) is not type(default) and not is_whole_for_real:
                raise InvalidInputError(f"{name} is {shown(value)}, not as {shown(default)}")
        return cls(**given)
