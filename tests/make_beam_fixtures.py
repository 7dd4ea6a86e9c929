"""Beam search by Hugging Face transformers: ids and scores of `generate(num_beams=...)`.

    python tests/make_beam_fixtures.py           write tests/fixtures/beams.json
    python tests/make_beam_fixtures.py --check   recompute and compare, write nothing

Reads the checkpoints that make_model_fixtures.py made. Requires torch 2.15.0 and transformers 5.23.0; other versions
are refused. Seeds are fixed. A case is kept only if the same model in f64 finds the same ids, so that no choice depends
on rounding.

HF's beam sampling draws with torch's own generator, which this library does not reproduce. This script replaces
`torch.multinomial` with draws from ChaCha12 numbers, by inverse CDF in order of beams and ids (`Uniform` and
`multinomial` below), so that the rest of HF's beam sampling can be compared.
"""

import argparse
import itertools
import json
import struct
import sys
from itertools import count
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models
from transformers import GenerationConfig, GPT2LMHeadModel, PreTrainedTokenizerFast

from make_decoding_fixtures import difference
from make_model_fixtures import check_versions, load

FIXTURES = Path(__file__).parent / "fixtures"
MODELS = ["base", "odd-heads", "untied"]
NEW_TOKENS = 14
LENGTH_PENALTIES = [-1.0, 0.0, 0.5, 1.0, 2.0]
EARLY_STOPPING = [False, True, "never"]


# ---- random numbers


class TooFew(Exception):
    """There are fewer candidates than draws; torch refuses this too."""


class Uniform:
    """The numbers of rand's `ChaCha12Rng::seed_from_u64`, 53 bits each, in [0, 1)."""

    def __init__(self, seed: int):
        key = []
        for _ in range(8):  # PCG32 expands the seed to a key
            seed = (seed * 6364136223846793005 + 11634580027462260723) % 2**64
            x, turn = ((seed >> 18 ^ seed) >> 27) % 2**32, seed >> 59
            key.append((x >> turn | x << (-turn & 31)) % 2**32)
        self.words = itertools.chain.from_iterable(self.block(key, n) for n in count())

    @staticmethod
    def block(key: list[int], number: int) -> list[int]:
        start = list(struct.unpack("<4I", b"expand 32-byte k")) + key + [number % 2**32, number >> 32, 0, 0]
        x = list(start)

        def mix(a, b, c, d):
            for turn, (to, plus, other) in zip((16, 12, 8, 7), ((a, b, d), (c, d, b), (a, b, d), (c, d, b))):
                x[to] = (x[to] + x[plus]) % 2**32
                y = x[other] ^ x[to]
                x[other] = (y << turn | y >> 32 - turn) % 2**32

        for _ in range(6):
            for i in range(4):
                mix(i, i + 4, i + 8, i + 12)
            for i in range(4):
                mix(i, (i + 1) % 4 + 4, (i + 2) % 4 + 8, (i + 3) % 4 + 12)
        return [(a + b) % 2**32 for a, b in zip(x, start)]

    def draw(self) -> float:
        low, high = next(self.words), next(self.words)
        return ((high << 32 | low) >> 11) / 2**53


def multinomial(uniform: Uniform):
    """Draws without replacement, like torch's, by inverse CDF in order of the indices."""

    def draw(probabilities, num_samples):
        assert probabilities.shape[0] == 1
        weights, drawn = probabilities[0].double().clone(), []
        for _ in range(num_samples):
            sums = weights.cumsum(dim=0)
            if sums[-1] == 0:
                raise TooFew
            drawn.append(torch.searchsorted(sums, uniform.draw() * sums[-1], right=True).item())
            weights[drawn[-1]] = 0.0
        return torch.tensor([drawn])

    return draw


# ---- HF


