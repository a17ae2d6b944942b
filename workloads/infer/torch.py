"""PyTorch on the CPU: TorchScript files, and those of torch.export (.pt2)."""

KEPT = {}


def import_():
    import torch

    KEPT["module"] = torch


def load(path, threads):
    torch = KEPT["module"]
    torch.set_num_threads(threads)
    KEPT["model"] = torch.export.load(path).module() if path.endswith(".pt2") else torch.jit.load(path).eval()


def array(kind, shape, data):
    """Rows as a tensor: PyTorch does without NumPy, and its tree is a tenth smaller."""
    torch = KEPT["module"]
    return torch.frombuffer(bytearray(data), dtype={"<f4": torch.float32, "<i8": torch.int64}[kind]).reshape(shape)


def raw(output):
    import ctypes

    output = output.contiguous()
    kind = {KEPT["module"].float32: "<f4", KEPT["module"].float64: "<f8", KEPT["module"].int64: "<i8"}[output.dtype]
    return kind, tuple(output.shape), ctypes.string_at(output.data_ptr(), output.numel() * output.element_size())


def predict(rows):
    with KEPT["module"].inference_mode():
        return KEPT["model"](rows)


def engine():
    torch = KEPT["module"]
    return {
        "version": torch.__version__,
        "isa": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "openmp": "yes" if torch.backends.openmp.is_available() else "no",
        "onednn": "yes" if torch.backends.mkldnn.is_available() else "no",
        "xnnpack": "yes" if torch._C._is_xnnpack_enabled() else "no",
        "precision": torch.get_default_dtype(),
    }
