"""Train a classifier with several losses on the same seeds, and see what differs."""

import lossforge

comparison = lossforge.train(
    "cross_entropy", "gce", dataset="digits", model="resnet8", seeds=2, epochs=6, crop_padding=1
)
for name, loss in comparison.losses.items():
    print(name, loss.metrics["accuracy"].sample, loss.metrics["accuracy"].difference)
