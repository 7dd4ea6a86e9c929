"""GPT-2 in NumPy, written from the README of `gpt2 kit` alone, and the kit's checks.

    python tests/numpy_port.py KIT [--mistake gelu|mask|cache|merge|temperature]

Prints one line for each check. Exit code 1 with the first difference, unless all pass: "passes kit 1".
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np


def load(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file; bf16 as f32."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    tensors = {}
    for name, about in json.loads(raw[8:start]).items():
        if name == "__metadata__":
            continue
        begin, end = about["data_offsets"]
        data = raw[start + begin : start + end]
        if about["dtype"] == "BF16":
            x = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            x = np.frombuffer(data, {"F32": "<f4", "I64": "<i8"}[about["dtype"]])
        tensors[name] = x.reshape(about["shape"])
    return tensors


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Port:
    def __init__(self, folder: Path, mistake: str | None):
        self.w, self.mistake = load(folder / "model.safetensors"), mistake
        self.config = json.loads((folder / "config.json").read_text())

    def affine(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + self.config["layer_norm_epsilon"])
        return x * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def gelu(self, x: np.ndarray) -> np.ndarray:
        if self.mistake == "gelu":
            return x / (1 + np.exp(-1.702 * x))
        return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    def forward(self, ids: list[int], cache: list) -> dict[str, np.ndarray]:
        """Every stage of a pass. `cache` holds keys and values of each block, and grows."""
        n_head, past = self.config["n_head"], 0 if not cache else cache[0][0].shape[1]
        at = 0 if self.mistake == "cache" else past
        s = {"input_ids": np.array(ids)}
        s["transformer.wte"] = self.w["transformer.wte.weight"][ids]
        s["transformer.wpe"] = self.w["transformer.wpe.weight"][at : at + len(ids)]
        x = s["transformer.drop"] = s["transformer.wte"] + s["transformer.wpe"]
        for i in range(self.config["n_layer"]):
            h = f"transformer.h.{i}"
            n = s[f"{h}.ln_1"] = self.norm(f"{h}.ln_1", x)
            qkv = s[f"{h}.attn.c_attn"] = self.affine(f"{h}.attn.c_attn", n)
            q, k, v = (part.reshape(len(ids), n_head, -1).transpose(1, 0, 2) for part in np.split(qkv, 3, axis=1))
            if len(cache) == i:
                cache.append((k, v))
            else:
                cache[i] = (np.concatenate([cache[i][0], k], 1), np.concatenate([cache[i][1], v], 1))
            k, v = cache[i]
            scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]).astype(np.float32)
            later = np.triu(np.ones(scores.shape[1:], bool), past + 1 + (self.mistake == "mask"))
            scores = s[f"{h}.attn.scores"] = np.where(later, -np.inf, scores)
            weights = s[f"{h}.attn.weights"] = softmax(scores)
            mixed = weights @ v if self.mistake == "merge" else (weights @ v).transpose(1, 0, 2)
            heads = s[f"{h}.attn.heads"] = mixed.reshape(len(ids), -1)
            attn = s[f"{h}.attn.c_proj"] = self.affine(f"{h}.attn.c_proj", heads)
            x = s[f"{h}.attn_residual"] = x + attn
            n = s[f"{h}.ln_2"] = self.norm(f"{h}.ln_2", x)
            a = s[f"{h}.mlp.c_fc"] = self.affine(f"{h}.mlp.c_fc", n)
            a = s[f"{h}.mlp.act"] = self.gelu(a)
            mlp = s[f"{h}.mlp.c_proj"] = self.affine(f"{h}.mlp.c_proj", a)
            x = s[h] = x + mlp
        x = s["transformer.ln_f"] = self.norm("transformer.ln_f", x)
        s["lm_head"] = x @ self.w["transformer.wte.weight"].T
        return s

    def distribution(self, logits: np.ndarray, options: dict) -> np.ndarray:
        x = logits if self.mistake == "temperature" else logits / np.float32(options["temperature"] or 1)
        if options["top_k"]:
            x = np.where(x < np.sort(x)[-options["top_k"]], -np.inf, x)
        if options["top_p"]:
            order = np.argsort(-x)
            keep = np.cumsum(softmax(x)[order]) - softmax(x)[order] < options["top_p"]
            x = np.where(np.isin(np.arange(len(x)), order[keep]), x, -np.inf)
        return softmax(x)


def compare(what: str, ours: dict[str, np.ndarray], kit: dict[str, np.ndarray]):
    for name, x in ours.items():
        y = kit[name]
        finite = np.isfinite(y)
        same = x.shape == y.shape and (np.isfinite(x) == finite).all()
        if not same or np.abs(x[finite] - y[finite]).max() > 1e-4 * np.abs(y[finite]).max():
            sys.exit(f"{what}: {name} differs")
    print(f"{what}: {len(ours)} stages")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kit", type=Path)
    parser.add_argument("--mistake")
    args = parser.parse_args()
    kit, port = args.kit, Port(args.kit / "model", args.mistake)
    read = lambda name: json.loads((kit / name).read_text())  # noqa: E731
    for prompt in read("passes.json"):
        compare(prompt["name"], port.forward(prompt["ids"], []), load(kit / f"passes/{prompt['name']}.safetensors"))
    small = {
        name: np.array([-np.inf if x is None else x for x in stage["values"]]).reshape(stage["shape"])
        for name, stage in read("passes/two-tokens.json").items()
    }
    compare("two-tokens.json", port.forward(read("passes.json")[0]["ids"], []), small)
    steps, cache, number = load(kit / "generation.safetensors"), [], 0
    while (prefix := f"step.{number}." if number else "") + "input_ids" in steps:
        stages = port.forward(list(steps[f"{prefix}input_ids"]), cache)
        compare(f"generation, step {number}", {prefix + name: x for name, x in stages.items()}, steps)
        number += 1
    for text in read("continuations.json"):
        ids, cache, new = text["prompt_ids"], [], 0
        for token in text["tokens"]:
            logits = port.forward(ids[new:], cache)["lm_head"][-1]
            if text["options"]["sample"]:
                total = np.cumsum(port.distribution(logits, text["options"]).astype(np.float64))
                near = min(abs(token["uniform"] - end) for end in token["stretch"]) < 1e-4
                right = near or int(np.searchsorted(total, token["uniform"] * total[-1], "right")) == token["id"]
            else:
                right = int(logits.argmax()) == token["id"]
            if not right:
                sys.exit(f"continuation of {text['prompt']!r}: token {len(ids) - len(text['prompt_ids'])} differs")
            new, ids = len(ids), [*ids, token["id"]]
        print(f"continuation of {text['prompt']!r}: {len(text['tokens'])} tokens")
    for text in read("scores.json"):
        x = port.forward(text["ids"], [])["lm_head"][:-1].astype(np.float64)
        logprobs = (x - x.max(1, keepdims=True)) - np.log(np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True))
        logprobs = logprobs[np.arange(len(x)), text["ids"][1:]]
        if np.abs(logprobs - text["logprobs"][1:]).max() > 1e-4 * np.abs(logprobs).max():
            sys.exit(f"score of {text['text']!r} differs")
        print(f"score of {text['text']!r}: {len(logprobs)} tokens")
    print(f"passes kit {json.loads((kit / 'kit.json').read_text())['kit']}")


if __name__ == "__main__":
    main()
