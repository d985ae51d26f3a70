"""In the style of timm's train.py: the found loss is the train_loss_fn, and takes the soft targets of Mixup.

python examples/adapters/timm_style.py runs/quickstart
"""

import argparse

import timm
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from timm.data import Mixup
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, ModelEmaV3, accuracy, random_seed
from torch.utils.data import DataLoader, TensorDataset

import lossforge


def validate(model, loader):
    top1_m = AverageMeter()
    model.eval()
    with torch.no_grad():
        for images, target in loader:
            top1_m.update(accuracy(model(images), target)[0].item(), images.size(0))
    return top1_m.avg


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on handwritten digits with a found loss, with parts of timm.")
    parser.add_argument("loss", nargs="?", default="runs/quickstart", help="a run directory or an artifact folder")
    train_loss_fn = lossforge.load_loss(parser.parse_args().loss)  # was: SoftTargetCrossEntropy()

    random_seed(0)
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    digits = TensorDataset(images, torch.tensor(labels))
    train, test = train_test_split(digits, test_size=360, stratify=labels, random_state=0)
    model = timm.create_model("test_resnet", in_chans=1, num_classes=10)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=3e-3, weight_decay=0.05)
    scheduler, num_epochs = create_scheduler_v2(optimizer, sched="cosine", num_epochs=10)
    model_ema = ModelEmaV3(model, decay=0.95)
    mixup_fn = Mixup(mixup_alpha=0.2, label_smoothing=0.1, num_classes=10)
    for epoch in range(num_epochs):
        model.train()
        for images, target in DataLoader(train, batch_size=64, shuffle=True, drop_last=True):
            images, target = mixup_fn(images, target)
            loss = train_loss_fn(model(images), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model_ema.update(model)
        scheduler.step(epoch + 1)
    print(f"test accuracy {validate(model_ema.module, DataLoader(test, batch_size=64)) / 100:.4f}")


if __name__ == "__main__":
    main()
