"""Tune a neural network that reads handwritten digits: 40 configurations, the poor ones stopped early.

    pip install "tunesmith[examples]" && python examples/digits.py

The data are scikit-learn's 1797 scanned digits of 8x8 pixels, of which the training images are also shown shifted and
turned. The best network of all trials and epochs, chosen on validation images, is then tried on unseen test images.
"""

import argparse
import pickle
from pathlib import Path

import numpy as np
from scipy.ndimage import rotate
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import tunesmith as tune

SPACE = {
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "batch": tune.choice([8, 16, 32, 64]),
    "units": tune.lograndint(8, 257),
    "activation": tune.choice(["relu", "tanh", "logistic"]),
}


def load_images():
    """(images, labels) of each part: half of the digits to train on, a quarter to choose by, a quarter to test."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32).reshape(-1, 8, 8)
    train_x, rest_x, train_y, rest_y = train_test_split(x, y, test_size=0.5, stratify=y, random_state=0)
    val_x, test_x, val_y, test_y = train_test_split(rest_x, rest_y, test_size=0.5, stratify=rest_y, random_state=0)
    turned = np.concatenate([rotate(train_x, degrees, (1, 2), reshape=False, order=1) for degrees in (-12, 0, 12)])
    framed = np.pad(turned, ((0, 0), (1, 1), (1, 1)))
    shifted = np.concatenate([framed[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)])
    parts = {"train": (shifted, np.tile(train_y, 27)), "val": (val_x, val_y), "test": (test_x, test_y)}
    return {part: (images.reshape(-1, 64), labels) for part, (images, labels) in parts.items()}


def train(config, checkpoint_dir=None, images=None, max_epochs=27):
    """Train one network; save it and report its accuracy after every epoch."""
    model = MLPClassifier(
        hidden_layer_sizes=[config["units"]],
        activation=config["activation"],
        solver="sgd",
        learning_rate_init=config["lr"],
        momentum=config["momentum"],
        batch_size=config["batch"],
    )
    first_epoch = 1
    if checkpoint_dir:  # this trial was interrupted, and goes on from there
        model, first_epoch = pickle.loads(Path(checkpoint_dir, "model.pkl").read_bytes())
    for epoch in range(first_epoch, max_epochs + 1):
        model.partial_fit(*images["train"], classes=range(10))
        with tune.checkpoint_dir(step=epoch) as folder:
            Path(folder, "model.pkl").write_bytes(pickle.dumps((model, epoch + 1)))
        tune.report(accuracy=model.score(*images["val"]))  # a poor trial ends here


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-samples", type=int, default=40, help="configurations to try (40)")
    parser.add_argument("--max-epochs", type=int, default=27, help="epochs that a good one is trained for (27)")
    parser.add_argument("--executor", choices=["processes", "inline"], help="where trials run (processes)")
    parser.add_argument("--name", help="go on with the interrupted experiment of this name")
    arguments = parser.parse_args()
    images = load_images()  # once: all trials share it
    result = tune.maximize(
        tune.with_parameters(train, images=images, max_epochs=arguments.max_epochs),
        SPACE,
        metric="accuracy",
        num_samples=arguments.num_samples,
        max_t=arguments.max_epochs,
        executor=arguments.executor,
        name=arguments.name,
        seed=0,
    )

    best = result.best  # config, value, step and checkpoint of one and the same epoch
    model, _ = pickle.loads(Path(best.checkpoint, "model.pkl").read_bytes())
    print(f"\nBest config: {best.config}")
    print(f"Accuracy after its epoch {best.step}: validation {best.value:.3f}, test {model.score(*images['test']):.3f}")


if __name__ == "__main__":
    main()
