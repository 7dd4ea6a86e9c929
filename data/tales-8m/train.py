"""Trains the bundled model: a GPT-2 in everything but size. Modules have the names of the checkpoint.

    python train.py --corpus CORPUS --vocab FOLDER --out RUN [--steps N] [--seed S]

CORPUS holds train.txt and valid.txt (documents with a line `<|endoftext|>` between them).
FOLDER holds GPT-2's vocab.json and merges.txt (this folder does).
RUN receives log.csv, state.pt (to continue with --resume) and, at the end, the
Hugging Face folder RUN/hf.

Made with torch 2.15.0, tiktoken 0.14.0, safetensors 0.8.0, numpy 2.4, matplotlib 3.11, on two CPU cores.
glibc's allocator returns large blocks to the system at once, which costs a fifth of the time; this keeps them:

    export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=1000000000

Two things differ from a textbook loop, both because the output head (50,257 x 128) is five
times the work of everything below it:

* For most steps the softmax runs over a sample of the vocabulary: the most frequent ids,
  the ids of the batch itself, and ids drawn uniformly. An id that is in the sample with
  probability pi has log(pi) subtracted from its logit, so that the sum over the sample
  estimates the full sum (Bengio and Senecal, 2008). The last steps use all ids.
* Matrices inside the blocks are trained with Muon (Jordan et al., 2024: momentum, then
  orthogonalised by five Newton-Schulz steps), the rest with Adam.
"""
import argparse
import csv
import json
import math
import pathlib
import time

import numpy as np
import tiktoken
import torch
import torch.nn as nn
import torch.nn.functional as F

END = 50256
VOCAB = 50257


class Attention(nn.Module):
    def __init__(self, n_embd, n_head):
        super().__init__()
        self.n_head = n_head
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)

    def forward(self, x):
        B, T, C = x.shape
        heads = (part.view(B, T, self.n_head, -1).transpose(1, 2) for part in self.c_attn(x).chunk(3, dim=-1))
        a = F.scaled_dot_product_attention(*heads, is_causal=True)
        return self.c_proj(a.transpose(1, 2).reshape(B, T, C))


class MLP(nn.Module):
    def __init__(self, n_embd):
        super().__init__()
        self.c_fc = nn.Linear(n_embd, 4 * n_embd)
        self.c_proj = nn.Linear(4 * n_embd, n_embd)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, n_embd, n_head):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(n_embd), Attention(n_embd, n_head)
        self.ln_2, self.mlp = nn.LayerNorm(n_embd), MLP(n_embd)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    def __init__(self, n_layer=6, n_head=4, n_embd=128, n_positions=512):
        super().__init__()
        self.config = dict(n_layer=n_layer, n_head=n_head, n_embd=n_embd, n_positions=n_positions)
        self.wte = nn.Embedding(VOCAB, n_embd)
        self.wpe = nn.Embedding(n_positions, n_embd)
        self.h = nn.ModuleList(Block(n_embd, n_head) for _ in range(n_layer))
        self.ln_f = nn.LayerNorm(n_embd)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                std = 0.02 if name.startswith("w") else 1 / math.sqrt(p.shape[1])
                nn.init.normal_(p, std=std / math.sqrt(2 * n_layer) if "proj" in name else std)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, ids):
        x = self.wte(ids) + self.wpe.weight[: ids.shape[1]]
        for block in self.h:
            x = block(x)
        return self.ln_f(x)  # [B, T, C]


def softmax_rows(x, w, log_pi, targets, rows):
    """Mean cross-entropy of x [N, C] against w [K, C], with its gradients, a slice of rows at a time.

    The matrix products run in bf16, the softmax in f32; the N x K logits never exist at once.
    """
    dx, dw, total = torch.empty_like(x), torch.zeros_like(w), 0.0
    wb = w.bfloat16()
    for i in range(0, len(x), rows):
        xb, t = x[i : i + rows].bfloat16(), targets[i : i + rows, None]
        s = (xb @ wb.T).float().sub_(log_pi)
        lse = torch.logsumexp(s, -1, keepdim=True)
        total += (lse - s.gather(1, t)).sum()
        p = s.sub_(lse).exp_()
        p.scatter_add_(1, t, torch.full(t.shape, -1.0))
        p = p.bfloat16()
        dx[i : i + rows] = p @ wb
        dw += p.T @ xb
    return total / len(x), dx / len(x), dw / len(x)


class Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, log_pi, targets, rows):
        loss, dx, dw = softmax_rows(x, w, log_pi, targets, rows)
        ctx.save_for_backward(dx, dw)
        return loss

    @staticmethod
    def backward(ctx, grad):
        dx, dw = ctx.saved_tensors
        return grad * dx, grad * dw, None, None, None


def full_softmax(x, wte, targets):
    return Softmax.apply(x, wte, torch.zeros(()), targets, 512)


