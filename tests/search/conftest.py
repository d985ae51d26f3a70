"""Families of losses for these tests: published ones in closed form, and one whose candidates go wrong on demand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from lossforge import registry
from lossforge.interfaces import LossParameterization
from lossforge.search import ParameterPopulation

# Each takes theta (P, 1), log p (P or 1, B, C) and log p_y (P or 1, B).
FORMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "cross_entropy": lambda theta, log_p, own: -theta * own,
    "mae": lambda theta, log_p, own: -theta * torch.expm1(own),
    "gce": lambda theta, log_p, own: -torch.expm1(theta * own) / theta,
    "focal": lambda theta, log_p, own: -((-torch.expm1(own)) ** theta) * own,
    "poly1": lambda theta, log_p, own: -own - theta * torch.expm1(own),
    "label_smoothing": lambda theta, log_p, own: -(1 - theta) * own - theta * log_p.mean(dim=2),
    "brier": lambda theta, log_p, own: theta * ((log_p.exp() ** 2).sum(dim=2) - 2 * own.exp() + 1),
    "root": lambda theta, log_p, own: -theta.sqrt() * own,  # not a number for negative theta
    "root_error": lambda theta, log_p, own: theta * (-torch.expm1(own)).sqrt(),  # infinitely steep at p_y = 1
    "shifted": lambda theta, log_p, own: theta - own,
    "truncated": lambda theta, log_p, own: -(own.exp() - theta).sqrt(),  # not a number for p_y below theta
    "steps": lambda theta, log_p, own: torch.where(own.exp().maximum(1 - own.exp()) > theta, 1.0, -1.0) * own.exp(),
    # Sure predictions have the lower loss, and, weakly, labels the higher one the likelier they are.
    "difficulty": lambda theta, log_p, own: theta * (1 - log_p.exp().amax(dim=2)) + 0.01 * own.exp(),
}

FRAGILE = '''
"""A family of networks in which a candidate's first parameter says what goes wrong when it is evaluated."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lossforge.errors import LossforgeError
from lossforge.interfaces import LossParameterization
from lossforge.parameterizations import PairwiseMLP

CODES = {
    name: float(code)
    for code, name in enumerate(
        "sound memory_error torch_memory allocator mistake killed stalls_once slow nan threads flat own_error".split()
    )
}
NETWORK = PairwiseMLP(hidden=(7, 5), activation="silu")

if (Path(__file__).parent / "spoiled").exists():
    raise ImportError("this module was spoiled")


class _OwnError(LossforgeError):
    def __init__(self, whose: str, what: str) -> None:
        super().__init__(f"{whose} {what}")


class Fragile(LossParameterization):
    type: Literal["fragile"] = "fragile"
    folder: str = "."

    @property
    def num_parameters(self) -> int:
        return 1 + NETWORK.num_parameters

    @property
    def class_count(self) -> int | None:
        return None

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        return torch.cat((torch.zeros(num, 1), NETWORK.init(num, generator)), dim=1)

    def loss(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        found = set(solutions_PD[:, 0].tolist())
        for name in (name for name, code in CODES.items() if code in found and hasattr(self, f"_{name}")):
            getattr(self, f"_{name}")()
        loss_PB = NETWORK.loss(solutions_PD[:, 1:], log_probs_PBC, labels_B)
        if CODES["threads"] in found:
            return torch.full_like(loss_PB, torch.get_num_threads())
        if CODES["flat"] in found:
            return loss_PB.flatten()
        return torch.where(solutions_PD[:, :1] == CODES["nan"], torch.nan, loss_PB)

    def source(self, solution_D: Tensor) -> str:
        return NETWORK.source(solution_D[1:])

    def _memory_error(self) -> None:
        raise MemoryError

    def _torch_memory(self) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def _allocator(self) -> None:
        torch.empty(1 << 48)  # a petabyte

    def _mistake(self) -> None:
        raise ValueError("this candidate is a mistake")

    def _own_error(self) -> None:
        """Raise what pickle takes apart and cannot put together again."""
        raise _OwnError("a plugin's", "own")

    def _killed(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _stalls_once(self) -> None:
        """Leave the process's number in the folder and wait for whatever happens to it."""
        folder = Path(self.folder)
        if not any(folder.iterdir()):
            (folder / str(os.getpid())).touch()
            time.sleep(60)

    def _slow(self) -> None:
        time.sleep(0.2)
'''


class ClosedForm(LossParameterization):
    """One published loss with its parameter theta as the solution."""

    type: Literal["closed_form"] = "closed_form"
    form: str = "cross_entropy"
    classes: int | None = None

    @property
    def num_parameters(self) -> int:
        return 1

    @property
    def class_count(self) -> int | None:
        return self.classes

    def init(self, num: int, generator: torch.Generator) -> Tensor:
        return torch.rand(num, 1, generator=generator) + 0.5

    def loss(self, solutions_PD: Tensor, log_probs_PBC: Tensor, labels_B: Tensor) -> Tensor:
        own = log_probs_PBC.gather(2, labels_B[None, :, None].expand(len(log_probs_PBC), -1, 1)).squeeze(2)
        return FORMS[self.form](solutions_PD.to(own.dtype), log_probs_PBC, own)

    def source(self, solution_D: Tensor) -> str:
        return (
            "class Network(nn.Module):\n"
            "    def forward(self, log_probs: Tensor, target: Tensor) -> Tensor:\n"
            f"        return -{solution_D.item()!r} * log_probs.gather(1, target[:, None]).squeeze(1)\n"
        )


@pytest.fixture(scope="session")
def closed_form() -> type[ClosedForm]:
    """The family, ``closed_form(form="gce")``."""
    return ClosedForm


@pytest.fixture(scope="session")
def closed_form_population() -> Callable[..., ParameterPopulation]:
    """Populations of the family: ``closed_form_population("gce", [0.5, 0.7], num_classes=10)``."""

    def make(form: str, thetas: list[float], num_classes: int = 10) -> ParameterPopulation:
        return ParameterPopulation(ClosedForm(form=form), torch.tensor(thetas)[:, None], num_classes)

    return make


@pytest.fixture(scope="session")
def fragile_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed distribution that provides the family ``fragile``."""
    site = tmp_path_factory.mktemp("site")
    info = site / "lossforge_fragile-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lossforge-fragile\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lossforge.parameterizations]\nfragile = lossforge_fragile:Fragile\n")
    (site / "lossforge_fragile.py").write_text(FRAGILE)
    return site


@pytest.fixture(scope="module")
def fragile(fragile_site: Path) -> Iterator[Callable[..., LossParameterization]]:
    """The family, ``fragile(folder=...)``; worker processes find it, too, since they are given ``sys.path``."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv(registry.PLUGINS_VARIABLE, "lossforge-fragile")
        monkeypatch.syspath_prepend(fragile_site)
        registry.refresh()
        yield registry.get("parameterizations", "fragile")
    sys.modules.pop("lossforge_fragile", None)
    registry.refresh()


@pytest.fixture(scope="module")
def fragile_solutions(fragile: Callable[..., LossParameterization]) -> Callable[..., Tensor]:
    """Sound candidates but for those named: ``fragile_solutions(20, {3: "killed"})``."""
    codes = sys.modules["lossforge_fragile"].CODES

    def make(num: int, wrong: dict[int, str] | None = None) -> Tensor:
        solutions_PD = fragile().init(num, torch.Generator().manual_seed(0))
        for index, name in (wrong or {}).items():
            solutions_PD[index, 0] = codes[name]
        return solutions_PD

    return make
