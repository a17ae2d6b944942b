"""llama.cpp by its Python package: rows are token numbers, and a row gives the logits behind its last token."""

KEPT = {}
KINDS = {"0": "float32", "1": "float16"}  # of weights, as GGUF numbers them; others are quantized


def import_():
    import llama_cpp

    KEPT["module"] = llama_cpp


def array(kind, shape, data):
    """Rows as lists: llama.cpp takes token numbers of C's int."""
    numbers = memoryview(data).cast({"f4": "f", "f8": "d", "i8": "q", "i4": "i"}[kind[1:]])
    return [[int(number) for number in numbers[at : at + shape[1]]] for at in range(0, len(numbers), shape[1])]


def load(path, threads):
    KEPT["threads"] = threads
    KEPT["model"] = KEPT["module"].Llama(
        path, n_gpu_layers=0, n_threads=threads, n_threads_batch=threads, verbose=False
    )


def predict(rows):
    """Prompts one after the other, none of which knows the one before it. Shape (rows, vocabulary)."""
    import numpy as np

    model, module = KEPT["model"], KEPT["module"]
    logits = []
    for row in rows:
        model.reset()
        model.eval(row)
        last = module.llama_get_logits_ith(model.ctx, -1)
        logits.append(np.ctypeslib.as_array(last, shape=(model.n_vocab(),)).copy())
    return np.stack(logits)


def engine():
    module, model = KEPT["module"], KEPT["model"]
    kind = model.metadata.get("general.file_type", "unknown")
    return {
        "version": module.__version__,
        "build": " ".join(module.llama_print_system_info().decode().split()),
        "precision": KINDS.get(kind, f"GGUF's file type {kind}"),
        "threads": KEPT["threads"],
    }
