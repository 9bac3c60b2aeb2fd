"""Three trainings as people write them: each saves a checkpoint and reports its validation accuracy every epoch.

Fashion-MNIST is read from Debian's package (`apt-get install dataset-fashion-mnist`); the digits come with
scikit-learn. One epoch takes a few tenths of a CPU second, so that a full training takes some 4 to 10. PyTorch is
imported where it is used, since the other two need none.
"""

from __future__ import annotations

import gzip
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn import datasets
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import tunesmith as tune

MAX_T = 27  #: epochs of a full training
FASHION_MNIST = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
NO_IMAGES = """There is no Fashion-MNIST in {folder}. Install it (Debian, Ubuntu):
apt-get install dataset-fashion-mnist; or name the folder with its .gz files in the variable FASHION_MNIST; or leave
these trainings out: --only boosting."""
ROUNDS_PER_EPOCH = 5  #: of boosting

Part = tuple[Any, Any]  #: inputs and labels
Data = dict[str, Part]  #: "train" and "val"


class Training(NamedTuple):
    """A function to tune, what may vary, and what it trains on."""

    words: str
    train: Callable[..., None]  #: f(config, checkpoint_dir=None, data=None)
    space: dict[str, Any]
    load: Callable[[], Data]


# ---------------------------------------------------------------- data


def read_fashion(part: str) -> Part:
    """Pixels (n, 28, 28) and labels of "train" or "t10k". Ends the program where they are missing."""
    if not FASHION_MNIST.is_dir():
        raise SystemExit(NO_IMAGES.format(folder=FASHION_MNIST))
    with gzip.open(FASHION_MNIST / f"{part}-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(FASHION_MNIST / f"{part}-labels-idx1-ubyte.gz") as file:
        return pixels, np.frombuffer(file.read(), np.uint8, offset=8)


def _images(n_train: int, n_val: int) -> Data:
    """The first images of the training set, and others of it to choose by: its test set stays unseen."""
    pixels, labels = read_fashion("train")
    n = n_train + n_val
    return {"train": (pixels[:n_train], labels[:n_train]), "val": (pixels[n_train:n], labels[n_train:n])}


def load_rows() -> Data:
    """20000 images to train on, 5000 to choose by, as rows of 784 numbers from 0 to 1."""
    parts = _images(20000, 5000)
    return {part: (pixels.reshape(-1, 784).astype(np.float32) / 255, y) for part, (pixels, y) in parts.items()}


def load_images() -> Data:
    """2500 images to train on, 3000 to choose by: tensors of shape (n, 1, 28, 28), centred and scaled."""
    import torch

    found: Data = {}
    for part, (pixels, labels) in _images(2500, 3000).items():
        scaled = (pixels[:, None].astype(np.float32) / 255 - 0.286) / 0.353
        found[part] = torch.tensor(scaled), torch.tensor(labels.astype(np.int64))
    return found


def load_digits() -> Data:
    """Half of scikit-learn's digits to train on, also moved by a pixel each way, and the other half to choose by."""
    x, y = datasets.load_digits(return_X_y=True)
    train_x, val_x, train_y, val_y = train_test_split(x, y, test_size=0.5, stratify=y, random_state=0)
    images, moves = train_x.reshape(-1, 8, 8), ((0, 0), (1, 1), (-1, 1), (1, 2), (-1, 2))
    moved = [np.roll(images, by, axis=axis) if axis else images for by, axis in moves]
    return {"train": (np.concatenate(moved).reshape(-1, 64), np.tile(train_y, 5)), "val": (val_x, val_y)}


# ---------------------------------------------------------------- scikit-learn, epoch by epoch

PERCEPTRON_SPACE = {
    "solver": tune.choice(["sgd", "adam"]),
    "learning_rate": tune.loguniform(1e-5, 1.0),
    "momentum": tune.uniform(0.0, 0.99),  # of sgd
    "batch_size": tune.lograndint(16, 513),
    "layers": tune.choice([1, 2, 3]),
    "units": tune.lograndint(8, 257),
    "alpha": tune.loguniform(1e-6, 1.0),
}


def train_perceptron(config: dict[str, Any], checkpoint_dir: str | None = None, data: Any = None) -> None:
    """scikit-learn's MLPClassifier by `partial_fit`."""
    model = MLPClassifier(
        hidden_layer_sizes=[config["units"]] * config["layers"],
        solver=config["solver"],
        learning_rate_init=config["learning_rate"],
        momentum=config["momentum"],
        batch_size=config["batch_size"],
        alpha=config["alpha"],
    )
    first = 1
    if checkpoint_dir:
        model, first = pickle.loads(Path(checkpoint_dir, "model.pkl").read_bytes())
    for epoch in range(first, MAX_T + 1):
        model.partial_fit(*data["train"], classes=range(10))
        with tune.checkpoint_dir(step=epoch) as folder:
            Path(folder, "model.pkl").write_bytes(pickle.dumps((model, epoch + 1)))
        tune.report(accuracy=model.score(*data["val"]))


# ---------------------------------------------------------------- PyTorch

NETWORK_SPACE = {
    "optimizer": tune.choice(["sgd", "adam", "rmsprop"]),
    "lr": tune.loguniform(1e-5, 1.0),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
    "batch_size": tune.lograndint(16, 257),
    "channels": tune.lograndint(4, 25),
    "units": tune.lograndint(16, 129),
    "dropout": tune.uniform(0.0, 0.9),
}


def train_network(config: dict[str, Any], checkpoint_dir: str | None = None, data: Any = None) -> None:
    """A small convolutional network on the CPU."""
    import torch

    model = _network(config)
    rates: dict[str, Any] = {"lr": config["lr"], "weight_decay": config["weight_decay"]}
    if config["optimizer"] == "sgd":
        optimizer: Any = torch.optim.SGD(model.parameters(), momentum=0.9, **rates)
    else:
        kinds = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}
        optimizer = kinds[config["optimizer"]](model.parameters(), **rates)
    first = 1
    if checkpoint_dir:
        saved = torch.load(Path(checkpoint_dir, "state.pt"))
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["epoch"] + 1
    (x, y), (val_x, val_y) = data["train"], data["val"]
    for epoch in range(first, MAX_T + 1):
        model.train()
        for rows in torch.split(torch.randperm(len(x)), config["batch_size"]):
            optimizer.zero_grad()
            loss: Any = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            accuracy = (model(val_x).argmax(1) == val_y).float().mean().item()
        with tune.checkpoint_dir(step=epoch) as folder:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
            torch.save(state, Path(folder, "state.pt"))
        tune.report(accuracy=accuracy)


