#!/usr/bin/env python3
"""llama.cpp, told by its standard input what to do next: what bench_turn is measured in turn with (bench/beside.py).

A line in, seconds out: "prefill TOKENS" (one prompt, to the scores of its last token) and "decode 1 STEPS" (greedy, from
nothing; seconds of one step). One thread is timed in its own processor time, as bench_turn does it.
usage: llama.py MODEL.gguf THREADS [plain]      plain: without repacked weights (use_extra_bufts), for processors on
which this version crashes in them: the first line says so. Status 0 at the end of the input.
"""
import ctypes
import sys
import time

import llama_cpp as llama
import numpy

CONTEXT = 1024

path, threads = sys.argv[1], int(sys.argv[2])
plain = sys.argv[3:] == ["plain"]
silent = llama.llama_log_callback(lambda level, text, data: None)
llama.llama_log_set(silent, ctypes.c_void_p(0))
llama.llama_backend_init()
model_params = llama.llama_model_default_params()
model_params.use_extra_bufts = not plain
model = llama.llama_model_load_from_file(path.encode(), model_params)
if not model:
    sys.exit(f"llama.py: {path} cannot be opened")
params = llama.llama_context_default_params()
params.n_ctx = params.n_batch = params.n_ubatch = CONTEXT
params.n_threads = params.n_threads_batch = threads
context = llama.llama_init_from_model(model, params)
width = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
now = time.process_time if threads == 1 else time.monotonic


def run(tokens):
    if llama.llama_decode(context, llama.llama_batch_get_one(tokens, len(tokens))) != 0:
        sys.exit("llama.py: llama_decode failed")
    return numpy.ctypeslib.as_array(llama.llama_get_logits_ith(context, -1), (width,))


def prefill(count):
    tokens = (ctypes.c_int32 * count)(*(1000 + i * 7919 % 40000 for i in range(count)))
    began = now()
    run(tokens)
    return now() - began


def decode(steps):
    token = (ctypes.c_int32 * 1)(1000)
    began = now()
    for _ in range(steps):
        token[0] = int(run(token).argmax())
    return (now() - began) / steps


print(f"llama.cpp (llama-cpp-python {llama.__version__}{', plain' if plain else ''})", flush=True)
for line in sys.stdin:
    llama.llama_memory_clear(llama.llama_get_memory(context), True)
    words = line.split()
    print(f"{prefill(int(words[1])) if words[0] == 'prefill' else decode(int(words[2])):.9f}", flush=True)
