"""Decision trees as data: what they give by NumPy, and as the text of LightGBM and of XGBoost.

Both know sums of trees with one number a leaf, so a forest of classifiers is, for each class, its trees with the leaf's
probability ÷ the number of trees: the sum is the forest's own probability.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ukperf.imaging.nets import Floats, Weights, write_down

Counts = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.int_]


@dataclass(frozen=True, eq=False)
class Forest:
    """Nodes of all trees one behind the other; a row goes left where its column is ≤ the threshold.

    left, right: node numbers, -1 in leaves. leaves: probabilities of the classes, a row for each node. roots: node
    numbers, one a tree.
    """

    name: str
    columns: int
    column: Counts
    threshold: Weights
    left: Counts
    right: Counts
    leaves: Weights
    roots: Counts

    @property
    def classes(self) -> int:
        return int(self.leaves.shape[1])

    def write(self, folder: Path) -> None:
        """As writers read it (workloads/models/netfile.py). Raises OSError."""
        names = ("column", "threshold", "left", "right", "leaves", "roots")
        about = {"name": self.name, "shape": [self.columns], "steps": []}
        write_down(about, {name: getattr(self, name) for name in names}, folder)

    def outputs(self, rows: Weights) -> Weights:
        """Probabilities of the classes, summed in double precision."""
        total: Floats = np.zeros((len(rows), self.classes))
        every = np.arange(len(rows))
        for root in self.roots:
            at = np.full(len(rows), root)
            while (inner := self.left[at] >= 0).any():
                smaller = rows[every, self.column[at]] <= self.threshold[at]
                at = np.where(inner, np.where(smaller, self.left[at], self.right[at]), at)
            total += self.leaves[at]
        return (total / len(self.roots)).astype(np.float32)

    def trees(self) -> Iterator[slice]:
        """The nodes of each tree."""
        ends = [*self.roots[1:].tolist(), len(self.left)]
        return (slice(root, end) for root, end in zip(self.roots.tolist(), ends, strict=True))


def lightgbm_text(forest: Forest) -> str:
    """As LightGBM's Booster writes itself (src/boosting/gbdt_model_text.cpp), without an objective, which would turn
    sums into something else."""
    names = [f"Column_{number}" for number in range(forest.columns)]
    head = ["tree", "version=v4", f"num_class={forest.classes}", f"num_tree_per_iteration={forest.classes}"]
    head += ["label_index=0", f"max_feature_idx={forest.columns - 1}", f"feature_names={' '.join(names)}"]
    head += [f"feature_infos={' '.join(['[-1:1]'] * forest.columns)}", ""]
    trees = [
        [f"Tree={number * forest.classes + label}", *_lightgbm_tree(forest, nodes, label), "", ""]
        for number, nodes in enumerate(forest.trees())
        for label in range(forest.classes)
    ]
    return "\n".join([*head, *(line for tree in trees for line in tree), "end of trees", "", "parameters:", ""]) + (
        "end of parameters\n\npandas_categorical:null\n"
    )


def _lightgbm_tree(forest: Forest, nodes: slice, label: int) -> Iterator[str]:
    """Inner nodes have numbers of their own there, and leaf n is ~n."""
    inner = forest.left[nodes] >= 0
    number = np.where(inner, np.cumsum(inner) - 1, ~(np.cumsum(~inner) - 1))
    values = forest.leaves[nodes][~inner][:, label].astype(np.float64) / len(forest.roots)
    lists: dict[str, list[float] | list[int]] = {
        "split_feature": forest.column[nodes][inner].tolist(),
        "split_gain": [1] * int(inner.sum()),
        "threshold": forest.threshold[nodes][inner].astype(np.float64).tolist(),
        "decision_type": [2] * int(inner.sum()),  # ≤ a number, and none is missing
        "left_child": number[forest.left[nodes][inner] - nodes.start].tolist(),
        "right_child": number[forest.right[nodes][inner] - nodes.start].tolist(),
        "leaf_value": values.tolist(),
    }
    yield f"num_leaves={len(values)}"
    yield "num_cat=0"
    for name, items in lists.items():
        yield f"{name}={' '.join(map(repr, items))}"
    yield "is_linear=0"
    yield "shrinkage=1"


def xgboost_json(forest: Forest) -> str:
    """As XGBoost's Booster writes itself (doc/model.schema): a regression with a target for each class, so that sums
    are what it gives. A row goes left there where its column is < the threshold: the next number's."""
    columns, classes, count = str(forest.columns), forest.classes, len(forest.roots)
    trees = [
        _xgboost_tree(forest, nodes, label, number * classes + label)
        for number, nodes in enumerate(forest.trees())
        for label in range(classes)
    ]
    model = {
        "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(trees))},
        "iteration_indptr": list(range(0, len(trees) + 1, classes)),
        "tree_info": list(range(classes)) * count,
        "trees": trees,
    }
    of_learner = {"base_score": "0E0", "boost_from_average": "0", "num_class": "0"}
    learner = {
        "attributes": {},
        "feature_names": [],
        "feature_types": [],
        "gradient_booster": {"model": model, "name": "gbtree"},
        "learner_model_param": {**of_learner, "num_feature": columns, "num_target": str(classes)},
        "objective": {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}},
    }
    return json.dumps({"learner": learner, "version": [2, 1, 0]})


def _by_levels(left: Numbers, right: Numbers) -> tuple[Numbers, Numbers]:
    """The nodes level by level, and the new numbers of their left children (-1: leaf). The right one is the next, which
    XGBoost takes for granted (src/predictor: LeftChild + 1)."""
    order, children, at = [0], [], 0
    while at < len(order):
        node = order[at]
        inner = left[node] >= 0
        children.append(len(order) if inner else -1)
        order += [int(left[node]), int(right[node])] if inner else []
        at += 1
    return np.array(order), np.array(children)


def _xgboost_tree(forest: Forest, nodes: slice, label: int, number: int) -> dict[str, object]:
    order, left = _by_levels(forest.left[nodes] - nodes.start, forest.right[nodes] - nodes.start)
    order += nodes.start
    inner, size = left >= 0, len(left)
    right = np.where(inner, left + 1, -1)
    parents = np.full(size, 2**31 - 1)
    for children in (left, right):
        parents[children[inner]] = np.flatnonzero(inner)
    above = np.nextafter(forest.threshold[order], np.float32(np.inf))
    values = (forest.leaves[order, label] / np.float32(len(forest.roots))).astype(np.float32)
    floats = [float(str(value)) for value in np.where(inner, above, values)]  # no more digits than single precision has
    nothing: list[int] = []
    return {
        "id": number,
        "tree_param": {
            "num_deleted": "0",
            "num_feature": str(forest.columns),
            "num_nodes": str(size),
            "size_leaf_vector": "1",
        },
        "left_children": left.tolist(),
        "right_children": right.tolist(),
        "parents": parents.tolist(),
        "split_indices": np.where(inner, forest.column[order], 0).tolist(),
        "split_conditions": floats,
        "split_type": [0] * size,
        "default_left": [0] * size,
        "base_weights": floats,
        "loss_changes": [0.0] * size,
        "sum_hessian": [1.0] * size,
        "categories": nothing,
        "categories_nodes": nothing,
        "categories_segments": nothing,
        "categories_sizes": nothing,
    }