class SampledSoftmax:
    def __init__(self, counts, batch_tokens, frequent=2500, uniform=700):
        p = torch.tensor(counts / counts.sum(), dtype=torch.float64)
        self.top = torch.argsort(p, descending=True, stable=True)[:frequent]
        self.uniform = uniform
        pi = 1 - (1 - p) ** batch_tokens * (1 - 1 / VOCAB) ** uniform
        pi[self.top] = 1
        self.log_pi = pi.log().float()

    def __call__(self, x, wte, targets):
        ids = torch.cat([self.top, targets, torch.randint(VOCAB, (self.uniform,))]).unique()
        return Softmax.apply(x, wte[ids], self.log_pi[ids], torch.searchsorted(ids, targets), len(x))


class Muon(torch.optim.Optimizer):
    """`parts`: how many matrices lie one below the other in a parameter; each is treated on its own."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.0):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay, parts=1))

    @staticmethod
    def orthogonalise(g):  # [n, rows, cols], rows <= cols
        x = g / (g.norm(dim=(1, 2), keepdim=True) + 1e-7)
        for _ in range(5):
            a = x @ x.mT
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        return x

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(m, group["momentum"])
                for part, u in zip(p.chunk(group["parts"]), update.chunk(group["parts"])):
                    wide = u if part.shape[0] <= part.shape[1] else u.T
                    shapes.setdefault(wide.shape, []).append((part, wide))
            for found in shapes.values():
                updates = self.orthogonalise(torch.stack([u for _, u in found]))
                for (part, _), u in zip(found, updates):
                    u = u if part.shape[0] <= part.shape[1] else u.T
                    part.mul_(1 - group["lr"] * group["weight_decay"])
                    part.add_(u, alpha=-group["lr"] * max(1, part.shape[0] / part.shape[1]) ** 0.5)


def encoder(folder):
    """tiktoken's `gpt2` from GPT-2's two files, without its download."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in visible}
    table |= {chr(256 + n): b for n, b in enumerate(b for b in range(256) if b not in visible)}
    vocab = json.loads((folder / "vocab.json").read_text())
    ranks = {bytes(table[c] for c in t): i for t, i in vocab.items() if i != END}
    pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
    return tiktoken.Encoding("gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": END})


def read_ids(path, enc):
    """The documents' ids, each followed by the end-of-text id."""
    documents = path.read_text().split("\n\n<|endoftext|>\n\n")
    return np.array([i for d in documents for i in [*enc.encode_ordinary(d.strip("\n")), END]], dtype=np.int64)


def chunks(ids, length, rng):
    """Endless shuffled pieces of length + 1; each pass over the text starts at another offset."""
    while True:
        start = rng.integers(length)
        starts = np.arange(start, len(ids) - length - 1, length)
        for i in rng.permutation(starts):
            yield ids[i : i + length + 1]


@torch.no_grad()
def evaluate(model, ids, length):
    """Mean nats per token over non-overlapping windows: a little above the sliding windows of `gpt2 score`."""
    model.eval()
    n = (len(ids) - 1) // length * length
    x, y = torch.tensor(ids[:n]).view(-1, length), torch.tensor(ids[1 : n + 1]).view(-1, length)
    total = 0.0
    for a, b in zip(x.split(4), y.split(4)):
        total += F.cross_entropy(model(a).flatten(0, 1) @ model.wte.weight.T, b.flatten(), reduction="sum").item()
    model.train()
    return total / n


