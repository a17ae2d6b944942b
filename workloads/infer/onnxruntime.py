"""ONNX Runtime on its CPU provider."""

KEPT = {}


def import_():
    import onnxruntime

    KEPT["module"] = onnxruntime


def load(path, threads):
    runtime = KEPT["module"]
    how = runtime.SessionOptions()
    how.intra_op_num_threads, how.inter_op_num_threads = threads, 1
    session = runtime.InferenceSession(path, how, providers=["CPUExecutionProvider"])
    KEPT["session"], KEPT["name"] = session, session.get_inputs()[0].name


def predict(rows):
    return KEPT["session"].run(None, {KEPT["name"]: rows})


def engine():
    session = KEPT["session"]
    return {
        "version": KEPT["module"].__version__,
        "provider": " ".join(session.get_providers()),
        "precision": session.get_inputs()[0].type,
        "threads": session.get_session_options().intra_op_num_threads,
    }
