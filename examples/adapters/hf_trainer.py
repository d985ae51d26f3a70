"""Hugging Face Trainer, with the loss as one file: where this runs, no lossforge is needed.

python examples/adapters/hf_trainer.py runs/quickstart/artifact/loss.py
"""

import argparse
import importlib.util
import tempfile
from functools import partial

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed


def load_loss_class(path):
    """Return Loss of a file anywhere; of one beside the script: from loss import Loss."""
    spec = importlib.util.spec_from_file_location("loss", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Loss


def mean_over_update(criterion, outputs, labels, num_items_in_batch=None):
    """Return a batch's share of the mean over all items of an update, however many batches they come in."""
    num_items = (labels != -100).sum() if num_items_in_batch is None else num_items_in_batch
    return criterion(outputs["logits"], labels) / num_items


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on handwritten digits with a found loss, in transformers.")
    parser.add_argument("loss", nargs="?", default="runs/quickstart/artifact/loss.py", help="an exported loss.py")
    path = parser.parse_args().loss
    if not path.endswith(".py"):
        parser.error(f"{path} is no loss.py; a run has one in artifact, and `lossforge export` writes one")
    criterion = load_loss_class(path)(reduction="sum")

    set_seed(0)
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    digits = [{"pixel_values": image, "labels": label} for image, label in zip(images, labels, strict=True)]
    train, test = train_test_split(digits, test_size=360, stratify=labels, random_state=0)

    shape = {"image_size": 8, "patch_size": 2, "num_channels": 1, "num_labels": 10}
    width = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = ViTForImageClassification(ViTConfig(**shape, **width))
    recipe = {"per_device_train_batch_size": 32, "gradient_accumulation_steps": 2, "learning_rate": 2e-3}
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(folder, use_cpu=True, save_strategy="no", report_to="none", max_steps=250, **recipe)
        loss_func = partial(mean_over_update, criterion.to(args.device))
        trainer = Trainer(model, args, train_dataset=train, compute_loss_func=loss_func)
        trainer.train()
        predicted = trainer.predict(test)
    print(f"test accuracy {(predicted.predictions.argmax(-1) == predicted.label_ids).mean():.4f}")


if __name__ == "__main__":
    main()
