"""Which back end a search gets, what it is told where one cannot serve, and that they agree."""

from __future__ import annotations

import logging
import sys

import pytest
import torch

from lossforge import presets
from lossforge.errors import SpecError
from lossforge.native import CompilationError, PerceptronKernel
from lossforge.native.perceptron_triton import TritonPerceptron
from lossforge.parameterizations import ClasswiseMLP, PairwiseMLP, Power
from lossforge.search import Search, backends, resolve
from lossforge.search.backends import best_backend, kernel_of, resolved_backend
from lossforge.search.blocked_perceptron import BlockedPerceptron
from lossforge.spec import RunSpec, SearchSpec

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def small(backend: str = "auto", **changes) -> SearchSpec:
    edl = presets.load("edl").search
    return edl.model_copy(update={"generations": 6, "batch_size": 128, "backend": backend, **changes})


@pytest.fixture
def no_compiler(monkeypatch):
    """A machine that cannot compile, and has not said so yet."""

    def refuse(*_):
        raise CompilationError("no C++ compiler found (c++)")

    monkeypatch.setattr("lossforge.native.perceptron.compiled_library", refuse)
    backends._warn_once.cache_clear()
    yield
    backends._warn_once.cache_clear()


class TestRule:
    @pytest.mark.parametrize(
        ("family", "num_classes", "device", "expected"),
        [
            (PairwiseMLP(), 10, CPU, "compiled"),
            (ClasswiseMLP(hidden=(256, 16)), 1024, CPU, "compiled"),
            (PairwiseMLP(hidden=(257,)), 10, CPU, "eager"),
            (PairwiseMLP(hidden=(256,) * 4), 10, CPU, "compiled"),
            (PairwiseMLP(hidden=(205, 4, 4, 4, 4)), 10, CPU, "eager"),
            (PairwiseMLP(), 1025, CPU, "eager"),
            (PairwiseMLP(), 10, CUDA, "triton"),
            (ClasswiseMLP(hidden=(64,)), 1025, CUDA, "triton"),
            (ClasswiseMLP(hidden=(64, 64)), 10, CUDA, "triton"),
            (PairwiseMLP(hidden=(65,)), 10, CUDA, "eager"),
            (PairwiseMLP(hidden=(40, 40, 8)), 10, CUDA, "eager"),
            (Power(), 10, CUDA, "eager"),
            (Power(), 10, CPU, "eager"),
        ],
    )
    def test_table(self, family, num_classes, device, expected):
        assert best_backend(family, num_classes, device) == expected

    def test_auto_is_the_rule(self):
        assert resolved_backend(small(), CPU) == "compiled"
        assert isinstance(kernel_of(small(), CPU), PerceptronKernel)
        assert resolved_backend(small(parameterization=Power()), CPU) == "eager"

    def test_eager_is_eager(self):
        assert resolved_backend(small("eager"), CPU) == "eager"
        assert isinstance(kernel_of(small("eager"), CPU), BlockedPerceptron)
        assert kernel_of(small("eager", workers=2), CPU) is None
        assert kernel_of(small("eager", parameterization=Power()), CPU) is None

    def test_stands_in_the_resolved_spec(self):
        spec = RunSpec(name="a", device="cpu", search=small())
        assert resolve(spec).search.backend == "compiled"
        assert resolve(resolve(spec)) == resolve(spec)


class TestWithoutACompiler:
    def test_eager_serves_and_says_so_once(self, no_compiler, caplog):
        with caplog.at_level(logging.WARNING):
            searches = [Search(small(), seed=0) for _ in range(2)]
            for search in searches:
                search.step()
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 1
        assert "the eager back end, which is slower: no C++ compiler found (c++)" in said[0]
        assert isinstance(searches[0].evaluator.kernel, BlockedPerceptron)

    def test_it_is_eager(self, no_compiler):
        without, eager = Search(small(), seed=0), Search(small("eager"), seed=0)
        assert [without.step() for _ in range(2)] == [eager.step() for _ in range(2)]
        assert resolve(RunSpec(name="a", device="cpu", search=small())).search.backend == "eager"

    def test_compiled_is_refused(self, no_compiler):
        with pytest.raises(SpecError, match=r"search.backend: no C\+\+ compiler found .*; or use 'eager'"):
            resolved_backend(small("compiled"), CPU)


