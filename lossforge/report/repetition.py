"""What it takes to do the same again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lossforge.report.numbers import label, percent
from lossforge.report.reading import checked
from lossforge.run_content import Content, Manifest


@dataclass(frozen=True)
class Fact:
    """Something that a repetition has to agree with: ``hash`` is set as code, and ``note`` stands after it."""

    name: str
    value: str = ""
    hash: str = ""
    note: str = ""


@dataclass(frozen=True)
class Repetition:
    """Command, versions and spec.

    Attributes:
        title: of the section.
        command: that was given.
        again: that does the same from the spec.
        promise: what then agrees.
        facts: versions and hashes.
        spec_name: name of the spec's file.
        spec: its content.
    """

    title: str
    command: str
    again: str
    promise: str
    facts: tuple[Fact, ...]
    spec_name: str
    spec: str


def command_of(manifest: Manifest) -> str:
    """Return the command as it is typed."""
    return manifest.command if isinstance(manifest.command, str) else shlex.join(manifest.command)


def versions_of(manifest: Manifest) -> tuple[Fact, ...]:
    """Return versions, device and plugins."""
    plugins = [f"{plugin.distribution} {plugin.version}" for plugin in manifest.plugins]
    entries = [Fact(label(key), value) for key, value in manifest.entries.items()]
    return (*entries, Fact("plugins", ", ".join(plugins) or "none"))


class DataRecord(Content):
    """``data.json``: what was trained on."""

    dataset_sha256: str | None = None
    labels_sha256: dict[str, str] = {}
    wrong_labels: dict[str, float] = {}


def data_facts(records: Mapping[str, Path]) -> tuple[Fact, ...]:
    """Return hashes of the images and labels, by condition; datasets that are the same are told once.

    Raises:
        RunDirectoryError: a record is missing or damaged.
    """
    images, labels = {}, []
    for name, path in records.items():
        record = checked(DataRecord, path)
        if record.dataset_sha256 is not None:
            images[record.dataset_sha256] = Fact("images", hash=record.dataset_sha256, note="SHA-256 of the dataset")
        if "train" in record.labels_sha256:
            wrong = percent(record.wrong_labels.get("train"), 1)
            labels.append(Fact(f"labels, {name}", hash=record.labels_sha256["train"], note=f"training; {wrong} wrong"))
    return (*images.values(), *labels)
