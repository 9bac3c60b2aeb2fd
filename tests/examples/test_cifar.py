"""The tutorial of 2022 in PyTorch, on a few images; and its reader of CIFAR-10's files, on made-up ones."""

import os
import pickle
import re
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

import tunesmith as tune

pytest.importorskip("torch", reason="the tutorial needs PyTorch: pip install torch")

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
CHANCE = 0.1

pytestmark = pytest.mark.torch
needs_images = pytest.mark.skipif(
    not FASHION_MNIST.is_dir(), reason="needs images: apt-get install dataset-fashion-mnist"
)
needs_two_cpus = pytest.mark.skipif(
    len(psutil.Process().cpu_affinity()) < 2, reason="the tutorial asks for 2 CPUs per trial"
)


@needs_images
@needs_two_cpus
@pytest.mark.processes
def test_tutorial_of_2022_tunes_and_tests_the_best_net(run_example, tmp_path):
    output = run_example("cifar.py", "--num-samples", 3, "--max-num-epochs", 2, "--n-train", 2500, "--n-test", 1000)
    assert "Best trial config: {" in output
    assert float(re.search(r"test set accuracy: (\S+)", output)[1]) > CHANCE

    (folder,) = (tmp_path / "results").iterdir()
    result = tune.load(folder)
    assert [trial.status for trial in result.trials] == ["TERMINATED"] * 3
    best = result.get_best_trial("loss", "min", "last")
    assert Path(best.checkpoint.value, "checkpoint").is_file()


@needs_images
@needs_two_cpus
def test_tutorial_of_2022_runs_inline(load_example, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TUNESMITH_RESULTS", str(tmp_path))
    monkeypatch.setattr(tune, "run", partial(tune.run, executor="inline"))
    cifar = load_example("cifar.py")
    cifar.load_data(tmp_path, n_train=60, n_test=50)
    cifar.main(num_samples=2, max_num_epochs=2, data_dir=tmp_path)
    assert "Best trial test set accuracy: 0." in capsys.readouterr().out


def write_cifar(folder, *, n):
    """Files as CIFAR-10's, with n images each, image i of a file in one colour."""
    folder.mkdir()
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        pixels = np.repeat(np.arange(n, dtype=np.uint8)[:, None], 3072, axis=1)
        batch = {b"data": pixels, b"labels": list(range(n)), b"filenames": [b"a.png"] * n}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=4))


def test_cifar_10_is_read_from_its_own_files(load_example, tmp_path):
    write_cifar(tmp_path / "cifar-10-batches-py", n=4)
    train, test = load_example("cifar.py").load_data(tmp_path)
    assert (len(train), len(test)) == (20, 4)
    image, label = train[7]
    assert image.shape == (3, 32, 32)
    assert float(image.max()) == pytest.approx(3 / 127.5 - 1)
    assert int(label) == 3


def test_numbers_of_images_can_be_limited(load_example, tmp_path):
    write_cifar(tmp_path / "cifar-10-batches-py", n=4)
    train, test = load_example("cifar.py").load_data(tmp_path, n_train=6, n_test=2)
    assert (len(train), len(test)) == (6, 2)


def test_pickled_code_in_a_cifar_file_is_refused(load_example, tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "attacked"),)

    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": Attack()}))
    with pytest.raises(pickle.UnpicklingError, match=r"mkdir has no place in a CIFAR-10 batch"):
        load_example("cifar.py").read_batch(tmp_path / "data_batch_1")
    assert not (tmp_path / "attacked").exists()


def test_without_images_it_says_what_to_do(load_example, tmp_path):
    cifar = load_example("cifar.py")
    cifar.FASHION_MNIST = tmp_path / "nothing"
    with pytest.raises(SystemExit, match=r"(?s)cifar-10-python\.tar\.gz.*apt-get install dataset-fashion-mnist"):
        cifar.load_data(tmp_path)
