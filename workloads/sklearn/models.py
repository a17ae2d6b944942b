"""The estimators: name → (module, class, parameters). Chosen by name, so that only what is measured is imported.

multinomialnb and extratrees are the paper's, with the settings of scikit-learn's bench_20newsgroups.py as it used
them; the others are the classical models that practitioners deploy, with scikit-learn's defaults where these make sense
for text.
"""

import importlib

DENSE_COLUMNS = 256  # histogram boosting takes dense rows only: the most frequent columns

MODELS = {
    "multinomialnb": ("sklearn.naive_bayes", "MultinomialNB", {}),
    "extratrees": (
        "sklearn.ensemble",
        "ExtraTreesClassifier",
        {"n_estimators": 250, "max_features": "log2", "min_samples_split": 10, "random_state": 0},
    ),
    "randomforest": (
        "sklearn.ensemble",
        "RandomForestClassifier",
        {"n_estimators": 100, "max_features": "sqrt", "min_samples_split": 10, "random_state": 0},
    ),
    "logisticregression": ("sklearn.linear_model", "LogisticRegression", {"max_iter": 100}),
    "linearsvc": ("sklearn.svm", "LinearSVC", {"random_state": 0}),
    "sgd": ("sklearn.linear_model", "SGDClassifier", {"random_state": 0}),
    "histgradientboosting": (
        "sklearn.ensemble",
        "HistGradientBoostingClassifier",
        {"max_iter": 20, "early_stopping": False, "random_state": 0},
    ),
    "knn": ("sklearn.neighbors", "KNeighborsClassifier", {"n_neighbors": 5}),
}
TAKES_JOBS = {"extratrees", "randomforest", "knn"}
WANTS_COLUMNS = {"extratrees", "randomforest"}  # trees fit on CSC, as the benchmark of the paper does
DENSE = {"histgradientboosting"}


def load_class(name):
    """Import the estimator's module; returns its class."""
    module, attribute, _ = MODELS[name]
    return getattr(importlib.import_module(module), attribute)


def make(name, cls, threads):
    """A fresh estimator. threads: its n_jobs, where it has one."""
    parameters = dict(MODELS[name][2])
    if name in TAKES_JOBS and threads > 1:
        parameters["n_jobs"] = threads
    return cls(**parameters)
