#!/usr/bin/env python3
"""The default family's breadth-first training in PyTorch, float32: what bench_train's "the script's passes" is compared with.

The same edits, batches, passes, noise, optimiser and loss. Everything below the edited matrix is computed once an edit, layers
above run on padded batches, the head on the labelled rows alone. No router, no re-test: the engine's figure has both.
Of one thread its processor time, as bench_train has it.
usage: recipe.py MODEL.gguf EDITS.jsonl COUNT THREADS REPEATS     (BENCH_RESULTS gets a line of JSON, as bench_report gives it)
"""
import json
import os
import sys
import time

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

LAYER, EPOCHS, BATCH, RATE, NOISE = 25, 12, 10, 2e-2, 0.2

path, edits_path, count, threads, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
torch.set_num_threads(threads)
torch.manual_seed(0)
folder, file = os.path.split(path)
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval().requires_grad_(False)
layers, down = model.model.layers, model.model.layers[LAYER].mlp.down_proj
base = down.weight.data.clone()


def ids_of(text):
    return tokenizer(text, add_special_tokens=False).input_ids


edits = [json.loads(line) for line in open(edits_path)][:count]
texts = [ids_of(e["prompt"] + " " + e["target_new"].strip()) + [tokenizer.eos_token_id] for e in edits]
starts = [len(ids_of(e["prompt"])) for e in edits]


class Below(Exception):
    """Raised when the edited matrix is reached: what lies above is not needed."""


@torch.no_grad()
def below(ids):
    """A(x) and the residual beside it: (tokens, ffn), (tokens, hidden)."""
    got = {}

    def keep_residual(_, args):
        got["residual"] = args[0][0].clone()

    def keep_input(_, args):
        got["input"] = args[0][0].clone()
        raise Below

    hooks = [layers[LAYER].post_attention_layernorm.register_forward_pre_hook(keep_residual), down.register_forward_pre_hook(keep_input)]
    try:
        model.model(torch.tensor([ids]), use_cache=False)
    except Below:
        pass
    for hook in hooks:
        hook.remove()
    return got["input"], got["residual"]


def padded(rows):
    out = torch.zeros(len(rows), max(r.shape[0] for r in rows), rows[0].shape[1])
    for i, r in enumerate(rows):
        out[i, : r.shape[0]] = r
    return out


def above(y):
    length = y.shape[1]
    rotation = model.model.rotary_emb(y, torch.arange(length)[None])
    mask = torch.full((length, length), float("-inf")).triu(1)[None, None]
    for layer in layers[LAYER + 1 :]:
        out = layer(y, attention_mask=mask, position_embeddings=rotation, use_cache=False)
        y = out[0] if isinstance(out, tuple) else out
    return model.model.norm(y)


def train():
    inputs, residuals = zip(*(below(ids) for ids in texts))
    weight = torch.nn.Parameter(base.clone())
    optimiser = torch.optim.Adam([weight], lr=RATE)
    for epoch in range(EPOCHS):
        optimiser.param_groups[0]["lr"] = RATE * (1 - epoch / EPOCHS)
        order = torch.randperm(len(texts)).tolist()
        for first in range(0, len(order), BATCH):
            batch = order[first : first + BATCH]
            x, residual = padded([inputs[i] for i in batch]), padded([residuals[i] for i in batch])
            deviation = torch.cat([inputs[i] for i in batch]).std()
            states = above(residual + (x + NOISE * deviation * torch.randn_like(x)) @ weight.T)
            rows = torch.cat([states[k, starts[i] - 1 : len(texts[i]) - 1] for k, i in enumerate(batch)])
            labels = torch.tensor([t for i in batch for t in texts[i][starts[i] :]])
            loss = F.cross_entropy(rows @ model.lm_head.weight.T, labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return loss.item()


clock = time.process_time if threads == 1 else time.monotonic
took = []
for _ in range(repeats):
    began = clock()
    loss = train()
    took.append(clock() - began)
    print(f"  PyTorch {torch.__version__}, {threads} thread(s): {took[-1]:.2f} s, last loss {loss:.4f}", file=sys.stderr)
if os.environ.get("BENCH_RESULTS"):
    with open(os.environ["BENCH_RESULTS"], "a") as results:
        print(json.dumps({"name": "edit training, PyTorch script", "unit": "s", "ours": took}), file=results)
