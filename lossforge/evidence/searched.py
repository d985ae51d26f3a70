"""Losses that are found for a comparison: the search of a spec, once."""

from __future__ import annotations

from pathlib import Path

from lossforge import run_directory
from lossforge.artifact import Artifact, load_artifact
from lossforge.run_directory import RunDirectory
from lossforge.run_log import logged_to
from lossforge.search import Search, resolve, run_search
from lossforge.search.runner import OnGeneration
from lossforge.spec import RunSpec


def holds_loss(folder: Path) -> bool:
    """Return whether the search that a folder is for has ended."""
    return (RunDirectory(folder).artifact / "loss.json").is_file()


def searched(spec: RunSpec, folder: Path | None, on_generation: OnGeneration) -> Artifact:
    """Return the loss that the search of a spec finds: read back, or searched for, from where an interruption left it.

    Args:
        spec: its training and evidence are not looked at.
        folder: of all that this search leaves behind, called after a hash of the spec; None: nothing is written.
        on_generation: told of progress.

    Raises:
        SearchError: the search cannot go on, or finds nothing.
        RunDirectoryError: the folder holds another search.
    """
    if folder is not None and holds_loss(folder):
        return load_artifact(RunDirectory(folder).artifact)
    spec = resolve(spec.model_copy(update={"training": None, "evidence": None, "trackers": ()}))
    if folder is None:
        with Search(spec.search, seed=spec.seed, device=spec.device, name=spec.name) as search:
            return search.run()
    if not folder.exists():
        directory = run_directory.begin(folder, spec)
    else:
        directory = run_directory.reopen(folder)
        run_directory.refuse_changed(directory, spec)
    with directory.occupied(), logged_to(directory.log):
        artifact = run_search(spec, directory, on_generation=on_generation)
        artifact.save(directory.artifact)
    return artifact
