#!/usr/bin/env python3
"""Gathers the lines of bench/results.jsonl: one table of every bar with its verdict, what else was measured, and
results.json, results.csv and plots (plots.py) for machines and readers.

usage: report.py FOLDER [LIMITS]     FOLDER/results.jsonl is read. Exit status 1: a bar is missed, or was not measured.
       With LIMITS (bench/limits) only these are looked at, an "ok" or "not ok" each, and "N passed, N failed" at the end.
"""
import csv
import json
import statistics
import sys

import plots
from results import quartiles

# What is asked of the machine: a title, and the figures that show it: the beginning of their names, sense and bar. A
# figure of two programs that ran apart is "ours | theirs"; "name @ 0.99" is a quantile of its samples.
BARS = [
    ("Edit training, closed shard of 100", [
        ("edit training, closed shard of 100", "at most", 1.5),
        ("edit training, the script's passes, f32 | edit training, PyTorch script", "at most", 1 / 2),
        ("edit training, the script's passes, bf16 | edit training, PyTorch script", "at most", 1 / 3.5),
        ("edit training, core-seconds an edit", "at most", 1 / 500),
    ]),
    ("WISE step (paper, 12 rows)", [("WISE step, 12 rows", "at most", 1.25), ("training in bf16, ", "at most", 0.01)]),
    ("One edit alone, accepted to answered by every node", [
        ("one edit alone, accepted until served by both nodes", "at most", 0.8),
        ("one edit alone, accepted until served by both nodes @ 0.99", "at most", 2),
    ]),
    ("Edits in bulk", [
        ("10000 edits from one client, until acknowledged", "at most", 1),
        ("sustained training, share of the worker's time in the engine", "at least", 0.9),
    ]),
    ("Prefill, 512 tokens", [(f"prefill of 512 tokens, {kind}", "at least", 1.5) for kind in ("Q4_1", "Q8_0", "BF16")]),
    ("Decode, one sequence", [
        *((f"decoding, one sequence beside llama.cpp, {kind}", "at least", 2) for kind in ("Q4_1", "Q8_0", "BF16")),
        ("decoding, one sequence,", "at least", 0.7),
    ]),
    ("Decode, 16 sequences", [
        ("decoding, 16 sequences with a memory each,", "at least", 0.6),
        ("decoding, 16 sequences with a memory each, beside packed weights", "at least", 0.6),
    ]),
    ("Cost of 10,000 edits routed", [
        ("a route among 10,000 edits", "at most", 150),
        ("a route among 10,000 edits, beside a prefill of 512 tokens", "at most", 0.01),
        ("prefill of 512 tokens among 10,000 edits", "at most", 1.01),
        ("prefill of 512 tokens that end with a question, among 10,000 edits", "at most", 1.01),
        ("decoding by one of 10,000 edits", "at most", 1.03),
    ]),
    ("Version flip on a node under load", [
        ("version flip under load, longest answer, longer by", "at most", 1),
        ("version flip under load, 90th percentile, longer by", "at most", 1),
        ("version flips, requests answered", "at least", 1),
        ("version flips, memory after", "at most", 1.05),
    ]),
    ("Merge of 2 and of 8 shards", [("reduction of 2 shards", "at most", 2), ("reduction of 8 shards", "at most", 2)]),
    ("Shard upload and pull over CURVE", [
        ("upload of shards over CURVE, disk and hashes apart", "at least", 0.8),
        ("pull of shards over CURVE, disk and hashes apart", "at least", 0.8),
        ("bytes on the wire of a pull", "at most", 1.1),
    ]),
    ("Start", [("a node's start until it answers", "at most", 0.5),
               ("a node's start until its first completion", "at most", 0.5)]),
]


def row_of(line):
    row = {k: line[k] for k in ("name", "unit", "baseline", "sense", "bar") if k in line}
    row["median"] = statistics.median(line["ours"])
    if line.get("theirs"):
        row["baseline_median"] = statistics.median(line["theirs"])
        row["ratio"] = statistics.median(line["ratios"])
    row["low"], row["high"] = quartiles(line["ratios"] if line.get("theirs") else line["ours"])
    row["samples"] = len(line["ours"])
    return row


def quantile_row(line, share):
    ours = sorted(line["ours"])
    at = share * (len(ours) - 1)
    below = int(at)
    value = ours[below] + (at - below) * (ours[min(below + 1, len(ours) - 1)] - ours[below])
    return {"name": f"{line['name']}, {100 * share:g} of 100", "unit": line["unit"], "median": value, "low": value, "high": value,
            "samples": len(ours)}


