"""Decoding by Hugging Face transformers: processed distributions, greedy texts, strided perplexity.

    python tests/make_decoding_fixtures.py           write tests/fixtures/decoding.json
    python tests/make_decoding_fixtures.py --check   recompute and compare, write nothing

Reads the checkpoints that make_model_fixtures.py made. Requires torch 2.15.0 and transformers 5.23.0; other versions
are refused. Seeds are fixed.

Options have this library's names. These are HF's, except `logit_bias` (a `sequence_bias` of single tokens) and
`presence_penalty` and `frequency_penalty`, which HF lacks: `PresenceAndFrequency` below defines them.
"""

import argparse
import json
import math
import sys
from itertools import count
from pathlib import Path

import torch
import transformers
from torch import Tensor
from transformers import GenerationConfig, GPT2LMHeadModel, LogitsProcessor, LogitsProcessorList

from make_model_fixtures import check_versions, load

FIXTURES = Path(__file__).parent / "fixtures"
MODELS = ["base", "odd-heads", "untied"]
NEW_TOKENS = 30
MIN_MARGIN = 1e-3  # between the best and the second score at every greedy step
MIN_DISTINCT = 5  # different tokens in every greedy continuation
INF = math.inf


# HF's sort is unstable, so it is undefined which of several equal scores top-p drops. This library drops the lowest
# id first.
_sort = torch.sort
torch.sort = lambda x, **more: _sort(x, stable=True, **more)


class PresenceAndFrequency(LogitsProcessor):
    """llama.cpp's and OpenAI's rule, over the prompt and the new tokens."""

    def __init__(self, presence: float, frequency: float):
        self.presence, self.frequency = presence, frequency

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        counts = torch.stack([torch.bincount(ids, minlength=scores.shape[1]) for ids in input_ids])
        return scores - counts * self.frequency - (counts > 0) * self.presence


def hf(options: dict, eos: list[int], keep: int, **more) -> tuple[GenerationConfig, LogitsProcessorList]:
    """HF's configuration, and the processors that HF lacks."""
    options = dict(options)
    penalties = [options.pop(f"{name}_penalty", 0.0) for name in ("presence", "frequency")]
    extra = LogitsProcessorList([PresenceAndFrequency(*penalties)] if any(penalties) else [])
    if "logit_bias" in options:
        options["sequence_bias"] = {(id,): float(bias) for id, bias in options.pop("logit_bias")}
    if "bad_words" in options:
        options["bad_words_ids"] = options.pop("bad_words")
    options.setdefault("top_k", 0)  # off
    # HF keeps at least `keep` tokens if there are two beams and `keep - 1` end tokens.
    config = GenerationConfig(
        num_beams=1 if keep == 1 else 2, eos_token_id=eos or None, pad_token_id=0, **options, **more
    )
    assert keep == 1 or keep == len(eos) + 1
    return config, extra


def processed(
    model: GPT2LMHeadModel, scores: Tensor, ids: list[int], prompt_len: int, options: dict, eos: list[int], keep: int
) -> Tensor:
    """scores [V] -> the processed scores [V] that `generate` draws from."""
    config, extra = hf(options, eos, keep, do_sample=True)
    config._eos_token_tensor = torch.tensor(eos) if eos else None
    processors = model._get_logits_processor(
        generation_config=config, input_ids_seq_length=prompt_len, logits_processor=extra, device="cpu"
    )
    return processors(torch.tensor([ids]), scores[None].clone())[0]


# ---- rows: scores made by hand


