"""Every stage of one GPT-2 forward pass, computed by Hugging Face transformers.

`stages` runs a `GPT2LMHeadModel` once with a hook on each module and returns the modules' outputs,
in forward order, under the modules' own names. Compare a port of GPT-2 with it: the mistake is in the
first stage that differs.

    model = GPT2LMHeadModel.from_pretrained("gpt2", dtype=torch.float32, attn_implementation="eager").eval()
    for name, value in stages(model, torch.tensor([15496, 11, 995])).items():
        print(name, tuple(value.shape))

From the command line: python tests/hf_stages.py MODEL_FOLDER OUT.safetensors --ids 15496,11,995
"""

import argparse

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import GPT2LMHeadModel


def stages(model: GPT2LMHeadModel, input_ids: Tensor) -> dict[str, Tensor]:
    """input_ids [T] -> for each stage its output [T, width], or [n_head, T, T] inside attention."""
    assert not model.training, "call model.eval() first: dropout must be off"
    assert model.config._attn_implementation == "eager", "only eager attention returns its weights"
    inputs, outputs = {}, {}

    def record(name):
        def hook(module, args, output):
            inputs[name], outputs[name] = args[0], output

        return hook

    modules = [(name, module) for name, module in model.named_modules() if name not in ("", "transformer")]
    hooks = [module.register_forward_hook(record(name)) for name, module in modules]
    try:
        with torch.no_grad():
            model(input_ids[None], use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()

    result = {"input_ids": input_ids[None]}
    for name in ["transformer.wte", "transformer.wpe", "transformer.drop"]:
        result[name] = outputs[name]
    for i, block in enumerate(model.transformer.h):
        h = f"transformer.h.{i}"
        result[f"{h}.ln_1"] = outputs[f"{h}.ln_1"]
        result[f"{h}.attn.c_attn"] = outputs[f"{h}.attn.c_attn"]
        result[f"{h}.attn.scores"] = attention_scores(block.attn, outputs[f"{h}.attn.c_attn"])
        result[f"{h}.attn.weights"] = outputs[f"{h}.attn"][1]  # attn returns (output of c_proj, weights)
        result[f"{h}.attn.heads"] = inputs[f"{h}.attn.c_proj"]
        result[f"{h}.attn.c_proj"] = outputs[f"{h}.attn.c_proj"]
        result[f"{h}.attn_residual"] = inputs[f"{h}.ln_2"]  # not the output of a module, but the input of ln_2
        result[f"{h}.ln_2"] = outputs[f"{h}.ln_2"]
        result[f"{h}.mlp.c_fc"] = outputs[f"{h}.mlp.c_fc"]
        result[f"{h}.mlp.act"] = outputs[f"{h}.mlp.act"]
        result[f"{h}.mlp.c_proj"] = outputs[f"{h}.mlp.c_proj"]
        result[h] = outputs[h]
    for name in ["transformer.ln_f", "lm_head"]:
        result[name] = outputs[name]
    # [0] removes the batch axis; clone, because without ln_f two stages would be the same tensor
    return {name: value[0].clone(memory_format=torch.contiguous_format) for name, value in result.items()}


def attention_scores(attn, c_attn: Tensor) -> Tensor:
    """c_attn [1, T, 3*n_embd] -> [1, n_head, T, T]: query times key, scaled; -inf for later keys."""
    T = c_attn.shape[1]
    query, key, _value = (x.view(1, T, attn.num_heads, -1).transpose(1, 2) for x in c_attn.chunk(3, dim=2))
    scores = query @ key.transpose(2, 3) * attn.scaling  # scaling includes every scale_attn_* flag
    return scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float("-inf"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder with config.json and model.safetensors, or a name on the hub")
    parser.add_argument("out", help="safetensors file to write")
    parser.add_argument("--ids", required=True, help="token ids, separated by commas")
    args = parser.parse_args()
    ids = torch.tensor([int(i) for i in args.ids.split(",")])
    gpt2 = GPT2LMHeadModel.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager")
    save_file(stages(gpt2.eval(), ids), args.out)