def rows_of_figure(figure, lines):
    """All rows whose names begin as the figure says; [] when none was measured."""
    name, bar = figure[0], {"sense": figure[1], "bar": figure[2]}
    if " @ " in name:
        name, share = name.split(" @ ")
        return [quantile_row(line, float(share)) | bar for line in lines if line["name"] == name]
    if " | " not in name:
        more = [other for _, figures in BARS for (other, *_) in figures if other != name and other.startswith(name)]
        return [row_of(line) | bar for line in lines if line["name"].startswith(name) and not line["name"].startswith(tuple(more))]
    ours, theirs = name.split(" | ")
    found = [next((line for line in lines if line["name"] == n), None) for n in (ours, theirs)]
    if None in found:
        return []
    a, b = (statistics.median(line["ours"]) for line in found)
    low, high = (min(found[0]["ours"]) / b, max(found[0]["ours"]) / b)
    return [{"name": ours, "unit": found[0]["unit"], "baseline": theirs, "median": a, "baseline_median": b, "ratio": a / b, "low": low,
             "high": high, "samples": len(found[0]["ours"])} | bar]


def verdict(row):
    if row.get("bar") is None:
        return ""
    value = row.get("ratio", row["median"])
    return "reached" if (value <= row["bar"] if row["sense"] == "at most" else value >= row["bar"]) else "MISSED"


def cells_of(row):
    beside = f"{row['baseline_median']:.4g}  {row['baseline']}" if "baseline_median" in row else ""
    return (row["name"], verdict(row), f"{row['sense']} {row['bar']:.3g}" if row.get("bar") is not None else "",
            f"{row['ratio']:.3g}" if "ratio" in row else "", f"{row['low']:.3g}–{row['high']:.3g}" if row["samples"] > 1 else "",
            f"{row['median']:.4g} {row['unit']}", beside)


def print_table(cells):
    cells = [("WHAT", "VERDICT", "BAR", "RATIO", "QUARTILES", "MEDIAN", "BESIDE"), *cells]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def write_files(folder, rows):
    with open(f"{folder}/results.json", "w") as file:
        json.dump(rows, file, indent=1)
    columns = ["title", "name", "unit", "median", "low", "high", "samples", "baseline", "baseline_median", "ratio", "sense", "bar", "verdict"]
    with open(f"{folder}/results.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def report(folder, lines):
    rows, cells, seen = [], [], set()
    for title, figures in BARS:
        cells.append((title, *[""] * 6))
        for figure in figures:
            found = rows_of_figure(figure, lines)
            if not found:
                found = [{"title": title, "name": figure[0], "sense": figure[1], "bar": figure[2], "verdict": "NOT MEASURED"}]
                cells.append(("  " + figure[0], "NOT MEASURED", f"{figure[1]} {figure[2]:.3g}", *[""] * 4))
            else:
                cells += [("  " + name, *rest) for name, *rest in map(cells_of, found)]
            rows += [{"title": title, "verdict": verdict(row) if "median" in row else "NOT MEASURED"} | row for row in found]
            seen |= {row["name"] for row in found}
    print_table(cells)
    others = [row_of(line) for line in lines if line["name"] not in seen]
    if others:
        print("\nMeasured besides")
        print_table([cells_of(row) for row in others])
    write_files(folder, rows + [{"title": "", "verdict": ""} | row for row in others])
    counts = {v: sum(row["verdict"] == v for row in rows) for v in ("reached", "MISSED", "NOT MEASURED")}
    print(f"\n{counts['reached']} bars reached, {counts['MISSED']} missed, {counts['NOT MEASURED']} not measured")
    return 1 if counts["MISSED"] + counts["NOT MEASURED"] else 0


def check_limits(path, lines):
    """A line each: name, "at most" or "at least", limit; with tabs between."""
    passed = failed = 0
    measured = {line["name"]: row_of(line) for line in lines}
    with open(path) as file:
        limits = [line.rstrip("\n").split("\t") for line in file if line.strip() and not line.startswith("#")]
    for name, sense, limit in limits:
        row = measured.get(name)
        value = row.get("ratio", row["median"]) if row else None
        good = value is not None and (value <= float(limit) if sense == "at most" else value >= float(limit))
        told = "was not measured" if row is None else f"{value:.3g}"
        print(f"{'ok' if good else 'not ok'} bench/{name}: {told}, {sense} {limit}")
        passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def main():
    folder, limits = sys.argv[1], sys.argv[2:]
    with open(f"{folder}/results.jsonl") as file:
        lines = [json.loads(line) for line in file]
    # What was measured again takes the place of what it was before.
    lines = list({(line.get("plot"), line.get("series"), line.get("name")): line for line in lines}.values())
    print()
    if limits:
        return check_limits(limits[0], [line for line in lines if "name" in line])
    status = report(folder, [line for line in lines if "name" in line])
    plots.draw(folder, [line for line in lines if "plot" in line])
    return status


if __name__ == "__main__":
    sys.exit(main())
