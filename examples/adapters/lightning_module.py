"""PyTorch Lightning: the found loss is a submodule, so Lightning moves it to the device along with the network.

python examples/adapters/lightning_module.py runs/quickstart
"""

import argparse

import lightning as L
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lossforge


class Classifier(L.LightningModule):
    def __init__(self, criterion):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
        self.criterion = criterion

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return self.criterion(self.network(images), labels)

    def test_step(self, batch, batch_idx):
        images, labels = batch
        self.log("test_accuracy", (self.network(images).argmax(dim=1) == labels).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on handwritten digits with a found loss, in Lightning.")
    parser.add_argument("loss", nargs="?", default="runs/quickstart", help="a run directory or an artifact folder")
    criterion = lossforge.load_loss(parser.parse_args().loss)  # was: nn.CrossEntropyLoss()

    L.seed_everything(0)
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))
    train, test = train_test_split(digits, test_size=360, stratify=labels, random_state=0)

    model = Classifier(criterion)
    files = {"logger": False, "enable_checkpointing": False}
    trainer = L.Trainer(max_epochs=15, accelerator="cpu", enable_progress_bar=False, **files)
    trainer.fit(model, DataLoader(train, batch_size=64, shuffle=True))
    (result,) = trainer.test(model, DataLoader(test, batch_size=64), verbose=False)
    print(f"test accuracy {result['test_accuracy']:.4f}")


if __name__ == "__main__":
    main()
