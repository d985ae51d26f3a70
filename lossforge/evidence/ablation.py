"""An ablation: the same search with one part exchanged, over seeds; what is finished is not run again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lossforge.errors import RunDirectoryError, SpecError
from lossforge.evidence.ablation_analysis import Ablation, Arm, analyse
from lossforge.evidence.ablation_run import Curve, run_job
from lossforge.evidence.processes import call_all
from lossforge.evidence.step_variance import StepSize, measure_steps
from lossforge.evidence.store import identity_hash
from lossforge.files import to_json, write_atomically
from lossforge.run_directory import RunDirectory
from lossforge.search import resolve
from lossforge.sizes import told_by_size
from lossforge.spec import RunSpec, SearchSpec, load, refuse_other
from lossforge.spec.ablation import AblationSpec
from lossforge.spec.arms import ArmKey

STEP_TOLERANCE = 0.02
"""By what share step sizes of one setting may differ, as measured."""

SPEC = "ablation.yaml"
"""File with the ablation as it was asked for; by it a folder of results is known."""

OnSearch = Callable[[int, int, str], None]
"""Called after each search: how many are done, of how many, and which it was."""


def plan(spec: AblationSpec, folder: Path) -> tuple[Arm, ...]:
    """Return the arms, with every spec checked; paths are relative to ``folder``.

    Raises:
        SpecError: a variant is no valid spec, its fitness cannot be compared between searches, or variants of one
            setting step unequally far.
    """
    measured: dict[tuple[str, int], StepSize] = {}
    arms = tuple(
        Arm(setting, variant, specs, _steps(specs[0].search, measured))
        for (setting, variant), specs in _all_specs(spec, folder).items()
    )
    if spec.equal_step_variance:
        for setting in spec.settings:
            _refuse_unequal_steps([arm for arm in arms if arm.setting == setting])
    return arms


def ablate(
    spec: AblationSpec, out: Path, *, folder: Path = Path(), jobs: int = 1, on_search: OnSearch | None = None
) -> Ablation:
    """Run what is not in ``out`` yet, and return what came of all of it.

    Args:
        spec: variants, settings, seeds.
        out: folder of the results, new or of the same ablation: what is finished there is not run again.
        folder: what a relative path of ``spec.base`` is relative to.
        jobs: processes; results do not depend on it.
        on_search: told of every search.

    Raises:
        SpecError: it is no AblationSpec, or see :func:`plan`.
        RunDirectoryError: ``out`` holds something else, another process is at work in it, or it cannot be written.
        SearchError: a search's process was ended from outside.
    """
    refuse_other(spec, AblationSpec, "lossforge.ablate")
    arms = plan(spec, folder)
    with remedied(out):
        _open(out, spec)
        with RunDirectory(out).locked():
            curves = _run(spec, arms, out, jobs, on_search)
    done = tuple(
        Arm(arm.setting, arm.variant, arm.specs, arm.steps, tuple(curves[index, seed] for seed in range(spec.seeds)))
        for index, arm in enumerate(arms)
    )
    return analyse(spec, done)


def _all_specs(spec: AblationSpec, folder: Path) -> dict[ArmKey, tuple[RunSpec, ...]]:
    """Return one spec a seed by setting and variant; what this machine cannot serve is told once."""
    found, problems = {}, dict[str, str]()
    for (setting, variant), first in spec.arms(folder).items():
        try:
            resolved = resolve(first)
        except SpecError as error:
            for problem in error.problems:
                problems.setdefault(problem, f"{setting} / {variant}: {problem}")
        else:
            found[setting, variant] = tuple(resolved.model_copy(update={"seed": seed}) for seed in range(spec.seeds))
    if problems:
        raise SpecError(list(problems.values()))
    return found


def _steps(search: SearchSpec, measured: dict[tuple[str, int], StepSize]) -> StepSize | None:
    """Return how far a search's mutation operator steps, measured once for all searches with the same one."""
    if search.mutation is None:
        return None
    key = (search.mutation.model_dump_json(), search.parameterization.num_parameters)
    if key not in measured:
        with told_by_size(search, "search"):
            measured[key] = measure_steps(search.mutation, key[1])
    return measured[key]


