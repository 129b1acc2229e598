#!/usr/bin/env python3
"""Greedy decoding of one sequence by llama.cpp: what bench_decode's "one sequence" is compared with.

Without repacked weights (use_extra_bufts): version 0.3.36 crashes in them on processors with AMX. One thread is timed in
its own processor time, as bench_decode does it.
usage: llama.py MODEL.gguf THREADS REPEATS      (appends a line to the file BENCH_RESULTS, as bench_report does)
"""
import ctypes
import json
import os
import statistics
import sys
import time

import llama_cpp as llama
import numpy

TOKENS = 48

path, threads, repeats = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
silent = llama.llama_log_callback(lambda level, text, data: None)
llama.llama_log_set(silent, ctypes.c_void_p(0))
llama.llama_backend_init()
model_params = llama.llama_model_default_params()
model_params.use_extra_bufts = False
model = llama.llama_model_load_from_file(path.encode(), model_params)
params = llama.llama_context_default_params()
params.n_ctx, params.n_threads, params.n_threads_batch = 1024, threads, threads
context = llama.llama_init_from_model(model, params)
width = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
now = time.process_time if threads == 1 else time.monotonic
token = (ctypes.c_int32 * 1)()


def decode():
    llama.llama_memory_clear(llama.llama_get_memory(context), True)
    token[0] = 1000
    began = now()
    for _ in range(TOKENS):
        if llama.llama_decode(context, llama.llama_batch_get_one(token, 1)) != 0:
            sys.exit("llama.py: llama_decode failed")
        token[0] = int(numpy.ctypeslib.as_array(llama.llama_get_logits(context), (width,)).argmax())
    return TOKENS / (now() - began)


decode()  # warms up
rates = [decode() for _ in range(repeats)]
print(f"decoding, llama.cpp {llama.__version__}, {threads} thread(s): {statistics.median(rates):.1f} tokens/s")
if os.environ.get("BENCH_RESULTS"):
    with open(os.environ["BENCH_RESULTS"], "a") as results:
        results.write(json.dumps({"name": "decoding, llama.cpp", "unit": "tokens/s", "ours": rates}) + "\n")
