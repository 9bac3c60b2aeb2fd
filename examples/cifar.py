"""PyTorch's CIFAR-10 tutorial as it was written for Ray Tune in early 2022: of that, only the imports are new.

    pip install tunesmith torch
    python examples/cifar.py --n-train 10000 --max-num-epochs 4

The images are CIFAR-10, where the folder `cifar-10-batches-py` lies in --data-dir, else Fashion-MNIST from Debian's
package `dataset-fashion-mnist`, its grey 28x28 pixels framed to 32x32 and repeated in three channels.
"""
# ruff: noqa: N812, PTH100, PTH118 - the tutorial's own way of writing

import argparse
import gzip
import os
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.utils.data import DataLoader, Dataset, random_split

import tunesmith as tune
from tunesmith import CLIReporter
from tunesmith.schedulers import ASHAScheduler


class Net(nn.Module):
    def __init__(self, l1=120, l2=84):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, l1)
        self.fc2 = nn.Linear(l1, l2)
        self.fc3 = nn.Linear(l2, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = x.view(-1, 16 * 5 * 5)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


def train_cifar(config, checkpoint_dir=None, data_dir=None):
    net = Net(config["l1"], config["l2"])

    device = "cpu"
    if torch.cuda.is_available():
        device = "cuda:0"
        if torch.cuda.device_count() > 1:
            net = nn.DataParallel(net)
    net.to(device)

    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=config["lr"], momentum=0.9)

    if checkpoint_dir:
        model_state, optimizer_state = torch.load(os.path.join(checkpoint_dir, "checkpoint"))
        net.load_state_dict(model_state)
        optimizer.load_state_dict(optimizer_state)

    trainset, _ = load_data(data_dir)
    n_train = int(len(trainset) * 0.8)
    train_subset, val_subset = random_split(trainset, [n_train, len(trainset) - n_train])
    trainloader = DataLoader(train_subset, batch_size=int(config["batch_size"]), shuffle=True)
    valloader = DataLoader(val_subset, batch_size=int(config["batch_size"]), shuffle=True)

    for epoch in range(10):
        running_loss = 0.0
        epoch_steps = 0
        for i, (inputs, labels) in enumerate(trainloader):
            inputs, labels = inputs.to(device), labels.to(device)

            optimizer.zero_grad()
            outputs = net(inputs)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()

            running_loss += loss.item()
            epoch_steps += 1
            if i % 2000 == 1999:
                print(f"[{epoch + 1}, {i + 1:5d}] loss: {running_loss / epoch_steps:.3f}")
                running_loss = 0.0
                epoch_steps = 0

        val_loss = 0.0
        val_steps = 0
        total = 0
        correct = 0
        for inputs, labels in valloader:
            with torch.no_grad():
                inputs, labels = inputs.to(device), labels.to(device)
                outputs = net(inputs)
                correct += (outputs.argmax(1) == labels).sum().item()
                total += labels.size(0)

                loss = criterion(outputs, labels)
                val_loss += loss.cpu().numpy()
                val_steps += 1

        with tune.checkpoint_dir(epoch) as checkpoint_dir:
            path = os.path.join(checkpoint_dir, "checkpoint")
            torch.save((net.state_dict(), optimizer.state_dict()), path)

        tune.report(loss=(val_loss / val_steps), accuracy=correct / total)
    print("Finished Training")


def test_accuracy(net, device="cpu", data_dir="./data"):
    _, testset = load_data(data_dir)
    testloader = DataLoader(testset, batch_size=4, shuffle=False)

    correct = 0
    total = 0
    with torch.no_grad():
        for images, labels in testloader:
            images, labels = images.to(device), labels.to(device)
            correct += (net(images).argmax(1) == labels).sum().item()
            total += labels.size(0)
    return correct / total


def main(num_samples=10, max_num_epochs=10, gpus_per_trial=0, data_dir="./data"):
    data_dir = os.path.abspath(data_dir)
    load_data(data_dir)
    config = {
        "l1": tune.sample_from(lambda _: 2 ** np.random.randint(2, 9)),
        "l2": tune.sample_from(lambda _: 2 ** np.random.randint(2, 9)),
        "lr": tune.loguniform(1e-4, 1e-1),
        "batch_size": tune.choice([2, 4, 8, 16]),
    }
    scheduler = ASHAScheduler(metric="loss", mode="min", max_t=max_num_epochs, grace_period=1, reduction_factor=2)
    reporter = CLIReporter(metric_columns=["loss", "accuracy", "training_iteration"])
    result = tune.run(
        partial(train_cifar, data_dir=data_dir),
        resources_per_trial={"cpu": 2, "gpu": gpus_per_trial},
        config=config,
        num_samples=num_samples,
        scheduler=scheduler,
        progress_reporter=reporter,
    )

    best_trial = result.get_best_trial("loss", "min", "last")
    print(f"Best trial config: {best_trial.config}")
    print(f"Best trial final validation loss: {best_trial.last_result['loss']}")
    print(f"Best trial final validation accuracy: {best_trial.last_result['accuracy']}")

    best_trained_model = Net(best_trial.config["l1"], best_trial.config["l2"])
    device = "cpu"
    if torch.cuda.is_available():
        device = "cuda:0"
        if gpus_per_trial > 1:
            best_trained_model = nn.DataParallel(best_trained_model)
    best_trained_model.to(device)

    best_checkpoint_dir = best_trial.checkpoint.value
    model_state, _ = torch.load(os.path.join(best_checkpoint_dir, "checkpoint"))
    best_trained_model.load_state_dict(model_state)

    print(f"Best trial test set accuracy: {test_accuracy(best_trained_model, device, data_dir)}")


