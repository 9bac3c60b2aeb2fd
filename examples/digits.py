"""Tune a neural network that reads handwritten digits: 40 configurations, the poor ones stopped early.

    pip install "tunesmith[examples]"
    python examples/digits.py

The data are scikit-learn's 1797 scanned digits of 8x8 pixels. The training images are also shown shifted by a pixel in
each direction, which makes them nine times as many. The best network of all trials and epochs, chosen by its accuracy
on validation images, is tried at the end on test images that no trial has seen.
"""

import argparse
import pickle
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import tunesmith as tune

SPACE = {
    "n_units": tune.lograndint(8, 257),
    "activation": tune.choice(["relu", "tanh", "logistic"]),
    "learning_rate": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "batch_size": tune.choice([8, 16, 32, 64]),
    "l2_penalty": tune.loguniform(1e-6, 1e-1),
}


def load_images():
    """Images and labels of the three parts: training (half of the data), validation and test (a quarter each)."""
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) / 16.0
    train_x, other_x, train_y, other_y = train_test_split(images, labels, test_size=0.5, stratify=labels, random_state=0)
    val_x, test_x, val_y, test_y = train_test_split(other_x, other_y, test_size=0.5, stratify=other_y, random_state=0)
    framed = np.pad(train_x, ((0, 0), (1, 1), (1, 1)))
    shifted = [framed[:, row : row + 8, column : column + 8] for row in range(3) for column in range(3)]
    parts = {"train": (np.concatenate(shifted), np.tile(train_y, 9)), "val": (val_x, val_y), "test": (test_x, test_y)}
    return {name: (x.reshape(len(x), 64), y) for name, (x, y) in parts.items()}


def train(config, checkpoint_dir=None, images=None, max_epochs=27):
    """Train one network, and report and save it after every epoch."""
    model, first_epoch = make_network(config), 1
    if checkpoint_dir:  # this trial goes on where an earlier attempt of it, or another trial, has been
        model, first_epoch = pickle.loads(Path(checkpoint_dir, "model.pkl").read_bytes())
    for epoch in range(first_epoch, max_epochs + 1):
        model.partial_fit(*images["train"], classes=range(10))
        with tune.checkpoint_dir(step=epoch) as folder:
            Path(folder, "model.pkl").write_bytes(pickle.dumps((model, epoch + 1)))
        tune.report(accuracy=model.score(*images["val"]), loss=model.loss_)  # a poor trial is ended here


def make_network(config):
    return MLPClassifier(
        hidden_layer_sizes=[config["n_units"]],
        activation=config["activation"],
        solver="sgd",
        learning_rate_init=config["learning_rate"],
        momentum=config["momentum"],
        batch_size=config["batch_size"],
        alpha=config["l2_penalty"],
        random_state=0,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-samples", type=int, default=40, help="how many configurations are tried")
    parser.add_argument("--max-epochs", type=int, default=27, help="how long the good ones are trained")
    parser.add_argument("--executor", choices=["processes", "inline"], help="where trials run")
    arguments = parser.parse_args()

    images = load_images()
    result = tune.maximize(
        tune.with_parameters(train, images=images, max_epochs=arguments.max_epochs),
        SPACE,
        metric="accuracy",
        num_samples=arguments.num_samples,
        max_t=arguments.max_epochs,
        executor=arguments.executor,
        seed=0,
    )

    best = result.best
    model, _ = pickle.loads(Path(best.checkpoint, "model.pkl").read_bytes())
    print(f"\nBest config: {best.config}")
    print(f"Validation accuracy: {best.value:.4f}, after epoch {best.step}")
    print(f"Test accuracy: {model.score(*images['test']):.4f}, of {best.checkpoint}")


if __name__ == "__main__":
    main()