def rows(model: GPT2LMHeadModel) -> list[dict]:
    """Ties, infinities and extremes, which are rare in a model's scores."""
    random = torch.Generator().manual_seed(1)
    steps = (torch.randn(50, generator=random) * 4).round() / 2  # many ties
    smooth = torch.randn(50, generator=random) * 3
    holes = smooth.clone()
    holes[torch.randperm(50, generator=random)[:20]] = -INF
    few = torch.full((50,), -INF)
    few[[7, 30]] = torch.tensor([0.25, -1.0])
    spread = torch.linspace(-100, 100, 50)
    large = smooth * 1e30
    cases = []

    def add(scores, options, ids=(1, 2, 3), prompt_len=2, eos=(0,), keep=1):
        ids, eos = list(ids), list(eos)
        p = processed(model, scores, ids, prompt_len, options, eos, keep).softmax(dim=-1)
        assert not p.isnan().any(), options
        cases.append(
            dict(scores=numbers(scores), ids=ids, prompt_len=prompt_len, eos=eos, keep=keep)
            | dict(options=options, probs=numbers(p))
        )

    filters = [dict(top_k=0), dict(top_k=3), dict(top_k=17), dict(top_p=0.0), dict(top_p=0.37), dict(top_p=0.93), dict(min_p=0.11), dict(min_p=1.0)]
    filters += [dict(typical_p=0.23), dict(typical_p=0.88), dict(epsilon_cutoff=0.021), dict(epsilon_cutoff=0.7)]
    filters += [dict(eta_cutoff=0.03), dict(eta_cutoff=0.6)]
    for scores in (steps, smooth, holes, few, spread):
        for options in filters:
            add(scores, options)
    for options in filters:
        add(smooth, options, keep=2)
        if "min_p" not in options:  # it is undefined which of several equal scores HF's topk keeps
            add(steps, options, keep=3, eos=(0, 4))
    add(large, dict(top_k=5, top_p=0.5))
    add(large, dict(temperature=1e30))
    for n in (4, 10, 16):
        for p in (0.25, 0.5, 0.9):
            add(torch.zeros(n), dict(top_p=p))
            add(torch.zeros(n), dict(typical_p=p))

    ids = [5, 6, 7, 5, 6, 8, 5, 6]
    again = dict(ids=ids, prompt_len=4)
    for scores in (smooth, holes, steps):
        add(scores, dict(repetition_penalty=1.7), **again)
        add(scores, dict(repetition_penalty=0.4), **again)
        add(scores, dict(presence_penalty=0.8, frequency_penalty=0.3), **again)
        add(scores, dict(presence_penalty=-0.8), **again)
        for n in (1, 2, 3, 8, 9, 20):
            add(scores, dict(no_repeat_ngram_size=n), **again)
        words = [[9], [5, 6, 11], [6, 12], [7, 6, 13], [8, 5, 6, 14], [1] * 20, [0], [5, 6, 0], [6]]
        add(scores, dict(bad_words=words), **again)
        add(scores, dict(bad_words=words), **again, eos=(0, 9))
        add(scores, dict(bad_words=words), **again, eos=())
        add(scores, dict(logit_bias=[[4, 3.5], [9, -2.0], [10, "-inf"]]), **again)
        add(scores, dict(min_new_tokens=5), **again, eos=(3, 40))
        add(scores, dict(min_new_tokens=4), **again, eos=(3, 40))
        add(scores, EVERYTHING, **again, eos=(3, 40))
    return cases


EVERYTHING = dict(
    logit_bias=[[4, 3.5], [9, -2.0], [10, "-inf"]],
    repetition_penalty=1.4,
    no_repeat_ngram_size=2,
    bad_words=[[11], [6, 12]],
    min_new_tokens=5,
    temperature=1.3,
    top_k=20,
    top_p=0.97,
    min_p=0.01,
    typical_p=0.95,
    epsilon_cutoff=0.002,
    eta_cutoff=0.004,
)

# ---- distributions: a model's scores


