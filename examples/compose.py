"""Compose a search in Python, with a mutation operator defined on the spot; no YAML, no packaging."""

import torch

import lossforge
from lossforge.interfaces import MutationOperator


class Laplace(MutationOperator):
    """Steps from a Laplace distribution of variance 1: differences of two exponential variables, over sqrt(2)."""

    type: str = "laplace"

    def init(self, num, dim, generator):
        return {}

    def mutate(self, parents_PD, sigma, state, generator):
        first, second = (torch.empty_like(parents_PD).exponential_(generator=generator) for _ in range(2))
        return parents_PD + sigma / 2**0.5 * (first - second), state


def main() -> None:
    spec = lossforge.SearchSpec(
        parameterization="pairwise_mlp",
        sampler="mixture",
        objective="ranking_consistency",
        strategy="mu_plus_lambda",
        mutation=Laplace(),
        generations=60,
    )
    found = lossforge.Search(spec, seed=0).run()
    criterion = found.loss()  # in place of nn.CrossEntropyLoss()
    logits = torch.randn(4, 10, requires_grad=True)
    criterion(logits, torch.tensor([0, 1, 2, 3])).backward()
    print(criterion)
    print(f"held-out ranking accuracy {found.evidence['held_out']['metrics']['ranking_accuracy']:.4f}")


if __name__ == "__main__":
    main()
