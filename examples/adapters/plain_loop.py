"""A plain PyTorch loop: the found loss stands where nn.CrossEntropyLoss() stood.

python examples/adapters/plain_loop.py runs/quickstart
"""

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lossforge


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on handwritten digits with a found loss.")
    parser.add_argument("loss", nargs="?", default="runs/quickstart", help="a run directory or an artifact folder")
    criterion = lossforge.load_loss(parser.parse_args().loss)  # was: nn.CrossEntropyLoss()

    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))
    train, test = train_test_split(digits, test_size=360, stratify=labels, random_state=0)

    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(15):
        for inputs, targets in DataLoader(train, batch_size=64, shuffle=True):
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()

    correct = 0
    with torch.no_grad():
        for inputs, targets in DataLoader(test, batch_size=64):
            correct += (model(inputs).argmax(dim=1) == targets).sum().item()
    print(f"test accuracy {correct / len(test):.4f}")


if __name__ == "__main__":
    main()
