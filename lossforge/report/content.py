"""What the report says: the files of a run as sentences, tables and charts, in the order of the page."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lossforge.report.figures import (
    Chart,
    Style,
    gate_chart,
    loss_styles,
    search_chart,
    training_charts,
    weight_chart,
)
from lossforge.report.numbers import (
    MISSING,
    accuracy_decimals,
    count,
    fixed,
    interval,
    label,
    percent,
    percentage,
    points,
    significant,
)
from lossforge.report.reading import Run, section, type_of
from lossforge.report.strips import Strips, accuracy_strips
from lossforge.report.verdict import RANKING_ACCURACY, Outcome, judge, verdict, verdict_without_training
from lossforge.run_content import ComparedLoss, Comparison, Figures, FoundLoss, Manifest, ReferenceFigures


@dataclass(frozen=True)
class LossRow:
    """A loss in the table of the comparison; texts, with the units in the table's head."""

    name: str
    is_found: bool
    is_reference: bool
    style: Style
    accuracy: str
    sd: str
    num: int
    difference: str
    interval: str
    outcome: str
    nll: str
    brier: str
    ece: str
    scaled: str
    diverged: str


@dataclass(frozen=True)
class HeldOutRow:
    """A figure of the found loss and of each reference on the held-out batch."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class HeldOut:
    """What the objective said of losses on the held-out batch; the found loss is the first column."""

    columns: tuple[str, ...]
    figures: tuple[HeldOutRow, ...]
    ranking: tuple[HeldOutRow, ...]
    by_regime: tuple[HeldOutRow, ...]

    @property
    def sections(self) -> tuple[tuple[HeldOutRow, ...], ...]:
        """The parts of the table that have rows."""
        return tuple(part for part in (self.figures, self.ranking, self.by_regime) if part)


@dataclass(frozen=True)
class Results:
    """All that the page says of the comparison."""

    rows: tuple[LossRow, ...]
    strips: Strips | None
    charts: tuple[Chart, ...]
    setting: str
    notes: tuple[str, ...]
    reference: str
    confidence: str
    has_scaled: bool


@dataclass(frozen=True)
class Page:
    """The report."""

    name: str
    description: str
    verdict: tuple[str, ...]
    results: Results | None
    search: str
    search_charts: tuple[Chart, ...]
    weight_chart: Chart
    held_out: HeldOut
    num_held_out: str
    command: str
    seed: int
    versions: tuple[tuple[str, str], ...]
    history_hash: str
    spec: str


def page(run: Run) -> Page:
    """Return the content of a run's report."""
    found, comparison = run.found, run.comparison
    sentences = verdict_without_training(found) if comparison is None else verdict(comparison)
    return Page(
        name=found.name,
        description=str(run.spec.get("description") or ""),
        verdict=tuple(sentences.splitlines()),
        results=None if comparison is None else _results(comparison, run.spec),
        search=_search_story(found),
        search_charts=(search_chart(run.history), gate_chart(run.history)),
        weight_chart=weight_chart(found.weight_profile),
        held_out=held_out(found.held_out, found.references),
        num_held_out=_amount(found.search.get("selection_batch_size"), "synthetic pair"),
        command=_command(run.manifest),
        seed=found.seed,
        versions=_versions(run.manifest),
        history_hash=run.history_hash,
        spec=run.spec_text,
    )


def held_out(found: Figures, references: Sequence[ReferenceFigures]) -> HeldOut:
    """Return rows of fitness and metrics; ranking accuracy over all pairs, by kind of pair and by regime after them."""
    kinds = {
        RANKING_ACCURACY: "ranking, all pairs",
        f"{RANKING_ACCURACY}.random": "ranking, two random predictions",
        f"{RANKING_ACCURACY}.same_prediction": "ranking, one prediction, two labels",
    }
    prefix = f"{RANKING_ACCURACY}."
    regimes = {
        name: f"ranking, {label(name.removeprefix(prefix))}"
        for name in found.metrics
        if name.startswith(prefix) and name not in kinds
    }
    others = {name: name for name in found.metrics if name not in kinds and name not in regimes}
    losses = (found, *references)

    def rows(names: Mapping[str, str], write: Callable[[float | None], str]) -> tuple[HeldOutRow, ...]:
        return tuple(
            HeldOutRow(text, tuple(write(loss.metrics.get(name)) for loss in losses))
            for name, text in names.items()
            if name in found.metrics
        )

    fitness = HeldOutRow("fitness", tuple(significant(loss.fitness, 4) for loss in losses))
    return HeldOut(
        columns=("found loss", *(reference.loss for reference in references)),
        figures=(*([] if found.fitness_is_relative else [fitness]), *rows(others, lambda value: significant(value, 4))),
        ranking=rows(kinds, lambda value: percent(value, 2)),
        by_regime=rows(regimes, lambda value: percent(value, 2)),
    )


def _results(comparison: Comparison, spec: Mapping[str, Any]) -> Results:
    decimals = accuracy_decimals(comparison)
    styles = loss_styles(comparison)
    return Results(
        rows=tuple(_loss_row(comparison, loss, styles[loss.name], decimals) for loss in comparison.losses),
        strips=accuracy_strips(comparison, styles),
        charts=training_charts(comparison),
        setting=_training_story(comparison, section(spec, "training")),
        notes=comparison_notes(comparison),
        reference=comparison.reference,
        confidence=f"{100 * comparison.confidence:g}%",
        has_scaled=comparison.has_scaled,
    )