def byte_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer in which the id of each byte is its value."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in seen]
    symbol = {byte: chr(byte) for byte in seen} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}
    tokenizer = Tokenizer(models.BPE(vocab={symbol[byte]: byte for byte in range(vocab_size)}, merges=[]))
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def search(model: GPT2LMHeadModel, prompt: list[int], eos: list[int], options: dict, seed: int | None):
    """Ids and scores of the texts found, the best first."""
    options = dict(options)
    if "logit_bias" in options:
        options["sequence_bias"] = {(id,): float(bias) for id, bias in options.pop("logit_bias")}
    if "bad_words" in options:
        options["bad_words_ids"] = options.pop("bad_words")
    options.setdefault("max_new_tokens", NEW_TOKENS)
    options.setdefault("top_k", 0)
    config = GenerationConfig(
        eos_token_id=eos or None, pad_token_id=0, do_sample=seed is not None, **options
    )
    config.return_dict_in_generate = config.output_scores = True
    ids = torch.tensor([prompt])
    more = dict(tokenizer=byte_tokenizer(model.config.vocab_size)) if config.stop_strings else {}
    original = torch.multinomial
    try:
        if seed is not None:
            torch.multinomial = multinomial(Uniform(seed))
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), generation_config=config, custom_generate=None, **more
        )
    finally:
        torch.multinomial = original
    found = []
    for sequence, score, beams in zip(out.sequences, out.sequences_scores.tolist(), out.beam_indices):
        length = (beams >= 0).sum().item()  # the rest is padding
        found.append(dict(ids=sequence[len(prompt) :][:length].tolist(), score=float(f"{score:.7g}")))
    return found


# ---- cases


class Cases:
    def __init__(self, name: str):
        self.name = name
        self.model = load(FIXTURES / "models" / name)
        self.exact = load(FIXTURES / "models" / name).double()
        self.cases = []
        self.tried = 0

    def add(self, make_options, ends: int = 1, first: int = 2, draw: bool = False, accept=lambda found, plain: True):
        """Tries prompts until no choice depends on rounding. The end tokens are likely ones: the first `ends` different
        tokens of the best text without an end, from index `first` on."""
        number = len(self.cases)
        for seed in count(1000 * number):
            self.tried += 1
            random = torch.Generator().manual_seed(seed)
            prompt = torch.randint(self.model.config.vocab_size, (6,), generator=random).tolist()
            plain = search(self.model, prompt, [], dict(num_beams=3), None)[0]["ids"]
            eos = list(dict.fromkeys(plain[first:]))[:ends]
            options = make_options(plain)
            biased = [id for id, _ in options.get("logit_bias", [])]
            if len(set(biased)) < len(biased):  # HF keeps the last bias of a token, this library adds them
                continue
            drawn = seed if draw else None
            try:
                found = search(self.model, prompt, eos, options, drawn)
                again = search(self.exact, prompt, eos, options, drawn)
            except TooFew:
                continue
            same = [f["ids"] for f in found] == [f["ids"] for f in again]
            if same and accept(found, plain) and all(f["score"] > -1e8 for f in found):
                break
        case = dict(model=self.name, prompt_ids=prompt, eos=eos, options=options)
        if draw:
            case["seed"] = seed
        self.cases.append(case | dict(found=found))


def ended(found, plain):
    """Some texts end early, but not at their first token."""
    return any(1 < len(f["ids"]) < NEW_TOKENS for f in found)


def grid(cases: Cases):
    for beams in range(2, 9):
        for penalty, early in itertools.product(LENGTH_PENALTIES, EARLY_STOPPING):
            options = dict(num_beams=beams, length_penalty=penalty, early_stopping=early)
            # a bias makes the end likely in some cases
            bias = lambda plain: dict(logit_bias=[[plain[2], 1.5]]) if beams % 2 else {}
            wanted = dict(num_return_sequences=beams if beams in (3, 4) else 2)
            cases.add(lambda plain: options | bias(plain) | wanted, accept=ended)


