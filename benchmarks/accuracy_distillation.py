"""How near is a distilled accuracy predictor of Once-for-All to published test accuracies?
Makes the accuracy models of `mbv3` w1.2 that pnag ships.

    python -m benchmarks.accuracy_distillation ofa_mbv3_w1.2_acc_predictor.npz \\
        pnag_published_networks.csv ofa_pixel1_networks.csv --write predictors/data

The predictor (han-cai/files) as layers `w0`, `b0` to `w3`, `b3`; the networks as CSV with `name`,
`arch`, `width_mult`, `resolution_px` and `top1_pct`. `--write FOLDER` writes a safetensors file a
resolution.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau, spearmanr

from benchmarks.accuracy_model import search
from predictors.accuracy.fitted import (
    FittedAccuracy,
    HeldOut,
    Provenance,
    PublishedNetwork,
    save_accuracy_model,
)
from predictors.accuracy.once_for_all import BIN_PX, OfaAccuracyPredictor, predictor_of_state
from predictors.accuracy.quadratic import Encoding, QuadraticModel, fit_quadratic
from predictors.base import Floats
from predictors.cost import madds_cost
from profiler.spaces.base import Tokens
from profiler.spaces.decisions import decision_graph
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.system.stamp import today

WIDTH_MULT = 1.2
RESOLUTIONS_PX = (160, 176, 192, 208, 224)
CALIBRATED_PX = 224  # where published networks are
ROWS = 6000
BUDGETS_MADDS = (350e6, 450e6, 510e6, 620e6, 724e6)


@dataclass(frozen=True)
class Published:
    """A published network; its accuracy in per cent."""

    name: str
    resolution_px: int
    tokens: Tokens
    top1_pct: float


def space_at(resolution_px: int) -> MobileNetV3Space:
    return MobileNetV3Space("mbv3", WIDTH_MULT, resolution_px)


def read_predictor(path: Path, resolution_px: int) -> OfaAccuracyPredictor:
    """The published predictor at one resolution."""
    with np.load(path, allow_pickle=False) as arrays:
        state = {
            f"{2 * layer}.{name}": arrays[f"{name[0]}{layer}"]
            for layer in range(4)
            for name in ("weight", "bias")
        }
    return predictor_of_state(state, space_at(resolution_px), path)


def read_networks(paths: Sequence[Path]) -> list[Published]:
    """The networks of this width at what the predictor takes for 224 px: 224 to 239 px."""
    networks = []
    for path in paths:
        with path.open(newline="", encoding="utf-8") as file:
            for record in csv.DictReader(file):
                px = int(record["resolution_px"])
                if (
                    float(record["width_mult"]) == WIDTH_MULT
                    and px // BIN_PX * BIN_PX == CALIBRATED_PX
                ):
                    tokens = space_at(CALIBRATED_PX).parse(record["arch"])
                    networks.append(
                        Published(record["name"], px, tokens, float(record["top1_pct"]))
                    )
    return networks


def training_rows(resolution_px: int, rng: np.random.Generator) -> Tokens:
    """Half as the space samples, and half that lean, each by its own share, to large choices:
    uniform choices alone hardly make small or large networks."""
    space = space_at(resolution_px)
    lean = rng.random((ROWS // 2, 1))
    leaning = rng.binomial(2, np.broadcast_to(lean, (ROWS // 2, len(space.positions))))
    rows = [
        space.sample(ROWS // 2, rng),
        decision_graph(space).without_dead(leaning.astype(np.int8)),
    ]
    return np.unique(np.concatenate(rows), axis=0)


def distil(path: Path, resolution_px: int, seed: int) -> tuple[QuadraticModel, dict[str, float]]:
    """The quadratic model of the predictor's own values, and its error on other architectures."""
    predictor = read_predictor(path, resolution_px)
    rng = np.random.default_rng([seed, resolution_px])
    rows = training_rows(resolution_px, rng)
    encoding = Encoding(
        tuple(len(position.choices) for position in space_at(CALIBRATED_PX).positions)
    )
    model, _ = fit_quadratic(encoding, rows, predictor.top1(rows), rng)
    fresh = space_at(resolution_px).sample(ROWS, rng)
    expected = predictor.top1(fresh)
    errors = 100 * (model.predict(fresh) - expected)
    return model, {
        "mae_points": float(np.abs(errors).mean()),
        "max_points": float(np.abs(errors).max()),
        "spearman": float(spearmanr(model.predict(fresh), expected).statistic),
    }


def calibrate(
    values: Floats, networks: Sequence[Published]
) -> tuple[float, tuple[PublishedNetwork, ...]]:
    """Published minus predicted values [n], a mean in points; and each network by the mean of the
    others."""
    shift = np.array([network.top1_pct for network in networks]) - 100 * values
    others = (shift.sum() - shift) / (len(shift) - 1)
    held_out = tuple(
        PublishedNetwork(
            network.name, network.resolution_px, network.top1_pct, round(float(value), 3)
        )
        for network, value in zip(networks, 100 * values + others, strict=True)
    )
    return float(shift.mean()), held_out


