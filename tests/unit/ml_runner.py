"""One model in one runtime, as guests run it: the greatest difference of single rows and of all rows from what is
expected. Run by an interpreter that has the runtime: python ml_runner.py FORMAT MODEL INPUTS EXPECTED."""

import os
import sys

os.environ.update(ORT_DISABLE_TELEMETRY="1", OPENVINO_TELEMETRY="0", OMP_NUM_THREADS="1")

import numpy as np


def onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda rows: session.run(None, {name: rows})[-1]


def openvino(path):
    import openvino

    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda rows: model([rows])[model.outputs[-1]]


def tflite(path):
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_path=path, num_threads=1)

    def predict(rows):
        index = made.get_input_details()[0]["index"]
        made.resize_tensor_input(index, rows.shape)
        made.allocate_tensors()
        made.set_tensor(index, rows)
        made.invoke()
        return made.get_tensor(made.get_output_details()[0]["index"])

    return predict


def torchscript(path):
    import torch

    model = torch.jit.load(path).eval()

    def predict(rows):
        with torch.inference_mode():
            return model(torch.from_numpy(rows.copy())).numpy()

    return predict


def sklearn(path):
    import joblib

    return joblib.load(path).predict_proba


def lightgbm(path):
    import lightgbm

    return lightgbm.Booster(model_file=path).predict


def xgboost(path):
    import xgboost

    booster = xgboost.Booster({"nthread": 1, "device": "cpu"})
    booster.load_model(path)
    return booster.inplace_predict


def gguf(path):
    """Keys and values in single precision, where llama.cpp's default is half."""
    import llama_cpp

    model = llama_cpp.Llama(path, verbose=False, type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32)

    def after(row):
        model.reset()
        model.eval([int(token) for token in row])
        logits = llama_cpp.llama_get_logits_ith(model.ctx, -1)
        return np.ctypeslib.as_array(logits, shape=(model.n_vocab(),)).copy()

    return lambda rows: np.stack([after(row) for row in rows])


def main():
    kind, path, inputs, expected = sys.argv[1:]
    predict = globals()[kind](path)
    rows, wanted = np.load(inputs), np.load(expected)
    singles = np.concatenate([predict(rows[at : at + 1]) for at in range(16)])
    whole = predict(rows)
    assert whole.shape == wanted.shape, (whole.shape, wanted.shape)
    print(max(np.abs(singles - wanted[:16]).max(), np.abs(whole - wanted).max()))


main()
