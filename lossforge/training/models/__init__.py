"""Network architectures, built in."""

from lossforge.training.models.resnet import ResNet8, ResNet20, ResNet32, ResNet44, ResNet56

__all__ = ["ResNet8", "ResNet20", "ResNet32", "ResNet44", "ResNet56"]
