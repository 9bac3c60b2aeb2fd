"""Live problems: which scikit-learn pipeline, with which parameters, is best on a small data set? About 0.1 s each."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from search_params import Config, Param, cat, float_, int_

N_ROWS = 400  #: of a data set that are used
N_FOLDS = 3
_WORST = 1.5  #: of 1 - R2, which has no bound


def _load(name: str) -> tuple[Any, Any]:
    from sklearn import datasets

    data = getattr(datasets, f"load_{name}")()
    rows = np.random.default_rng(0).permutation(len(data.target))[:N_ROWS]
    return data.data[rows], data.target[rows]


#: Name -> whether classes are predicted.
DATASETS = {"digits": True, "breast_cancer": True, "diabetes": False}


def pipeline_params(*, is_classification: bool) -> list[Param]:
    """Two steps of preprocessing and the choice of a model, each with parameters of its own."""
    linear = "logistic" if is_classification else "ridge"
    return [
        cat("scale", "none", "standard", "minmax", "quantile"),
        cat("reduce", "none", "pca", "best"),
        float_("pca_share", 0.3, 0.999, under=("reduce", "pca")),
        float_("best_share", 0.1, 1.0, under=("reduce", "best")),
        cat("model", "svm", "forest", "knn", linear, "mlp"),
        float_("svm_c", 1e-3, 1e3, log=True, under=("model", "svm")),
        cat("svm_kernel", "linear", "rbf", "poly", under=("model", "svm")),
        float_("svm_gamma", 1e-5, 1e1, log=True, under=("svm_kernel", "rbf", "poly")),
        int_("svm_degree", 2, 4, under=("svm_kernel", "poly")),
        cat("forest_kind", "random", "extra", under=("model", "forest")),
        int_("forest_trees", 5, 50, log=True, under=("model", "forest")),
        int_("forest_depth", 1, 20, under=("model", "forest")),
        int_("forest_leaf", 1, 30, log=True, under=("model", "forest")),
        float_("forest_features", 0.05, 1.0, under=("model", "forest")),
        int_("knn_k", 1, 50, log=True, under=("model", "knn")),
        cat("knn_weights", "uniform", "distance", under=("model", "knn")),
        cat("knn_metric", "manhattan", "euclidean", "cosine", under=("model", "knn")),
        float_("linear_c", 1e-4, 1e3, log=True, under=("model", linear)),
        int_("mlp_width", 4, 64, log=True, under=("model", "mlp")),
        float_("mlp_rate", 1e-4, 1e-1, log=True, under=("model", "mlp")),
        float_("mlp_alpha", 1e-6, 1.0, log=True, under=("model", "mlp")),
        int_("mlp_batch", 8, 128, log=True, under=("model", "mlp")),
    ]


def _model(config: Config, *, is_classification: bool) -> Any:
    from sklearn import ensemble, linear_model, neighbors, neural_network, svm

    kind = "Classifier" if is_classification else "Regressor"
    match config["model"]:
        case "svm":
            made = svm.SVC if is_classification else svm.SVR
            gamma, degree = config.get("svm_gamma", 1.0), config.get("svm_degree", 3)
            # Without a limit a linear kernel on unscaled rows takes minutes; so it does for users, who give one.
            return made(C=config["svm_c"], kernel=config["svm_kernel"], gamma=gamma, degree=degree, max_iter=2000)
        case "forest":
            family = "RandomForest" if config["forest_kind"] == "random" else "ExtraTrees"
            return getattr(ensemble, f"{family}{kind}")(
                n_estimators=config["forest_trees"],
                max_depth=config["forest_depth"],
                min_samples_leaf=config["forest_leaf"],
                max_features=config["forest_features"],
                random_state=0,
            )
        case "knn":
            made = getattr(neighbors, f"KNeighbors{kind}")
            return made(config["knn_k"], weights=config["knn_weights"], metric=config["knn_metric"])
        case "logistic":
            return linear_model.LogisticRegression(C=config["linear_c"], max_iter=100)
        case "ridge":
            return linear_model.Ridge(alpha=1 / config["linear_c"])
        case _:
            return getattr(neural_network, f"MLP{kind}")(
                hidden_layer_sizes=(config["mlp_width"],),
                learning_rate_init=config["mlp_rate"],
                alpha=config["mlp_alpha"],
                batch_size=config["mlp_batch"],
                max_iter=15,
                random_state=0,
            )


def _steps(config: Config, *, is_classification: bool) -> list[Any]:
    from sklearn import decomposition, feature_selection, preprocessing

    scalers: dict[str, Callable[[], Any]] = {
        "standard": preprocessing.StandardScaler,
        "minmax": preprocessing.MinMaxScaler,
        "quantile": lambda: preprocessing.QuantileTransformer(n_quantiles=50, random_state=0),
    }
    steps = [scalers[config["scale"]]()] if config["scale"] in scalers else []
    if config["reduce"] == "pca":
        steps.append(decomposition.PCA(config["pca_share"], svd_solver="full"))
    elif config["reduce"] == "best":
        score = feature_selection.f_classif if is_classification else feature_selection.f_regression
        steps.append(feature_selection.SelectPercentile(score, percentile=100 * config["best_share"]))
    return [*steps, _model(config, is_classification=is_classification)]


class Pipeline:
    """The mean loss over the folds: the share of wrong classes, or 1 - R2. A function of the config alone."""

    optimum: float | None = None

    def __init__(self, dataset: str, cache: Path | None) -> None:
        """Args: cache: a folder that keeps what was evaluated, between runs and processes; None: nothing is kept."""
        import sklearn

        self.name = f"live/{dataset}"
        self._is_classification = DATASETS[dataset]
        self.params = pipeline_params(is_classification=self._is_classification)
        self._rows, self._targets = _load(dataset)
        self._file = None if cache is None else cache / f"{dataset}-sklearn-{sklearn.__version__}.jsonl"
        self._known: dict[str, list[float]] = {}
        if self._file is not None and self._file.exists():
            entries = [json.loads(line) for line in self._file.read_text().splitlines()]
            self._known = {entry[0]: entry[1:] for entry in entries}

    def evaluate(self, config: Config, rng: np.random.Generator | None = None) -> dict[str, float]:
        """See Problem; a repetition takes its value, and its seconds, from the first time."""
        key = json.dumps(config, sort_keys=True)
        if key not in self._known:
            begin = time.process_time()
            loss = self._train(config)
            self._known[key] = [loss, time.process_time() - begin]
            if self._file is not None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with self._file.open("a") as file:  # one short write: processes may share the file
                    file.write(json.dumps([key, *self._known[key]]) + "\n")
        loss, seconds = self._known[key]
        return {"value": loss, "true": loss, "time": seconds}

    def _train(self, config: Config) -> float:
        from sklearn.model_selection import KFold, StratifiedKFold
        from sklearn.pipeline import make_pipeline

        folds = (StratifiedKFold if self._is_classification else KFold)(N_FOLDS, shuffle=True, random_state=0)
        losses = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no convergence, too few features: the loss says so
            for train, test in folds.split(self._rows, self._targets):
                pipeline = make_pipeline(*_steps(config, is_classification=self._is_classification))
                pipeline.fit(self._rows[train], self._targets[train])
                losses.append(1.0 - pipeline.score(self._rows[test], self._targets[test]))
        return float(min(np.mean(losses), _WORST))