def export(model, folder):
    """A folder that `transformers` loads: names and shapes of GPT-2, weights in bf16."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    out = {f"transformer.{name}": p.detach() for name, p in model.state_dict().items()}
    # GPT-2's c_* matrices are stored [in, out]
    out = {k: (v.T if ".c_" in k and v.dim() == 2 else v).contiguous().bfloat16() for k, v in out.items()}
    save_file(out, folder / "model.safetensors", metadata={"format": "pt"})
    config = dict(
        architectures=["GPT2LMHeadModel"], model_type="gpt2", activation_function="gelu_new", vocab_size=VOCAB,
        **model.config, n_inner=None, layer_norm_epsilon=1e-5, scale_attn_weights=True, tie_word_embeddings=True,
        scale_attn_by_inverse_layer_idx=False, reorder_and_upcast_attn=False, attn_pdrop=0.0, embd_pdrop=0.0,
        resid_pdrop=0.0, initializer_range=0.02, bos_token_id=END, eos_token_id=END, dtype="bfloat16",
    )
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def plot(log, svg):
    """The loss curve of a log.csv."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "loss"
    import matplotlib.pyplot as plt

    rows = list(csv.DictReader(log.open()))
    steps = [int(r["step"]) for r in rows]
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(steps, [float(r["train_loss"]) for r in rows], label="training text (running mean, sampled softmax)")
    axes.plot(steps, [float(r["valid_loss"]) for r in rows], label="held-out text")
    axes.set(xlabel="step", ylabel="nats per token", ylim=(3.4, 5.4))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(svg, metadata={"Date": None})


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--corpus", type=pathlib.Path, required=True)
    a.add_argument("--vocab", type=pathlib.Path, required=True)
    a.add_argument("--out", type=pathlib.Path, required=True)
    a.add_argument("--steps", type=int, default=16000)
    a.add_argument("--decay", type=float, default=0.4, help="share of the steps in which the rates fall to zero")
    a.add_argument("--full", type=float, default=0.06, help="share of the steps with the full softmax, at the end")
    a.add_argument("--batch", type=int, default=8)
    a.add_argument("--n-layer", type=int, default=6)
    a.add_argument("--n-head", type=int, default=4)
    a.add_argument("--muon-lr", type=float, default=0.02)
    a.add_argument("--adam-lr", type=float, default=3e-3)
    a.add_argument("--weight-decay", type=float, default=0.05)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--eval-every", type=int, default=500)
    a.add_argument("--resume", action="store_true")
    a.add_argument("--no-compile", action="store_true")
    a.add_argument("--minutes", type=float, default=1e9, help="stop after this long, keeping state.pt")
    args = a.parse_args()

    torch.set_float32_matmul_precision("medium")
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    enc = encoder(args.vocab)
    train, valid = read_ids(args.corpus / "train.txt", enc), read_ids(args.corpus / "valid.txt", enc)

    model = GPT2(n_layer=args.n_layer, n_head=args.n_head)
    T = model.config["n_positions"]
    matrices = {n: p for n, p in model.named_parameters() if p.dim() == 2 and n.startswith("h.")}
    c_attn = [p for n, p in matrices.items() if "c_attn" in n]  # query, key and value
    others = [p for n, p in matrices.items() if "c_attn" not in n]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizers = [
        Muon([dict(params=c_attn, parts=3), dict(params=others)], args.muon_lr, weight_decay=args.weight_decay),
        torch.optim.Adam(
            [dict(params=[model.wte.weight], lr=args.adam_lr), dict(params=[model.wpe.weight, *vectors], lr=args.adam_lr)],
            betas=(0.9, 0.98), eps=1e-10, fused=True,
        ),
    ]
    for o in optimizers:
        for g in o.param_groups:
            g["full_lr"] = g["lr"]
    sampled = SampledSoftmax(np.bincount(train, minlength=VOCAB), args.batch * T)
    body = model if args.no_compile else torch.compile(model)

    first = 0
    if args.resume:
        state = torch.load(args.out / "state.pt")
        first = state["step"]
        model.load_state_dict(state["model"])
        for o, s in zip(optimizers, state["optimizers"]):
            rates = [g["full_lr"] for g in o.param_groups]
            o.load_state_dict(s)
            for g, r in zip(o.param_groups, rates):
                g["full_lr"] = r
    source = chunks(train, T, rng)
    for _ in range(first * args.batch):
        next(source)

    log = open(args.out / "log.csv", "a", newline="")
    out = csv.writer(log)
    if first == 0:
        out.writerow(["step", "tokens", "train_loss", "valid_loss", "lr", "minutes"])
    begin, mean = time.time(), 0.0
    for step in range(first, args.steps):
        left = (args.steps - step) / args.steps
        rate = min(1, (step + 1) / 200, left / args.decay)
        for o in optimizers:
            for g in o.param_groups:
                g["lr"] = g["full_lr"] * rate
        piece = torch.tensor(np.stack([next(source) for _ in range(args.batch)]))
        targets = piece[:, 1:].flatten()
        with torch.autocast("cpu", torch.bfloat16):
            x = body(piece[:, :-1]).flatten(0, 1).float()
        loss = (full_softmax if left <= args.full else sampled)(x, model.wte.weight, targets)
        loss.backward()
        for o in optimizers:
            o.step()
            o.zero_grad(set_to_none=True)
        mean = loss.item() if step == first else 0.98 * mean + 0.02 * loss.item()
        done = step + 1
        stop = (time.time() - begin) / 60 > args.minutes
        if done % args.eval_every == 0 or done == args.steps or stop:
            v = evaluate(model, valid, T)
            minutes = (time.time() - begin) / 60
            out.writerow([done, done * args.batch * T, f"{mean:.4f}", f"{v:.4f}", f"{rate:.3f}", f"{minutes:.1f}"])
            log.flush()
            print(f"step {done} train {mean:.4f} valid {v:.4f} rate {rate:.3f} minutes {minutes:.1f}", flush=True)
            kept = dict(step=done, model=model.state_dict(), optimizers=[o.state_dict() for o in optimizers])
            torch.save(kept, args.out / "state.new")
            (args.out / "state.new").replace(args.out / "state.pt")
        if stop:
            break
    export(model, args.out / "hf")
    plot(args.out / "log.csv", args.out / "loss.svg")


if __name__ == "__main__":
    main()
