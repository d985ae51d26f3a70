"""Taylor polynomials and lossforge's own family, found by ranking or by training, on tasks that no search saw.

python plugins/lossforge-taylor/examples/compare.py runs/taylor    # nine searches, a few minutes; goes on where it was
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import lossforge
from lossforge import presets
from lossforge.artifact import load_artifact
from lossforge.interfaces import LossParameterization
from lossforge.objectives import ProxyTraining, RankingConsistency
from lossforge.parameterizations import PolyLoss
from lossforge.samplers import MixtureSampler
from lossforge.search import ParameterPopulation
from lossforge.spec import RunSpec
from lossforge.streams import derive_generator
from lossforge_taylor import Taylor

SEEDS = range(3)
BY_RANKING = (
    "search.parameterization={type: taylor, invariant: {classes: 10}}",
    "search.strategy={type: cma_es, population_size: 48, sigma: 1.2, start: mean}",
    "search.mutation=null",
    "search.gates={weight_band: null, signs: null, same_prediction: null}",
)


def specs(seed: int) -> dict[str, RunSpec]:
    """Return the searches: the preset, its objective with this family, and this package's example."""
    example = Path(__file__).with_name("taylor.yaml")
    return {
        "edl": presets.load("edl", [f"seed={seed}"]),
        "taylor-by-ranking": presets.load("edl", [*BY_RANKING, f"seed={seed}"]),
        "taylor-by-training": RunSpec.from_yaml(example, [f"seed={seed}"]),
    }


def judge(name: str, family: LossParameterization, solution_D: torch.Tensor) -> None:
    """Print how the loss orders 4,096 pairs, and what classifiers learn with it on 16 tasks."""
    batch = MixtureSampler().sample(4096, 10, derive_generator(99, "judge"))
    population = ParameterPopulation(family, solution_D[None], 10)
    ranked = RankingConsistency().evaluate(population, batch, derive_generator(99, "pairs"))
    trained = ProxyTraining().evaluate(population, batch, derive_generator(99, "tasks")).metrics
    figures = {"wrong order": ranked.fitness_P, **{key: trained[key] for key in ("error", "nll", "ece")}}
    print(f"{name:24}", *(f"{key} {value.item():.4f}" for key, value in figures.items()), sep="  ", flush=True)


def main(folder: Path) -> None:
    """Search, where that is not done yet, and judge."""
    judge("cross-entropy", PolyLoss(degree=1), torch.zeros(1))
    judge("absolute error", PolyLoss(degree=1, cross_entropy=False), torch.ones(1))
    judge("Brier score", Taylor(), torch.tensor([0.0, 0.0, 0.0, -2.0, 0.0, 2.0, 0.0, 0.0]))
    for seed in SEEDS:
        for name, spec in specs(seed).items():
            run = folder / f"{name}-{seed}"
            if not (run / "artifact").exists():
                lossforge.run(spec, run)
            artifact = load_artifact(run)
            judge(f"{name}, seed {seed}", artifact.parameterization, artifact.solution_D)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
