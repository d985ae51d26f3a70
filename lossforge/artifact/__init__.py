"""The loss that a search found: stored, loaded as a module, and exported as code of its own."""

from lossforge.artifact.format_version import FORMAT_VERSION
from lossforge.artifact.learned import LearnedLoss
from lossforge.artifact.store import Artifact, load_artifact, load_loss

__all__ = ["FORMAT_VERSION", "Artifact", "LearnedLoss", "load_artifact", "load_loss"]