class TestWithoutTriton:
    @pytest.fixture
    def no_triton(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "triton", None)
        for name in ("kernels", "network", "activations"):
            monkeypatch.delitem(sys.modules, f"lossforge.native.triton_{name}", raising=False)
        backends._warn_once.cache_clear()
        yield
        backends._warn_once.cache_clear()

    def test_eager_serves_and_says_so_once(self, no_triton, caplog):
        with caplog.at_level(logging.WARNING):
            assert [resolved_backend(small(), CUDA) for _ in range(2)] == ["eager", "eager"]
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 1
        assert "slower: Triton cannot be imported (" in said[0]

    def test_triton_is_refused(self, no_triton):
        with pytest.raises(SpecError, match=r"search.backend: Triton cannot be imported \(.*; or use 'eager'"):
            resolved_backend(small("triton"), CUDA)

    def test_nor_does_it_serve_without_a_compiler(self, monkeypatch):
        pytest.importorskip("triton")
        monkeypatch.setenv("PATH", "")
        monkeypatch.delenv("CC", raising=False)
        with pytest.raises(SpecError, match=r"Triton needs a C compiler, and there is none \(gcc, clang\)"):
            resolved_backend(small("triton"), CUDA)
        monkeypatch.setenv("CC", "/somewhere/cc")
        assert resolved_backend(small("triton"), CUDA) == "triton"

    def test_not_on_rocm(self, monkeypatch):
        monkeypatch.setattr("torch.version.hip", "6.0")
        assert resolved_backend(small(), CUDA) == "eager"

    def test_with_it_there_is_a_kernel(self):
        pytest.importorskip("triton")
        assert resolved_backend(small(), CUDA) == "triton"
        assert isinstance(kernel_of(small(), CUDA), TritonPerceptron)


class TestWhereThereIsNoKernel:
    def test_compiled_is_refused(self):
        for spec, device in (
            (small("compiled", parameterization=Power()), CPU),
            (small("compiled"), CUDA),
            (small("triton"), CPU),
            (small("triton", parameterization=Power()), CUDA),
        ):
            with pytest.raises(
                SpecError, match=rf"search.backend: there is no {spec.backend} kernel for .* 'auto' or 'eager'"
            ):
                resolved_backend(spec, device)

    def test_another_name_is_refused(self):
        with pytest.raises(ValueError, match="backend"):
            SearchSpec.model_validate({**small().model_dump(mode="json"), "backend": "magic"})


class TestAgreement:
    @pytest.mark.parametrize("num_solutions", [1, 48, 70])
    def test_of_a_generation(self, num_solutions):
        """The same candidates on the same batch: gates, fitness and metrics are the same but for roundings."""
        eager, compiled = Search(small("eager"), seed=3), Search(small("compiled"), seed=3)
        solutions_PD = PairwiseMLP().init(num_solutions, torch.Generator().manual_seed(1))
        a, b = (search.evaluator.in_generation(solutions_PD, 0) for search in (eager, compiled))
        for name, violation_P in a.gates.violations.items():
            torch.testing.assert_close(b.gates.violations[name], violation_P, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(b.evaluation.fitness_P, a.evaluation.fitness_P, rtol=0, atol=0.02, equal_nan=True)

    def test_same_bits_whatever_the_threads(self, monkeypatch):
        def history(num_threads: int) -> list:
            monkeypatch.setattr("lossforge.native.perceptron.usable_threads", lambda: num_threads)
            monkeypatch.setattr("lossforge.native.perceptron.ITEMS_A_THREAD", 1)
            search = Search(small(), seed=0)
            return [search.step() for _ in range(6)]

        assert history(1) == history(2) == history(5)

    def test_double_precision_is_evaluated_by_the_definition(self):
        search = Search(small(), seed=0)
        population = search.evaluator.population(PairwiseMLP().init(3, torch.Generator()).double())
        log_probs = torch.log_softmax(torch.randn(1, 20, 10, dtype=torch.float64), dim=2)
        labels_B = torch.arange(20) % 10
        found = population.losses(log_probs, labels_B)
        assert found.dtype == torch.float64
        expected = PairwiseMLP().loss(population.solutions_PD, log_probs, labels_B)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
