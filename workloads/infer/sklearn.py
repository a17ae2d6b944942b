"""scikit-learn: a fitted estimator from a pickle, which is code, or from ukperf's own."""

KEPT = {}


def import_():
    import joblib
    import sklearn

    KEPT["module"], KEPT["joblib"] = sklearn, joblib


def load(path, threads):
    model = KEPT["joblib"].load(path)
    if hasattr(model, "n_jobs"):
        model.n_jobs = threads
    KEPT["model"], KEPT["threads"] = model, threads
    KEPT["call"] = model.predict_proba if hasattr(model, "predict_proba") else model.predict


def predict(rows):
    return KEPT["call"](rows)


def engine():
    from threadpoolctl import threadpool_info

    told = {"version": KEPT["module"].__version__, "precision": "float64", "threads": KEPT["threads"]}
    for pool in threadpool_info():
        told[pool["internal_api"]] = f"{pool.get('architecture', '')} {pool['num_threads']} threads".strip()
    return told