# ---------------------------------------------------------------- the images, without torchvision

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
NO_IMAGES = """No images were found. Either
  - unpack https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz in {data_dir},
    so that the folder cifar-10-batches-py lies there, or name the folder where it lies with --data-dir,
  - or install Fashion-MNIST (Debian, Ubuntu): apt-get install dataset-fashion-mnist"""

#: Folder -> training and test set. What main() loads here travels to the worker processes once; all trials share it.
LOADED = {}


class Images(Dataset):
    """Bytes of shape (n, 1 or 3, 32, 32), handed out image by image as 3 x 32 x 32 numbers from -1 to 1."""

    def __init__(self, pixels, labels):
        self.pixels, self.labels = torch.tensor(pixels), torch.tensor(labels, dtype=torch.int64)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.pixels[i].expand(3, 32, 32) / 127.5 - 1, self.labels[i]


def load_data(data_dir="./data", n_train=None, n_test=None):
    """Training and test set, read when first asked for; `n_train` and `n_test` limit the images."""
    data_dir = os.path.abspath(data_dir)
    if data_dir not in LOADED:
        if (folder := Path(data_dir, "cifar-10-batches-py")).is_dir():
            train, test = read_cifar(folder)
        elif FASHION_MNIST.is_dir():
            train, test = read_fashion("train"), read_fashion("t10k")
        else:
            raise SystemExit(NO_IMAGES.format(data_dir=data_dir))
        LOADED[data_dir] = Images(*(part[:n_train] for part in train)), Images(*(part[:n_test] for part in test))
    return LOADED[data_dir]


def read_cifar(folder):
    """Pixels and labels of the training and of the test set."""
    batches = [read_batch(folder / f"data_batch_{i}") for i in range(1, 6)]
    pixels, labels = map(np.concatenate, zip(*batches, strict=True))
    return (pixels, labels), read_batch(folder / "test_batch")


def read_batch(path):
    with path.open("rb") as file:
        batch = ArrayUnpickler(file, encoding="bytes").load()
    return batch[b"data"].reshape(-1, 3, 32, 32), np.array(batch[b"labels"])


class ArrayUnpickler(pickle.Unpickler):
    """Reads NumPy arrays and plain values, and refuses all else: a pickle from elsewhere could run any code."""

    ALLOWED = {  # noqa: RUF012
        "numpy.core.multiarray._reconstruct": np.empty(0).__reduce__()[0],
        "numpy._core.multiarray._reconstruct": np.empty(0).__reduce__()[0],
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
    }

    def find_class(self, module, name):
        if f"{module}.{name}" not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a CIFAR-10 batch: the file is another one.")
        return self.ALLOWED[f"{module}.{name}"]


def read_fashion(part):
    """Pixels and labels of the training ("train") or test ("t10k") set, in MNIST's own format."""
    with gzip.open(FASHION_MNIST / f"{part}-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(FASHION_MNIST / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return np.pad(pixels, ((0, 0), (0, 0), (2, 2), (2, 2))), labels


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-samples", type=int, default=10, help="configurations to try (10)")
    parser.add_argument("--max-num-epochs", type=int, default=10, help="epochs of a full training, up to 10 (10)")
    parser.add_argument("--gpus-per-trial", type=float, default=0, help="GPUs of a trial, fractions allowed (0)")
    parser.add_argument("--data-dir", default="./data", help="where cifar-10-batches-py lies (./data)")
    parser.add_argument("--n-train", type=int, help="images to train and validate on (all)")
    parser.add_argument("--n-test", type=int, help="images to test on (all)")
    arguments = parser.parse_args()
    load_data(arguments.data_dir, arguments.n_train, arguments.n_test)
    main(arguments.num_samples, arguments.max_num_epochs, arguments.gpus_per_trial, arguments.data_dir)
