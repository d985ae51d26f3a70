"""Early stopping: the weights of the epoch that was best on the images held out, in place of the last ones.

Prechelt, "Early Stopping - But When?", in Neural Networks: Tricks of the Trade, 1998. Training goes on to the end, so
that no patience has to be chosen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lossforge.training.evaluation import predict
from lossforge.training.result import EpochRecord
from lossforge.training.steps import Training


class BestEpoch:
    """For each of R replicas the epoch with the highest validation accuracy, the first of several, and its weights.

    Attributes:
        epoch_R: int64, counted from 1; 0 before the first.
        correct_R: int64, how many validation images it is right on.
    """

    def __init__(self, training: Training) -> None:
        self._training = training
        self._weights = {name: value.detach().clone() for name, value in training.replicas.state_dict().items()}
        self.epoch_R = torch.zeros(len(training.seeds), dtype=torch.int64)
        self.correct_R = torch.full_like(self.epoch_R, -1)

    def look(self, completed: dict[int, EpochRecord]) -> None:
        """Take the present weights of replicas that have just completed an epoch, where they are the best so far."""
        validation = self._training.data.validation
        assert validation is not None
        for replica, record in completed.items():
            network = self._training.replicas.network(replica)
            logits_NC = predict(network, self._training.data, validation.images_NCHW, self._training.precision)
            correct = int((logits_NC.argmax(dim=1) == validation.labels_N).sum())
            if correct > int(self.correct_R[replica]):
                self.epoch_R[replica], self.correct_R[replica] = record.epoch, correct
                self._training.replicas.copy_replica(self._weights, replica)

    def apply(self) -> None:
        """Give the replicas their best weights; one that completed no epoch gets those it began with."""
        self._training.replicas.load_state_dict(self._weights)

    def tensors(self) -> dict[str, Tensor]:
        """Return all that changes."""
        weights = {f"weights.{name}": value for name, value in self._weights.items()}
        return {"epoch_R": self.epoch_R, "correct_R": self.correct_R, **weights}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what :meth:`tensors` gave."""
        for name, value in self.tensors().items():
            value.copy_(tensors[name])
