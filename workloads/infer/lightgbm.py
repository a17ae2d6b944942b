"""LightGBM: a booster from its text file."""

KEPT = {}


def import_():
    import lightgbm

    KEPT["module"] = lightgbm


def load(path, threads):
    KEPT["model"], KEPT["threads"] = KEPT["module"].Booster(model_file=path), threads


def predict(rows):
    return KEPT["model"].predict(rows, num_threads=KEPT["threads"])


def engine():
    return {
        "version": KEPT["module"].__version__,
        "trees": KEPT["model"].num_trees(),
        "precision": "float64",
        "openmp": "yes",
        "threads": KEPT["threads"],
    }
