"""One thread: tensors are tiny here, so more of them only wait for each other."""

import os

import torch

os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)