def comparison_notes(comparison: Comparison) -> tuple[str, ...]:
    """Return what a reader of the table has to know."""
    difference = (
        f"Difference: mean accuracy minus that of {comparison.reference}, in percentage points, with its "
        f"{100 * comparison.confidence:g}% interval by Welch's t over {count(comparison.num_seeds, 'seed')} a loss. "
        "An interval that holds 0 shows no difference; it does not show that there is none."
    )
    notes = [difference] if len(comparison.losses) > 1 else []
    if comparison.has_scaled:
        notes.append("Scaled: NLL and ECE of logits over a temperature that was fitted on the images held out.")
    if len(comparison.losses) > 2:
        notes.append("Each interval stands for itself: of many comparisons, some miss the true difference by chance.")
    notes.extend(
        f"{loss.num_diverged} of {len(loss.results)} trainings with {comparison.title(loss.name)} diverged: "
        "counted, and left out of all means."
        for loss in comparison.losses
        if loss.num_diverged
    )
    return tuple(notes)


def _loss_row(comparison: Comparison, loss: ComparedLoss, style: Style, decimals: int) -> LossRow:
    difference, outcome = loss.difference, judge(loss)
    is_reference = loss.name == comparison.reference
    return LossRow(
        name=loss.name,
        is_found=loss.name == comparison.found,
        is_reference=is_reference,
        style=style,
        accuracy=percentage(loss.mean("accuracy"), decimals),
        sd=percentage(loss.sd("accuracy"), decimals),
        num=len(loss.finished),
        difference="reference" if is_reference else points(difference.mean, decimals) if difference else MISSING,
        interval=interval(difference, decimals) if difference and outcome is not Outcome.NO_VERDICT else "",
        outcome="" if is_reference else outcome.value,
        nll=fixed(loss.mean("nll"), 3),
        brier=fixed(loss.mean("brier"), 3),
        ece=percentage(loss.mean("ece"), 1),
        scaled=scaled_cell(loss),
        diverged=f"{loss.num_diverged} of {len(loss.results)}",
    )


def scaled_cell(loss: ComparedLoss) -> str:
    """Return NLL and ECE after temperature scaling; nothing where no images were held out to fit it on."""
    if loss.mean("scaled_nll") is None:
        return ""
    return f"{fixed(loss.mean('scaled_nll'), 3)}, {percentage(loss.mean('scaled_ece'), 1)}"


def _search_story(found: FoundLoss) -> str:
    search = found.search
    kinds = {key: type_of(search, key) or "unknown" for key in ("parameterization", "sampler", "objective", "strategy")}
    mutation = type_of(search, "mutation")
    return (
        f"{count(found.generations, 'generation')} of {kinds['strategy']}"
        f"{f' with {mutation} mutation' if mutation else ''}, {count(found.evaluations, 'evaluation')} in all, over "
        f"{kinds['parameterization']} losses. Fitness: {kinds['objective']} on synthetic predictions of "
        f"{_amount(search.get('num_classes'), 'class', 'classes')}, drawn by {kinds['sampler']}. Seed {found.seed}."
        f"{_searches(found)}{_rejections(found)}"
    )


def _searches(found: FoundLoss) -> str:
    """Return a sentence on why the search stopped, or on each of several searches."""
    ends = [
        f"{count(end.generations, 'generation')} of {end.num_solutions} candidates (stopped by {label(end.stopped)})"
        for end in found.searches
    ]
    if len(ends) < 2:
        return f" Stopped by {label(found.searches[0].stopped)}." if ends else ""
    listed = "; ".join(f"{index}: {end}" for index, end in enumerate(ends))
    return f" {len(ends)} independent searches: {listed}. The loss is that of search {found.restart}."


def _rejections(found: FoundLoss) -> str:
    counts = [f"{label(reason)} {number:,}" for reason, number in found.rejected.items() if number]
    return f" Candidates rejected, by the first reason that applied: {', '.join(counts)}." if counts else ""


def _training_story(comparison: Comparison, training: Mapping[str, Any]) -> str:
    parts = [
        *filter(None, (comparison.dataset, comparison.model)),
        _amount(training.get("num_train"), "training image") if training.get("num_train") else "",
        _amount(training.get("epochs"), "epoch") if training.get("epochs") else "",
        f"batch size {training['batch_size']}" if training.get("batch_size") else "",
        f"peak learning rate {training['learning_rate']}" if training.get("learning_rate") else "",
        _noise(training),
        f"a long tail of {training['long_tail']:g}" if training.get("long_tail") else "",
        _amount(training.get("num_validation"), "image") + " held out" if training.get("num_validation") else "",
        f"in {training['precision']}" if training.get("precision") else "",
    ]
    return (
        f"Settings: {', '.join(filter(None, parts)) or 'see the spec'}; the same for every loss, and nothing tuned for "
        "any of them. Test images are read once, after the last epoch."
    )


def _noise(training: Mapping[str, Any]) -> str:
    noise = training.get("label_noise") or {}
    rate = f" of {noise['rate']:.0%}" if "rate" in noise else ""
    return f"label noise ({noise['type']}){rate}" if noise else ""


def _amount(value: object, singular: str, plural: str | None = None) -> str:
    number = value if isinstance(value, int) else None
    plural = plural or f"{singular}s"
    return f"an unknown number of {plural}" if number is None else f"{number:,} {singular if number == 1 else plural}"


def _command(manifest: Manifest) -> str:
    return manifest.command if isinstance(manifest.command, str) else shlex.join(manifest.command)


def _versions(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    plugins = [f"{plugin.distribution} {plugin.version}" for plugin in manifest.plugins]
    entries = [(label(key), value) for key, value in manifest.entries.items()]
    return (*entries, ("plugins", ", ".join(plugins) or "none"))