def _refuse_unequal_steps(arms: Sequence[Arm]) -> None:
    remedy = (
        "a larger step is a larger sigma in disguise: make them equal, leave the variant out, or say "
        "equal_step_variance: false"
    )
    options = {arm.title: _sigma_options(arm) for arm in arms if arm.steps is not None}
    sizes = {arm.title: arm.steps.sd * options[arm.title].pop("sigma", 1.0) for arm in arms if arm.steps is not None}
    if sizes and max(sizes.values()) > (1 + STEP_TOLERANCE) * min(sizes.values()):
        listed = ", ".join(f"{title} {size:.4g}" for title, size in sizes.items())
        raise SpecError([f"step variances differ: standard deviations {listed}; {remedy}"])
    if any(changes != next(iter(options.values())) for changes in options.values()):
        listed = ", ".join(f"{title} {changes}" for title, changes in options.items())
        raise SpecError([f"step variances come to differ, for sigma does not change alike: {listed}; {remedy}"])


def _sigma_options(arm: Arm) -> dict[str, Any]:
    """Return sigma and how it changes, by the names of the strategy's options."""
    options = arm.specs[0].search.strategy.model_dump(mode="json")
    return {name: value for name, value in options.items() if name.startswith("sigma")}


def _open(out: Path, spec: AblationSpec) -> None:
    """Make the folder, or go on in one of the same ablation."""
    stored = out / SPEC
    if stored.is_file():
        if load.from_file(AblationSpec, stored) != spec:  # its base may be relative to another folder
            raise RunDirectoryError(f"{out}: holds another ablation, see {stored}; choose another folder")
        return
    if out.exists() and (not out.is_dir() or any(not _is_left_behind(path) for path in out.iterdir())):
        raise RunDirectoryError(f"{out}: not an empty folder; choose another")
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(stored, spec.to_yaml())


def _is_left_behind(path: Path) -> bool:
    """Return whether a file is what remains of one that was never written to its end."""
    return path.name.startswith(f".{SPEC}.")


@contextmanager
def remedied(out: Path) -> Iterator[None]:
    """Tell how to go on where the folder cannot be written."""
    try:
        yield
    except OSError as cause:
        raise RunDirectoryError(
            f"{cause.filename or out}: {cause.strerror or cause}; what is finished is stored: once this is mended, "
            "give the same command again"
        ) from cause


def _run(
    spec: AblationSpec, arms: Sequence[Arm], out: Path, jobs: int, on_search: OnSearch | None
) -> dict[tuple[int, int], Curve]:
    """Return the curve of each arm and seed; those that are not stored are run, and stored one by one."""
    curves: dict[tuple[int, int], Curve] = {}
    missing: list[tuple[int, int]] = []
    for key in ((index, seed) for seed in range(spec.seeds) for index in range(len(arms))):
        stored = _read(_path(out, spec, arms[key[0]], key[1]), _identity(spec, arms[key[0]], key[1]))
        if stored is None:
            missing.append(key)
        else:
            curves[key] = stored
    if not missing:
        return curves

    def store(key: tuple[int, int], content: dict[str, Any]) -> None:
        curves[key] = Curve.from_json(content)
        stored_as = {"identity": _identity(spec, arms[key[0]], key[1]), **content}
        write_atomically(_path(out, spec, arms[key[0]], key[1]), to_json(stored_as))

    def tell(key: tuple[int, int]) -> None:
        if on_search is not None:
            on_search(len(curves), len(arms) * spec.seeds, title(key))

    def title(key: tuple[int, int]) -> str:
        return f"{arms[key[0]].title}, seed {key[1]}"

    calls = {key: (title(key), arms[key[0]].specs[key[1]].model_dump_json(), spec.curve_points) for key in missing}
    call_all(run_job, calls, jobs, store, tell)
    return curves


def _path(out: Path, spec: AblationSpec, arm: Arm, seed: int) -> Path:
    setting, variant = list(spec.settings).index(arm.setting), list(spec.variants).index(arm.variant)
    folder = out / "searches" / f"setting-{setting}" / f"variant-{variant}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"seed-{seed}.json"


def _identity(spec: AblationSpec, arm: Arm, seed: int) -> str:
    return identity_hash({"spec": arm.specs[seed].model_dump(mode="json"), "curve_points": spec.curve_points})


def _read(path: Path, identity: str) -> Curve | None:
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        written_for = content.pop("identity")
        curve = Curve.from_json(content)
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise RunDirectoryError(f"{path}: damaged ({cause}); delete it, and it is run again") from cause
    if written_for != identity:
        raise RunDirectoryError(f"{path}: of another spec, or of an earlier lossforge; choose another folder")
    return curve
