"""What the report of ``lossforge compare`` says, from the files of its folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lossforge.evidence.compare import COMPARED_BY
from lossforge.evidence.trainer import place_of_images
from lossforge.report.evidence_content import EvidenceContent
from lossforge.report.evidence_page import EvidenceSection, evidence_section
from lossforge.report.found import Found, found_loss
from lossforge.report.further import further_sections
from lossforge.report.reading import checked, generations, parsed_spec, text_of
from lossforge.report.repetition import Fact, Repetition, command_of, data_facts, versions_of
from lossforge.report.sections import Section
from lossforge.run_content import FoundLoss, Generation, Manifest


@dataclass(frozen=True)
class ComparisonPage:
    """The report of a comparison."""

    name: str
    description: str
    evidence: EvidenceSection
    found: tuple[Found, ...]
    further: tuple[Section, ...]
    repetition: Repetition


def comparison_page(directory: Path) -> ComparisonPage:
    """Return the content of the report of a comparison.

    Raises:
        RunDirectoryError: a file is missing or damaged.
    """
    spec_text = text_of(directory / COMPARED_BY)
    spec = parsed_spec(directory / COMPARED_BY, spec_text)
    evidence = checked(EvidenceContent, directory / "evidence.json")
    return ComparisonPage(
        name=evidence.name,
        description=str(spec.get("description") or ""),
        evidence=evidence_section(evidence),
        found=tuple(_found(directory, evidence.found)),
        further=further_sections(directory, evidence.found, evidence.evidence.asks_for),
        repetition=Repetition(
            title="Repeat the comparison",
            command=command_of(manifest := checked(Manifest, directory / "manifest.json")),
            again=f"lossforge compare {COMPARED_BY}",
            promise=f"Same spec and seed ({spec.get('seed', 0)}), same versions and same device model give the same "
            "trainings, bit by bit. The folder was begun with this command; the spec is that of the last.",
            facts=(*versions_of(manifest), *_facts(directory, evidence, spec.get("seed", 0))),
            spec_name=COMPARED_BY,
            spec=spec_text,
        ),
    )


def _found(directory: Path, names: Iterable[str]) -> Iterable[Found]:
    """Yield what is known of each found loss; of one whose artifact does not tell how it was found, nothing is."""
    for index, name in enumerate(names):
        folder = directory / "artifacts" / name
        if "search" in json.loads(text_of(folder / "loss.json")):
            found = checked(FoundLoss, folder / "loss.json")
            yield found_loss(name, found, _history(directory, folder), f"found-{index}-")


def _history(directory: Path, artifact: Path) -> tuple[Generation, ...]:
    """Return the course of the search that found a loss, if that is in the folder; told by the loss itself."""
    beside = artifact / "history.jsonl"  # of a loss that was read from a run
    if beside.is_file():
        return generations(beside, text_of(beside))
    solution = (artifact / "loss.safetensors").read_bytes()
    for path in sorted((directory / "searches").glob("*/artifact/loss.safetensors")):
        if path.read_bytes() == solution:
            history = path.parent.parent / "history.jsonl"
            return generations(history, text_of(history))
    return ()


def _facts(directory: Path, evidence: EvidenceContent, seed: Any) -> Iterable[Fact]:
    by_loss = [seeds for condition in evidence.conditions for seeds in condition.training_seeds.values()]
    seeds = dict.fromkeys(each for of_loss in by_loss for each in of_loss)
    yield Fact("training seeds", ", ".join(map(str, seeds)))
    places = {
        condition.name: directory
        / "trainings"
        / place_of_images(condition.name, seed, condition.training)
        / "data.json"
        for condition in evidence.conditions
    }
    yield from data_facts(places)
