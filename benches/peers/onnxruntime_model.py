"""An ONNX model with ONNX Runtime's own operators for language models, as its builder of generative models writes them:
GroupQueryAttention, which keeps keys and values in one buffer, FastGelu, SkipLayerNormalization. Only the last
position's logits are computed."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models import tensors

LAYERS, HEADS, WIDTH, POSITIONS, VOCABULARY = 12, 12, 768, 1024, 50257
MICROSOFT = "com.microsoft"


class Graph:
    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, name: str, value) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, inputs: list[str], *outputs: str, **attributes) -> str:
        self.nodes.append(helper.make_node(kind, inputs, list(outputs), name=outputs[0], **attributes))
        return outputs[0]


def gpt2(weights: dict) -> onnx.ModelProto:
    g = Graph()
    w = lambda name: g.constant(name, weights[name])
    norm = dict(epsilon=1e-5)

    def linear(x: str, name: str) -> str:
        product = g.add("MatMul", [x, w(f"{name}.weight")], f"{name}.product")
        return g.add("Add", [product, w(f"{name}.bias")], name)

    wte = g.add("Gather", [w("wte.weight"), "ids"], "wte")
    wpe = g.add("Gather", [w("wpe.weight"), "positions"], "wpe")
    x = g.add("Add", [wte, wpe], "drop")
    inputs = [("ids", TensorProto.INT64, ["B", "T"]), ("positions", TensorProto.INT64, ["B", "T"])]
    inputs += [("last", TensorProto.INT32, ["B"]), ("total", TensorProto.INT32, [])]
    outputs = [("logits", TensorProto.FLOAT, ["B", 1, VOCABULARY])]
    kept = ["B", HEADS, "P", WIDTH // HEADS]
    for i in range(LAYERS):
        h = f"h.{i}"
        n = g.add("LayerNormalization", [x, w(f"{h}.ln_1.weight"), w(f"{h}.ln_1.bias")], f"{h}.ln_1", **norm)
        qkv = linear(n, f"{h}.attn.c_attn")
        q, k, v = (f"{h}.{part}" for part in "qkv")
        thirds = g.constant(f"{h}.thirds", np.array([WIDTH] * 3, np.int64))
        g.add("Split", [qkv, thirds], q, k, v, axis=-1)
        keys, values = f"key.{i}", f"value.{i}"
        a = g.add(
            "GroupQueryAttention",
            [q, k, v, f"past.{keys}", f"past.{values}", "last", "total"],
            f"{h}.attn",
            f"present.{keys}",
            f"present.{values}",
            domain=MICROSOFT,
            num_heads=HEADS,
            kv_num_heads=HEADS,
        )
        inputs += [(f"past.{name}", TensorProto.FLOAT, kept) for name in (keys, values)]
        outputs += [(f"present.{name}", TensorProto.FLOAT, kept) for name in (keys, values)]
        x = g.add("Add", [x, linear(a, f"{h}.attn.c_proj")], f"{h}.attn_residual")
        n = g.add("LayerNormalization", [x, w(f"{h}.ln_2.weight"), w(f"{h}.ln_2.bias")], f"{h}.ln_2", **norm)
        product = g.add("MatMul", [n, w(f"{h}.mlp.c_fc.weight")], f"{h}.mlp.c_fc")
        a = g.add("FastGelu", [product, w(f"{h}.mlp.c_fc.bias")], f"{h}.mlp.act", domain=MICROSOFT)
        x = g.add("Add", [x, linear(a, f"{h}.mlp.c_proj")], h)
    newest = g.add("Gather", [x, g.constant("newest", np.array([-1], np.int64))], "newest_row", axis=1)
    n = g.add("LayerNormalization", [newest, w("ln_f.weight"), w("ln_f.bias")], "ln_f", **norm)
    g.add("MatMul", [n, g.constant("lm_head", weights["wte.weight"].T)], "logits")
    values = lambda list: [helper.make_tensor_value_info(*value) for value in list]
    graph = helper.make_graph(g.nodes, "gpt2", values(inputs), values(outputs), g.constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def make(folder: str, out: str, dtype: str):
    Path(out).mkdir()
    path = str(Path(out) / "model.onnx")
    model = gpt2(tensors(folder))
    if dtype == "f32":
        onnx.save(model, path)
        return
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as wide:
        onnx.save(model, f"{wide}/model.onnx")
        quantize_dynamic(
            f"{wide}/model.onnx",
            path,
            op_types_to_quantize=["MatMul"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )
