"""Drive a search yourself: evaluate anywhere, add candidates of your own, stop today and go on tomorrow."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

import lossforge
from lossforge.search import Evaluator

SPEC = lossforge.SearchSpec(
    parameterization="pairwise_mlp",
    sampler="mixture",
    objective="ranking_consistency",
    strategy="mu_comma_lambda",
    mutation="chaotic",
    generations=40,
)


def evaluate(solutions_PD, generation):
    """Runs in another process, or on another machine: it needs the spec, the seed and the solutions, and no search."""
    return Evaluator(SPEC, seed=0, device=torch.device("cpu")).in_generation(solutions_PD, generation)


def main() -> None:
    search = lossforge.Search(SPEC, seed=0)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as elsewhere:
        while search.generation < 20:
            solutions_PD = search.ask()
            # Candidates that nobody asked for are welcome: here the mean of those asked for.
            solutions_PD = torch.cat((solutions_PD, solutions_PD.mean(dim=0, keepdim=True)))
            assessment = elsewhere.submit(evaluate, solutions_PD, search.generation).result()
            search.tell(solutions_PD, assessment)

    state = search.state_dict()  # tensors and numbers: torch.save(state, "today.pt")
    tomorrow = lossforge.Search(SPEC, seed=0)
    tomorrow.load_state_dict(state)
    found = tomorrow.run()

    end = tomorrow.ended[-1]
    print(f"{end.evaluations} evaluations in {end.generations} generations, stopped by {end.stopped}")
    print(f"held-out ranking accuracy {found.evidence['held_out']['metrics']['ranking_accuracy']:.4f}")


if __name__ == "__main__":
    main()
