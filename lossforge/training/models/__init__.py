"""Network architectures, built in."""

from lossforge.training.models.deep_resnet import ResNet18, ResNet34, ResNet50
from lossforge.training.models.heads import CosineHead, LargeMarginHead, LinearHead
from lossforge.training.models.preact_resnet import PreActResNet18
from lossforge.training.models.resnet import ResNet8, ResNet20, ResNet32, ResNet44, ResNet56, ResNet110
from lossforge.training.models.resnet9 import ResNet9
from lossforge.training.models.timm import TimmModel
from lossforge.training.models.torchvision import TorchvisionModel
from lossforge.training.models.wide_resnet import WRN16x8, WRN28x10

__all__ = [
    "CosineHead",
    "LargeMarginHead",
    "LinearHead",
    "PreActResNet18",
    "ResNet8",
    "ResNet9",
    "ResNet18",
    "ResNet20",
    "ResNet32",
    "ResNet34",
    "ResNet44",
    "ResNet50",
    "ResNet56",
    "ResNet110",
    "TimmModel",
    "TorchvisionModel",
    "WRN16x8",
    "WRN28x10",
]
