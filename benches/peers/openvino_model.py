"""An OpenVINO model whose state holds keys and values: the graph that its converters produce for a language model. Only
the logits of the last position are computed."""

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as op

from models import tensors

LAYERS, HEADS, WIDTH = 12, 12, 768


def gpt2(weights: dict, int8: bool) -> ov.Model:
    const = lambda value: op.constant(np.ascontiguousarray(value))

    def matrix(columns) -> ov.Node:
        """[out, in]; as int8, each row has its own scale."""
        if not int8:
            return const(columns)
        scale = np.abs(columns).max(1, keepdims=True).astype(np.float32) / 127
        rounded = np.clip(np.round(columns / scale), -127, 127).astype(np.int8)
        return op.multiply(op.convert(const(rounded), "f32"), const(scale))

    def linear(x, name: str):
        product = op.matmul(x, matrix(weights[f"{name}.weight"].T), False, True)
        return op.add(product, const(weights[f"{name}.bias"]))

    def norm(x, name: str):
        normal = op.mvn(x, const(np.array([-1], np.int64)), True, 1e-5, "INSIDE_SQRT")
        return op.add(op.multiply(normal, const(weights[f"{name}.weight"])), const(weights[f"{name}.bias"]))

    numbers = lambda *values: const(np.array(values, np.int64))
    ids = op.parameter([-1, -1], np.int64, name="ids")
    positions = op.parameter([-1, -1], np.int64, name="positions")
    mask = op.parameter([1, 1, -1, -1], np.float32, name="mask")
    beams = op.parameter([-1], np.int32, name="beams")
    parameters = [ids, positions, mask, beams]
    for parameter in parameters:
        parameter.output(0).set_names({parameter.get_friendly_name()})
    wte = matrix(weights["wte.weight"])
    x = op.add(op.gather(wte, ids, numbers(0)), op.gather(const(weights["wpe.weight"]), positions, numbers(0)))
    batch = op.gather(op.shape_of(ids), numbers(0), numbers(0))
    nothing = op.broadcast(const(np.float32(0)), op.concat([batch, numbers(HEADS, 0, WIDTH // HEADS)], 0))
    split = numbers(0, 0, HEADS, WIDTH // HEADS)
    sinks = []

    def kept(new, name: str):
        """The kept numbers, followed by the new ones."""
        shape = ov.PartialShape([-1, HEADS, -1, WIDTH // HEADS])
        past = op.gather(op.read_value(nothing, name, ov.Type.f32, shape), beams, numbers(0))
        both = op.concat([past, new], 2)
        sinks.append(op.assign(both, name))
        return both

    for i in range(LAYERS):
        h = f"h.{i}"
        qkv = op.variadic_split(linear(norm(x, f"{h}.ln_1"), f"{h}.attn.c_attn"), const(np.int64(2)), numbers(*[WIDTH] * 3))
        q, k, v = (op.transpose(op.reshape(part, split, True), numbers(0, 2, 1, 3)) for part in qkv.outputs())
        k, v = kept(k, f"key.{i}"), kept(v, f"value.{i}")
        heads = op.transpose(op.scaled_dot_product_attention(q, k, v, mask), numbers(0, 2, 1, 3))
        x = op.add(x, linear(op.reshape(heads, numbers(0, 0, WIDTH), True), f"{h}.attn.c_proj"))
        act = op.gelu(linear(norm(x, f"{h}.ln_2"), f"{h}.mlp.c_fc"), "tanh")
        x = op.add(x, linear(act, f"{h}.mlp.c_proj"))
    newest = norm(op.gather(x, numbers(-1), numbers(1)), "ln_f")
    logits = op.matmul(newest, wte, False, True)
    logits.output(0).set_names({"logits"})
    return ov.Model([op.result(logits)], sinks, parameters, "gpt2")


def make(folder: str, out: str, dtype: str):
    Path(out).mkdir()
    model = gpt2(tensors(folder), dtype == "int8")
    ov.save_model(model, Path(out) / "model.xml", compress_to_fp16=False)