def special(cases: Cases):
    def add(beams, make_options, **more):
        all_of_them = dict(num_beams=beams, num_return_sequences=beams)
        cases.add(lambda plain: all_of_them | make_options(plain), **more)

    add(4, lambda plain: dict(repetition_penalty=1.4))
    add(3, lambda plain: dict(repetition_penalty=0.7, early_stopping="never"))
    add(4, lambda plain: dict(no_repeat_ngram_size=2))
    add(5, lambda plain: dict(no_repeat_ngram_size=1, length_penalty=0.3))
    add(4, lambda plain: dict(min_new_tokens=8), accept=ended)
    add(2, lambda plain: dict(min_new_tokens=NEW_TOKENS, early_stopping=True))
    add(4, lambda plain: dict(bad_words=[[plain[0]], [plain[3]]]))
    add(4, lambda plain: dict(bad_words=[plain[1:3], plain[4:6]], early_stopping=True))
    add(6, lambda plain: dict(logit_bias=[[plain[0], -3.0], [plain[1], "-inf"], [plain[5], 1.0]]))
    everything = lambda plain: dict(
        repetition_penalty=1.2, no_repeat_ngram_size=3, min_new_tokens=4, bad_words=[[plain[0]], plain[2:4]]
    ) | dict(logit_bias=[[plain[4], 1.0]], length_penalty=1.5)
    for early in EARLY_STOPPING:
        add(4, lambda plain: everything(plain) | dict(early_stopping=early))
    for ends in (2, 3, 5):  # several ends
        for early in EARLY_STOPPING:
            add(3, lambda plain: dict(early_stopping=early), ends=ends, accept=ended)
    add(4, lambda plain: dict(length_penalty=0.0, early_stopping="never"), ends=2, first=0)
    add(4, lambda plain: {}, ends=0)  # no end at all
    add(2, lambda plain: dict(max_new_tokens=1))
    add(3, lambda plain: dict(max_new_tokens=2), first=0)
    add(8, lambda plain: dict(max_new_tokens=58))  # up to the last position
    add(16, lambda plain: dict(early_stopping="never"))
    add(40, lambda plain: dict(max_new_tokens=4), ends=1)
    add(3, lambda plain: {}, first=0)  # the likeliest first token is an end
    add(3, lambda plain: dict(early_stopping=True, logit_bias=[[plain[0], 6.0]]), first=0)
    letters = lambda ids: "".join(map(chr, ids))  # byte tokens: the ids of a text are its characters
    inside = lambda plain: all(32 <= id < 127 for id in plain[2:6])
    for early in EARLY_STOPPING:
        stop = lambda plain: dict(stop_strings=[letters(plain[2:4]), letters(plain[5:6])], early_stopping=early)
        cases.add(
            lambda plain: dict(num_beams=4, num_return_sequences=4) | (stop(plain) if inside(plain) else {}),
            accept=lambda found, plain: inside(plain) and ended(found, plain),
        )


def drawn(cases: Cases):
    for beams in (2, 3, 4, 6):
        for options in (
            {},
            dict(temperature=0.6),
            dict(top_k=12),
            dict(temperature=1.4, top_p=0.9, early_stopping=True),
            dict(min_p=0.02, early_stopping="never", length_penalty=0.4),
            dict(typical_p=0.8, repetition_penalty=1.2),
        ):
            wanted = dict(num_beams=beams, num_return_sequences=beams)
            cases.add(lambda plain: wanted | options, draw=True)
    cases.add(lambda plain: dict(num_beams=3, num_return_sequences=3, top_k=20, min_new_tokens=3), ends=3, draw=True)


def make() -> dict:
    facts = {}
    for name in MODELS:
        for kind in (grid, special, drawn):
            cases = Cases(name)
            kind(cases)
            facts.setdefault(kind.__name__, []).extend(cases.cases)
            print(f"{name}, {kind.__name__}: {len(cases.cases)} cases, {cases.tried} tried", file=sys.stderr)
    return facts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="recompute and compare, write nothing")
    args = parser.parse_args()
    check_versions()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    facts = json.loads(json.dumps(make()))
    path = FIXTURES / "beams.json"
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
