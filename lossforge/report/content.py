"""What the report of a run says: its files as sentences, tables and charts, in the order of the page."""

from __future__ import annotations

from dataclasses import dataclass

from lossforge.evidence.trainer import place_of_images
from lossforge.report.evidence_page import EvidenceSection, evidence_section
from lossforge.report.found import Found, found_loss
from lossforge.report.further import further_sections
from lossforge.report.reading import Run
from lossforge.report.repetition import Fact, Repetition, command_of, data_facts, versions_of
from lossforge.report.results import Results, results
from lossforge.report.sections import Section
from lossforge.report.verdict import verdict, verdict_without_training


@dataclass(frozen=True)
class Page:
    """The report of a run.

    Attributes:
        verdict: first sentences; none where ``evidence`` has them.
        results: of a plain comparison.
        evidence: of one under conditions, tuned or with controls.
        further: what else was found out, and lies beside the run.
    """

    name: str
    description: str
    verdict: tuple[str, ...]
    results: Results | None
    evidence: EvidenceSection | None
    found: Found
    further: tuple[Section, ...]
    repetition: Repetition


def page(run: Run) -> Page:
    """Return the content of a run's report."""
    found, comparison, evidence = run.found, run.comparison, run.evidence
    sentences = verdict_without_training(found) if comparison is None else verdict(comparison)
    return Page(
        name=found.name,
        description=str(run.spec.get("description") or ""),
        verdict=() if evidence else tuple(sentences.splitlines()),
        results=None if comparison is None or evidence else results(comparison, run.spec),
        evidence=None if evidence is None else evidence_section(evidence),
        found=found_loss(found.name, found, run.history),
        further=further_sections(run.directory, [found.name]),
        repetition=_repetition(run),
    )


def _repetition(run: Run) -> Repetition:
    history_hash = Fact("history hash", hash=run.history_hash, note="SHA-256 of history.jsonl")
    return Repetition(
        title="Repeat the run",
        command=command_of(run.manifest),
        again="lossforge run spec.yaml",
        promise=f"Same spec and seed ({run.found.seed}), same versions and same device model give the same history and "
        "the same loss, bit by bit.",
        facts=(*versions_of(run.manifest), history_hash, *_data(run)),
        spec_name="spec.yaml",
        spec=run.spec_text,
    )


def _data(run: Run) -> tuple[Fact, ...]:
    """Return hashes of what was trained on, if anything was."""
    training = run.directory / "training"
    if run.evidence is None:
        path = training / "data.json"
        return data_facts({"all": path}) if path.exists() else ()
    seed = run.spec.get("seed", 0)
    places = {each.name: place_of_images(each.name, seed, each.training) for each in run.evidence.conditions}
    return data_facts({name: training / place / "data.json" for name, place in places.items()})
