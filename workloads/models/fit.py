"""Fit one of the paper's classifiers: python fit.py NAME FOLDER. x.npy and y.npy are there; a pickle for guests, and
its arrays for writers of other formats, are left beside them."""

import pickle
import sys
from pathlib import Path

import numpy as np


def nb(x, y):
    from sklearn.naive_bayes import MultinomialNB

    model = MultinomialNB().fit(x, y)
    return model, {"w": np.float32(model.feature_log_prob_), "b": np.float32(model.class_log_prior_)}


def trees(x, y):
    from sklearn.ensemble import ExtraTreesClassifier

    model = ExtraTreesClassifier(
        n_estimators=25, max_depth=8, max_features="log2", min_samples_leaf=5, random_state=0
    ).fit(x, y)
    grown = [estimator.tree_ for estimator in model.estimators_]
    roots = np.cumsum([0, *(tree.node_count for tree in grown)])[:-1]

    def joined(parts):
        return np.concatenate(list(parts))

    def children(word):
        sides = ((getattr(tree, word), root) for tree, root in zip(grown, roots, strict=True))
        return joined(np.where(side >= 0, side + root, -1) for side, root in sides).astype(np.int32)

    threshold = joined(tree.threshold for tree in grown)
    single = threshold.astype(np.float32)
    # Columns are single precision: one is ≤ the threshold just where it is ≤ the next number below it.
    single = np.where(single > threshold, np.nextafter(single, np.float32(-np.inf)), single)
    values = joined(tree.value[:, 0, :] for tree in grown)
    leaf = children("children_left") < 0
    return model, {
        "column": np.where(leaf, 0, joined(tree.feature for tree in grown)).astype(np.int32),
        "threshold": np.where(leaf, np.float32(0), single),
        "left": children("children_left"),
        "right": children("children_right"),
        "leaves": (values / values.sum(axis=1, keepdims=True)).astype(np.float32),
        "roots": roots.astype(np.int32),
    }


def main():
    name, folder = sys.argv[1], Path(sys.argv[2])
    x, y = np.load(folder / "x.npy"), np.load(folder / "y.npy")
    model, arrays = {"nb": nb, "trees": trees}[name](x, y)
    (folder / "model.pkl").write_bytes(pickle.dumps(model, protocol=5))
    for part, array in arrays.items():
        np.save(folder / f"{part}.npy", array)


main()
