#!/usr/bin/env python3
"""Gathers bench_report's lines: a table for people, results.json and results.csv for machines.

usage: report.py FOLDER     (FOLDER/results.jsonl is read; exit status 1 when a bar is missed)
"""
import csv
import json
import statistics
import sys

# Two names of which one run measured both: ours, theirs, sense and bar of the ratio ours / theirs.
COMPARED = [
    ("decoding, one sequence", "decoding, llama.cpp", "at least", 2),
    ("edit training, the script's passes", "edit training, PyTorch script", "at most", 1 / 2),
]


def quartiles(values):
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def rows_of(lines):
    by_name = {line["name"]: line for line in lines}
    for line in lines:
        row = {k: line[k] for k in ("name", "unit", "baseline", "sense", "bar") if k in line}
        row["median"] = statistics.median(line["ours"])
        row["low"], row["high"] = quartiles(line["ours"])
        if "theirs" in line:
            row["baseline_median"] = statistics.median(line["theirs"])
            row["ratio"] = statistics.median(line["ratios"])
            row["ratio_low"], row["ratio_high"] = quartiles(line["ratios"])
        yield row
    for ours, theirs, sense, bar in COMPARED:
        if ours in by_name and theirs in by_name:
            a, b = (statistics.median(by_name[name]["ours"]) for name in (ours, theirs))
            yield {"name": ours, "unit": by_name[ours]["unit"], "baseline": theirs, "sense": sense, "bar": bar, "median": a,
                   "baseline_median": b, "ratio": a / b}


def is_reached(row):
    if not row.get("bar"):
        return None
    value = row.get("ratio", row["median"])
    return value <= row["bar"] if row["sense"] == "at most" else value >= row["bar"]


def print_table(rows):
    cells = [("WHAT", "MEDIAN", "QUARTILES", "BESIDE", "RATIO", "BAR", "")]
    for row in rows:
        spread = f"{row['low']:.3g}–{row['high']:.3g}" if "low" in row else ""
        beside = f"{row['baseline_median']:.4g}  {row['baseline']}" if "baseline_median" in row else ""
        ratio = f"{row['ratio']:.3g}" if "ratio" in row else ""
        bar = f"{row['sense']} {row['bar']:.3g}" if row.get("bar") else ""
        reached = {None: "", True: "reached", False: "MISSED"}[is_reached(row)]
        cells.append((row["name"], f"{row['median']:.4g} {row['unit']}", spread, beside, ratio, bar, reached))
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def main():
    folder = sys.argv[1]
    with open(f"{folder}/results.jsonl") as file:
        rows = list(rows_of([json.loads(line) for line in file]))
    with open(f"{folder}/results.json", "w") as file:
        json.dump(rows, file, indent=1)
    columns = ["name", "unit", "median", "low", "high", "baseline", "baseline_median", "ratio", "ratio_low", "ratio_high", "sense", "bar"]
    with open(f"{folder}/results.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    print()
    print_table(rows)
    return 1 if any(is_reached(row) is False for row in rows) else 0


sys.exit(main())
