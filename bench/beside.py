#!/usr/bin/env python3
"""The engine (bench_turn) measured in turn with what it is compared with, on the same file and threads, in one run.

usage: beside.py llama PYTHON MODEL.gguf LABEL THREADS ROUNDS    llama.cpp, by a Python that has llama_cpp
       beside.py products THREADS ROUNDS                         prefill of 512 tokens and a training step beside products
       beside.py sequences THREADS ROUNDS                        1 to 64 sequences decoded at once: a plot's points
AMEND_BIN: where the programs are; AMEND_MODEL: the file of the last two.
"""
import os
import statistics
import subprocess
import sys

import results

HERE = os.path.dirname(os.path.abspath(__file__))
ENGINE = os.path.join(os.environ.get("AMEND_BIN", os.path.join(HERE, "..", "build")), "bench", "bench_turn")
TOKENS = 512
STEPS = 48


class Turn:
    """A program that does what a line of its input says and answers with the seconds that it took."""

    def __init__(self, command, **environment):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | environment)
        self.about = self.process.stdout.readline().strip()
        if not self.about:
            raise RuntimeError(f"{command[0]} did not start")

    def do(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"ended with status {self.process.wait()} at: {what}")
        return float(answer)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def engine(threads, model=None):
    return Turn([ENGINE, str(threads)], **({"AMEND_MODEL": model} if model else {}))


def llama(python, model, threads):
    """With its repacked weights where they work: version 0.3.36 crashes in them on some processors."""
    command = [python, os.path.join(HERE, "peers", "llama.py"), model, str(threads)]
    for extra in [], ["plain"]:
        try:
            peer = Turn(command + extra)
            peer.do(f"prefill {TOKENS}")
            peer.do("decode 1 4")
            return peer
        except RuntimeError as why:
            print(f"  llama.py {' '.join(extra) or 'with repacked weights'}: {why}", flush=True)
    sys.exit("beside.py: llama.cpp does not run here")


def threads_text(threads):
    return "1 thread" if threads == 1 else f"{threads} threads"


def beside_llama(python, model, label, threads, rounds):
    ours, theirs = engine(threads, model), llama(python, model, threads)
    print(f"  {ours.about}\n  {theirs.about}", flush=True)
    for name, what, tokens, bar in (
        (f"prefill of {TOKENS} tokens", f"prefill {TOKENS}", TOKENS, 1.5),
        ("decoding, one sequence beside llama.cpp", f"decode 1 {STEPS}", 1, 2),
    ):
        ours.do(what)  # warm
        theirs.do(what)
        pairs = [(tokens / ours.do(what), tokens / theirs.do(what)) for _ in range(rounds)]
        results.report(f"{name}, {label}, {threads_text(threads)}", "tokens/s", [a for a, _ in pairs], [b for _, b in pairs],
                       theirs.about, "at least", bar)
    ours.end()
    theirs.end()


def beside_products(threads, rounds):
    turn = engine(threads)
    turn.do(f"prefill {TOKENS}")
    pairs = [(TOKENS / turn.do(f"prefill {TOKENS}"), TOKENS / turn.do(f"products {TOKENS} 1")) for _ in range(rounds)]
    results.report(f"prefill of {TOKENS} tokens beside its products, {threads_text(threads)}", "tokens/s", [a for a, _ in pairs],
                   [b for _, b in pairs], "its products alone")
    # not the same products: what a step takes is told in how many of them it is worth
    turn.do("train")
    pairs = [(turn.do("train"), turn.do("products 170 50")) for _ in range(3 * rounds)]
    results.report(f"a training step's share of the model, {threads_text(threads)}", "s", [a for a, _ in pairs], [b for _, b in pairs],
                   "one pass of as many rows through all products")
    turn.end()


def sequences(threads, rounds):
    turn = engine(threads)
    counts = [1, 2, 4, 8, 16, 32, 64]
    series = {"decoding": lambda n: f"decode {n} {STEPS}", "products as stored": lambda n: f"stored {n}",
              "packed products": lambda n: f"products {n} {n}"}
    rates = {name: {n: [] for n in counts} for name in series}
    turn.do(f"decode 64 {STEPS}")
    for _ in range(rounds):
        for n in counts:
            for name, words in series.items():
                rates[name][n].append(n / turn.do(words(n)))
    for name, by_count in rates.items():
        points = [(n, statistics.median(values), *results.quartiles(values)) for n, values in by_count.items()]
        print(f"  {name}: " + ", ".join(f"{n}: {median:.0f}" for n, median, _, _ in points) + " tokens/s", flush=True)
        results.curve("sequences", name, "sequences decoded together", "tokens a second", points)
    turn.end()


def main():
    if sys.argv[1:2] == ["llama"] and len(sys.argv) == 7:
        beside_llama(*sys.argv[2:5], int(sys.argv[5]), int(sys.argv[6]))
    elif sys.argv[1:2] == ["products"] and len(sys.argv) == 4:
        beside_products(int(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["sequences"] and len(sys.argv) == 4:
        sequences(int(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(__doc__)


main()
