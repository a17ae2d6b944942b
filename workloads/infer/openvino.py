"""OpenVINO on its CPU plugin."""

KEPT = {}


def import_():
    import openvino

    KEPT["module"] = openvino


def load(path, threads):
    core = KEPT["module"].Core()
    how = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    KEPT["model"] = core.compile_model(path, "CPU", {**how, "PERFORMANCE_HINT": "LATENCY"})


def predict(rows):
    outputs = KEPT["model"]([rows])
    return [outputs[port] for port in KEPT["model"].outputs]


def engine():
    model = KEPT["model"]
    graph = model.get_runtime_model()
    kinds = {str(node.get_rt_info()["primitiveType"].astype(str)) for node in graph.get_ordered_ops()}
    return {
        "version": KEPT["module"].__version__,
        "kernels": " ".join(sorted(kinds)),
        "precision": model.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
        "threads": model.get_property("INFERENCE_NUM_THREADS"),
    }