def distributions(name: str, model: GPT2LMHeadModel, seed: int) -> list[dict]:
    random = torch.Generator().manual_seed(seed)
    eos = [model.config.eos_token_id]
    cases = []
    options = [
        dict(temperature=0.7),
        dict(temperature=1.9),
        dict(top_k=1),
        dict(top_k=40),
        dict(top_p=0.31),
        dict(top_p=0.92),
        dict(min_p=0.07),
        dict(typical_p=0.2),
        dict(typical_p=0.9),
        dict(epsilon_cutoff=0.01),
        dict(eta_cutoff=0.08),
        dict(repetition_penalty=1.3),
        dict(repetition_penalty=0.6),
        dict(presence_penalty=0.6, frequency_penalty=0.4),
        dict(frequency_penalty=-0.7),
        dict(no_repeat_ngram_size=1),
        dict(no_repeat_ngram_size=2),
        dict(no_repeat_ngram_size=3),
        dict(bad_words=[[3], [4, 5], [1, 2, 6]]),
        dict(min_new_tokens=9),
        dict(logit_bias=[[3, 5.0], [7, -5.0], [8, "-inf"]]),
        dict(temperature=0.8, top_k=40),
        dict(temperature=1.2, top_k=30, top_p=0.9),
        dict(temperature=1.5, min_p=0.05, repetition_penalty=1.1, no_repeat_ngram_size=2),
        dict(typical_p=0.8, eta_cutoff=0.01, presence_penalty=0.5),
        EVERYTHING,
    ]
    for number, option in enumerate(options):
        ids = torch.randint(12, (18,), generator=random).tolist()  # few different tokens, so that they repeat
        prompt_len = 10
        with torch.no_grad():
            scores = model(torch.tensor([ids])).logits[0, -1]
        keep = 2 if number % 5 == 4 else 1
        p = processed(model, scores, ids, prompt_len, option, eos, keep).softmax(dim=-1)
        case = dict(model=name, ids=ids, prompt_len=prompt_len, eos=eos, keep=keep, options=option)
        cases.append(case | dict(probs=numbers(p)))
    return cases


# ---- greedy: whole texts


def generate(model: GPT2LMHeadModel, prompt: list[int], options: dict, eos: list[int]) -> tuple[list[int], float]:
    """The new ids, and the smallest distance between the best and the second score."""
    config, extra = hf(options, eos, 1, do_sample=False, max_new_tokens=NEW_TOKENS)
    config.output_scores = config.return_dict_in_generate = True
    ids = torch.tensor([prompt])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), generation_config=config, logits_processor=extra
    )
    best = torch.cat(out.scores).topk(2).values
    return out.sequences[0, len(prompt) :].tolist(), (best[:, 0] - best[:, 1]).min().item()


def greedy(name: str, model: GPT2LMHeadModel, first_seed: int) -> list[dict]:
    cases = []

    def add(make_options, make_eos=lambda plain: []):
        """Tries prompts until the choice is clear at every step."""
        for seed in count(first_seed + 100 * len(cases)):
            random = torch.Generator().manual_seed(seed)
            prompt = torch.randint(model.config.vocab_size - 1, (8,), generator=random).tolist()
            plain, margin = generate(model, prompt, {}, [])
            options, eos = make_options(plain), make_eos(plain)
            ids, with_options = generate(model, prompt, options, eos)
            distinct = min(MIN_DISTINCT, len(ids))
            changed = ids != plain or not (options or eos)
            if min(margin, with_options) >= MIN_MARGIN and len(set(ids)) >= distinct and changed:
                break
        case = dict(model=name, prompt_ids=prompt, eos=eos, options=options)
        cases.append(case | dict(ids=ids, finish_reason="eos" if ids[-1] in eos else "length"))

    fifth = lambda plain: [plain[4]]  # an end token that the model is likely to write
    add(lambda plain: {})
    add(lambda plain: dict(repetition_penalty=1.2))
    add(lambda plain: dict(repetition_penalty=2.5))
    add(lambda plain: dict(presence_penalty=1.5))
    add(lambda plain: dict(frequency_penalty=0.5))
    add(lambda plain: dict(no_repeat_ngram_size=1))
    add(lambda plain: dict(no_repeat_ngram_size=2))
    add(lambda plain: dict(bad_words=[[plain[0]], [plain[2]]]))
    add(lambda plain: dict(bad_words=[plain[1:3], plain[4:7]]))
    add(lambda plain: dict(logit_bias=[[plain[0], -4.0], [plain[3], "-inf"], [plain[5], 1.0]]))
    add(lambda plain: {}, fifth)
    add(lambda plain: {}, lambda plain: [plain[9], plain[6]])
    add(lambda plain: dict(min_new_tokens=7), fifth)
    add(lambda plain: dict(min_new_tokens=NEW_TOKENS), fifth)
    add(lambda plain: dict(bad_words=[[plain[4]], [plain[1]]]), fifth)  # the end token cannot be a bad word
    add(
        lambda plain: dict(
            repetition_penalty=1.3, no_repeat_ngram_size=2, bad_words=[[plain[0]]], logit_bias=[[plain[7], 1.5]]
        )
        | dict(min_new_tokens=6, presence_penalty=0.3, frequency_penalty=0.2),
        fifth,
    )
    return cases


