"""LiteRT (TensorFlow Lite): its interpreter, which takes XNNPACK where it can."""

KEPT = {}


def import_():
    from ai_edge_litert import interpreter

    KEPT["module"] = interpreter


def load(path, threads):
    made = KEPT["module"].Interpreter(model_path=path, num_threads=threads)
    made.allocate_tensors()
    KEPT["interpreter"], KEPT["threads"] = made, threads
    KEPT["input"] = made.get_input_details()[0]["index"]
    KEPT["outputs"] = [detail["index"] for detail in made.get_output_details()]
    KEPT["shape"] = tuple(made.get_input_details()[0]["shape"])


def predict(rows):
    made = KEPT["interpreter"]
    if rows.shape != KEPT["shape"]:
        made.resize_tensor_input(KEPT["input"], rows.shape)
        made.allocate_tensors()
        KEPT["shape"] = rows.shape
    made.set_tensor(KEPT["input"], rows)
    made.invoke()
    return [made.get_tensor(index) for index in KEPT["outputs"]]


def engine():
    from importlib.metadata import version

    made = KEPT["interpreter"]
    operations = [operation["op_name"] for operation in made._get_ops_details()]
    return {
        "version": version("ai-edge-litert"),
        "xnnpack": "yes" if "DELEGATE" in operations else "no",
        "precision": made.get_input_details()[0]["dtype"].__name__,
        "threads": KEPT["threads"],
    }
