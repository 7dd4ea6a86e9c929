"""Group beam search by Hugging Face transformers 4: ids and scores of `generate(num_beam_groups=...)`.

    python tests/make_beam_group_fixtures.py           write tests/fixtures/beam-groups.json
    python tests/make_beam_group_fixtures.py --check   recompute and compare, write nothing

Transformers 5 has no group beam search. Requires torch 2.15.0 and transformers 4.49.0, in a separate environment:

    pip install torch==2.15.0 numpy==2.4.6 safetensors==0.8.0 transformers==4.49.0

Reads the checkpoints that make_model_fixtures.py made. Texts have no end token, because versions 4
and 5 count finished texts differently. A case is kept only if the same model in f64 finds the same ids.
"""

import argparse
import importlib.metadata
import json
import sys
from itertools import count
from pathlib import Path

import torch
import transformers
from transformers import GPT2LMHeadModel

VERSIONS = {"torch": "2.15.0", "transformers": "4.49.0"}
FIXTURES = Path(__file__).parent / "fixtures"
MODELS = ["base", "odd-heads", "untied"]
NEW_TOKENS = 14


def search(model: GPT2LMHeadModel, prompt: list[int], options: dict) -> list[dict]:
    options = dict(options)
    if "logit_bias" in options:
        options["sequence_bias"] = {(id,): float(bias) for id, bias in options.pop("logit_bias")}
    ids = torch.tensor([prompt])
    more = dict(return_dict_in_generate=True, output_scores=True, do_sample=False, pad_token_id=0)
    model.generation_config.eos_token_id = None
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, **options, **more
    )
    pairs = zip(out.sequences, out.sequences_scores.tolist())
    return [dict(ids=ids[len(prompt) :].tolist(), score=float(f"{score:.7g}")) for ids, score in pairs]


def cases(name: str) -> list[dict]:
    single, double = (
        GPT2LMHeadModel.from_pretrained(FIXTURES / "models" / name, torch_dtype=dtype).eval()
        for dtype in (torch.float32, torch.float64)
    )
    double.lm_head.register_forward_hook(lambda module, inputs, logits: logits.float())  # generate expects f32
    kept = []
    for beams, groups in ((2, 2), (3, 3), (4, 2), (6, 2), (6, 3), (8, 4)):
        for more in (
            dict(diversity_penalty=0.3),
            dict(diversity_penalty=1.5, length_penalty=0.5),
            dict(diversity_penalty=8.0, early_stopping=True),
            dict(diversity_penalty=0.8, repetition_penalty=1.3, no_repeat_ngram_size=2),
            dict(diversity_penalty=0.8, logit_bias=[[3, 2.0], [7, -2.0]]),
        ):
            options = dict(num_beams=beams, num_beam_groups=groups, num_return_sequences=beams) | more
            for seed in count(1000 * len(kept)):
                random = torch.Generator().manual_seed(seed)
                prompt = torch.randint(single.config.vocab_size, (6,), generator=random).tolist()
                found = search(single, prompt, options)
                if [f["ids"] for f in found] == [f["ids"] for f in search(double, prompt, options)]:
                    break
            kept.append(dict(model=name, prompt_ids=prompt, eos=[], options=options, found=found))
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="recompute and compare, write nothing")
    args = parser.parse_args()
    for package, wanted in VERSIONS.items():
        found = importlib.metadata.version(package).split("+")[0]
        if found != wanted:
            sys.exit(f"error: {package} {wanted} is needed, found {found}; see the top of this file")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    made = [case for name in MODELS for case in cases(name)]
    path = FIXTURES / "beam-groups.json"
    if args.check:
        kept = json.loads(path.read_text())["groups"]
        without_scores = lambda case: case | dict(found=[found["ids"] for found in case["found"]])
        if list(map(without_scores, kept)) != list(map(without_scores, made)):
            sys.exit("error: the fixtures do not reproduce")
        scores = lambda cases: [found["score"] for case in cases for found in case["found"]]
        print(f"largest difference {max(abs(a - b) for a, b in zip(scores(kept), scores(made))):.1e}")
        return
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in made)
    path.write_text(f'{{\n"groups": [\n{lines}\n]\n}}\n')
    print(f"{path}: {len(made)} cases, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