# ---- perplexity


def perplexity(name: str, model: GPT2LMHeadModel, seed: int) -> list[dict]:
    """HF's guide "Perplexity of fixed-length models", except that each token counts once: the guide counts one too few
    for every window after the first, where shifting the labels loses no token."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(model.config.vocab_size, (1, 170), generator=random)
    cases = []
    for window, stride in [(64, 32), (64, 16), (64, 63), (40, 7), (20, 10), (9, 1), (64, 64), (20, 20)]:
        nll_sum, tokens, prev_end = 0.0, 0, 0
        for begin in range(0, ids.shape[1], stride):
            end = min(begin + window, ids.shape[1])
            input_ids = ids[:, begin:end]
            target_ids = input_ids.clone()
            target_ids[:, : -(end - prev_end)] = -100
            with torch.no_grad():
                loss = model(input_ids, labels=target_ids).loss
            scored = (target_ids[:, 1:] != -100).sum().item()
            nll_sum += loss.item() * scored
            tokens += scored
            prev_end = end
            if end == ids.shape[1]:
                break
        windows_apart = math.ceil(ids.shape[1] / window) if stride == window else 1
        assert tokens == ids.shape[1] - windows_apart  # the first token of each separate window has no context
        cases.append(dict(model=name, ids=ids[0].tolist(), window=window, stride=stride, nll=nll_sum / tokens))
    return cases


# ---- all


def numbers(x: Tensor) -> list:
    """Numbers for JSON, which has no -inf."""
    return [float(f"{v:.9g}") if v > -INF else "-inf" for v in x.tolist()]


def make() -> dict:
    models = {name: load(FIXTURES / "models" / name) for name in MODELS}
    facts = dict(rows=rows(models["base"]), distributions=[], greedy=[], perplexity=[])
    for number, (name, model) in enumerate(models.items(), start=1):
        facts["distributions"] += distributions(name, model, number)
        facts["greedy"] += greedy(name, model, 10_000 * number)
        facts["perplexity"] += perplexity(name, model, number)
    return facts


def difference(a, b) -> float:
    """The largest difference between two numbers at the same place; everything else must be equal."""
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) / max(1.0, abs(a))
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return max((difference(*pair) for pair in zip(a, b)), default=0.0)
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return max((difference(a[key], b[key]) for key in a), default=0.0)
    return 0.0 if a == b else INF


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="recompute and compare, write nothing")
    args = parser.parse_args()
    check_versions()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    facts = json.loads(json.dumps(make()))
    path = FIXTURES / "decoding.json"
    if args.check:
        worst = difference(json.loads(path.read_text()), facts)
        print(f"largest difference {worst:.1e}")
        if worst > 1e-5:
            sys.exit("error: the fixtures do not reproduce")
        return
    lists = []
    for key, cases in facts.items():
        lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
        lists.append(f'"{key}": [\n{lines}\n]')
        print(f"{key}: {len(cases)} cases")
    path.write_text("{\n" + ",\n".join(lists) + "\n}\n")
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