def figures_of(networks: Sequence[PublishedNetwork]) -> HeldOut:
    """The errors network by network, summed up."""
    published = np.array([network.top1_pct for network in networks])
    predicted = np.array([network.held_out_pct for network in networks])
    errors = predicted - published
    return HeldOut(
        mae_points=float(np.abs(errors).mean()),
        rmse_points=float(np.sqrt(np.mean(errors**2))),
        spearman=float(spearmanr(predicted, published).statistic),
        kendall=float(kendalltau(predicted, published).statistic),
        folds=len(networks),
        repeats=1,
    )


def shifted(model: QuadraticModel, shift_points: float) -> QuadraticModel:
    return QuadraticModel(
        model.encoding, model.ceiling + shift_points / 100, model.bias, model.weights
    )


def source(resolution_px: int, shift_points: float, error: dict[str, float], n: int) -> str:
    """What the file says of itself."""
    text = (
        "distilled from Once-for-All's accuracy predictor for w1.2 (han-cai/files; "
        f"{error['mae_points']:.3f} points MAE of it), shifted by {shift_points:.2f} points onto "
        f"{n} published test accuracies (guoyongcs/PNAG, han-cai/files)"
    )
    if resolution_px != CALIBRATED_PX:
        text += (
            f"; no network is published at {resolution_px} px: shift and held-out error are "
            f"those at {CALIBRATED_PX} px"
        )
    return text


def optima(
    path: Path, model: FittedAccuracy, networks: Sequence[Published], seed: int
) -> list[Any]:
    """Per MAdds budget: the model's optimum, what the shifted predictor says of it, and the best
    published network; percentages."""
    predictor = read_predictor(path, CALIBRATED_PX)
    tokens = np.stack([network.tokens for network in networks])
    madds = madds_cost(model.space)(tokens)
    shift = np.mean([n.top1_pct for n in networks]) - 100 * predictor.top1(tokens).mean()
    rows = []
    for budget in BUDGETS_MADDS:
        rng = np.random.default_rng(seed)
        best = search(model.space, model.top1, budget, rng)[None]
        within = [n.top1_pct for n, m in zip(networks, madds, strict=True) if m <= 1.005 * budget]
        rows.append(
            {
                "budget_madds": budget,
                "published_pct": max(within),
                "predicted_pct": float(100 * model.top1(best)[0]),
                "predictor_pct": float(100 * predictor.top1(best)[0] + shift),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Distils and calibrates an accuracy predictor.")
    parser.add_argument("predictor", type=Path)
    parser.add_argument("networks", type=Path, nargs="+")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="the folder to write the files to")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    networks = read_networks(arguments.networks)
    distilled = {px: distil(arguments.predictor, px, arguments.seed) for px in RESOLUTIONS_PX}
    tokens = np.stack([network.tokens for network in networks])
    shift, held_out = calibrate(distilled[CALIBRATED_PX][0].predict(tokens), networks)
    predictor = read_predictor(arguments.predictor, CALIBRATED_PX)
    _, of_predictor = calibrate(predictor.top1(tokens), networks)
    models = {
        px: FittedAccuracy(
            space_at(px),
            shifted(model, shift),
            Provenance(
                "ImageNet-1k validation, fine-tuned networks as published",
                source(px, shift, error, len(networks)),
                "MIT", ROWS, arguments.seed, today(),
            ),
            figures_of(held_out),
            networks=held_out,
        )
        for px, (model, error) in distilled.items()
    }  # fmt: skip
    figures = {
        "shift_points": shift,
        "held_out": asdict(figures_of(held_out)),
        "predictor_held_out": asdict(figures_of(of_predictor)),
        "networks": [asdict(network) for network in held_out],
        "distillation": {px: error for px, (_, error) in distilled.items()},
        "optima": optima(arguments.predictor, models[CALIBRATED_PX], networks, arguments.seed),
    }
    show(figures)
    if arguments.write:
        for px, model in models.items():
            save_accuracy_model(arguments.write / f"ofa_mbv3_w{WIDTH_MULT}_{px}.safetensors", model)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def show(figures: dict[str, Any]) -> None:
    print(f"published - distilled: {figures['shift_points']:+.3f} points; held out")
    print(f"{'':<14}{'distilled':>10}{'predictor':>11}")
    for name, value in figures["held_out"].items():
        print(f"  {name:<12}{value:>10.4g}{figures['predictor_held_out'][name]:>11.4g}")
    print(f"{'network':<44}{'px':>5}{'published':>11}{'held out':>10}")
    for n in figures["networks"]:
        print(
            f"{n['name']:<44}{n['resolution_px']:>5}{n['top1_pct']:>11.1f}{n['held_out_pct']:>10.2f}"
        )
    print(f"{'px':>4}{'MAE':>8}{'worst':>8}{'Spearman':>10}   distilled against the predictor")
    for px, row in figures["distillation"].items():
        print(f"{px:>4}{row['mae_points']:>8.3f}{row['max_points']:>8.3f}{row['spearman']:>10.4f}")
    print(f"{'MAdds':>6}{'published':>11}{'predicted':>11}{'predictor':>11}")
    for row in figures["optima"]:
        print(
            f"{row['budget_madds'] / 1e6:>5.0f}M{row['published_pct']:>11.1f}"
            f"{row['predicted_pct']:>11.2f}{row['predictor_pct']:>11.2f}"
        )


if __name__ == "__main__":
    main()