def _network(config: dict[str, Any]) -> Any:
    from torch import nn

    channels = config["channels"]
    return nn.Sequential(
        nn.Conv2d(1, channels, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(config["dropout"]),
        nn.Linear(2 * channels * 49, config["units"]),
        nn.ReLU(),
        nn.Linear(config["units"], 10),
    )


# ---------------------------------------------------------------- scikit-learn, more trees with every epoch

BOOSTING_SPACE = {
    "learning_rate": tune.loguniform(1e-3, 2.0),
    "max_depth": tune.randint(1, 9),
    "min_samples_leaf": tune.lograndint(1, 101),
    "subsample": tune.uniform(0.1, 1.0),
    "max_features": tune.loguniform(0.02, 1.0),
    "min_impurity_decrease": tune.loguniform(1e-6, 1e-1),
}


def train_boosting(config: dict[str, Any], checkpoint_dir: str | None = None, data: Any = None) -> None:
    """scikit-learn's gradient boosting by `warm_start`: an epoch is a few rounds of one tree for each digit."""
    model, first = GradientBoostingClassifier(**config, warm_start=True), 1
    if checkpoint_dir:
        model, first = pickle.loads(Path(checkpoint_dir, "model.pkl").read_bytes())
    for epoch in range(first, MAX_T + 1):
        model.set_params(n_estimators=epoch * ROUNDS_PER_EPOCH).fit(*data["train"])
        with tune.checkpoint_dir(step=epoch) as folder:
            Path(folder, "model.pkl").write_bytes(pickle.dumps((model, epoch + 1)))
        tune.report(accuracy=model.score(*data["val"]))


TRAININGS = {
    "perceptron": Training("scikit-learn MLPClassifier, Fashion-MNIST", train_perceptron, PERCEPTRON_SPACE, load_rows),
    "network": Training("PyTorch CNN, Fashion-MNIST", train_network, NETWORK_SPACE, load_images),
    "boosting": Training("scikit-learn gradient boosting, digits", train_boosting, BOOSTING_SPACE, load_digits),
}
