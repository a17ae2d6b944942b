"""XGBoost: a booster from its JSON or binary file."""

KEPT = {}


def import_():
    import xgboost

    KEPT["module"] = xgboost


def load(path, threads):
    booster = KEPT["module"].Booster({"nthread": threads, "device": "cpu"})
    booster.load_model(path)
    KEPT["model"], KEPT["threads"] = booster, threads


def predict(rows):
    return KEPT["model"].inplace_predict(rows)


def engine():
    built = KEPT["module"].build_info()
    return {
        "version": KEPT["module"].__version__,
        "openmp": "yes" if built.get("USE_OPENMP") else "no",
        "cuda": "yes" if built.get("USE_CUDA") else "no",
        "precision": "float32",
        "threads": KEPT["threads"],
    }
