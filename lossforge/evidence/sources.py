"""Where found losses come from: folders they are read from, and specs they are searched for by."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lossforge import presets
from lossforge.artifact import Artifact, load_artifact
from lossforge.errors import SpecError
from lossforge.evidence.random_control import search_of
from lossforge.evidence.searched import holds_loss, searched
from lossforge.evidence.store import identity_hash
from lossforge.run_directory import RunDirectory
from lossforge.search import resolve
from lossforge.search.runner import OnGeneration
from lossforge.spec import RunSpec, SearchSpec, read_spec


@dataclass(frozen=True)
class FoundSource:
    """A found loss, or how it is searched for.

    Attributes:
        name: what it is called in a comparison.
        origin: the loss, or the spec to search by.
        history: the course of the search, of a loss that is read from a run.
    """

    name: str
    origin: Artifact | RunSpec
    history: bytes | None = None

    @property
    def search(self) -> SearchSpec | None:
        """The search; None where a loss does not say how it was found."""
        return self.origin.search if isinstance(self.origin, RunSpec) else search_of(self.origin)

    def wanted(self, out: Path | None) -> RunSpec | None:
        """Return what is still to be searched for: None where the loss is read, or in ``out`` from an earlier command.

        Raises:
            SpecError: the search asks for what this machine lacks.
        """
        if isinstance(self.origin, Artifact):
            return None
        if out is not None and holds_loss(self._folder(self.origin, out)):
            return None
        return resolve(self.origin)

    def obtain(self, out: Path | None, on_generation: OnGeneration | None) -> Artifact:
        """Return the loss; a search is kept in ``searches`` in ``out``, None: nothing is written.

        Raises:
            SpecError, SearchError: nothing is found.
        """
        origin = self.origin
        if isinstance(origin, RunSpec):
            folder = None if out is None else self._folder(origin, out)
            origin = searched(origin, folder, on_generation or (lambda record, seconds: None))
        return dataclasses.replace(origin, name=self.name)

    def _folder(self, spec: RunSpec, out: Path) -> Path:
        """Return where in ``out`` its search is kept."""
        content = spec.model_dump(mode="json", include={"name", "seed", "device", "search"})
        return out / "searches" / f"{spec.name}-{identity_hash(content)[:8]}"


def found_source(path: str, further_seed: int = 0) -> FoundSource:
    """Return what a folder, spec file or preset says; ``further_seed`` is added to a spec's seed.

    Raises:
        ArtifactError, SpecError: it cannot be read.
    """
    at = Path(path).expanduser()
    if at.is_dir():
        artifact = load_artifact(at)
        history = RunDirectory(at).history
        return FoundSource(artifact.name, artifact, history.read_bytes() if history.is_file() else None)
    spec: RunSpec = read_spec(at) if at.is_file() else presets.load(path)
    return FoundSource(spec.name, spec.model_copy(update={"seed": spec.seed + further_seed}))


def found_sources(paths: Sequence[str]) -> list[FoundSource]:
    """Return the sources of all; of two that are called alike, the later is called as its folder.

    Raises:
        ArtifactError, SpecError: one cannot be read, or two have one name still.
    """
    sources: dict[str, FoundSource] = {}
    for path in paths:
        source = found_source(path)
        if source.name in sources:
            source = dataclasses.replace(source, name=Path(path).name)
        if source.name in sources:
            raise SpecError([f"found: two losses are called {source.name!r}; rename the folder of {path}"])
        sources[source.name] = source
    return list(sources.values())
