"""Lines of JSON for bench/report.py, as bench_report of bench.c writes them, and the same words on standard output."""
import json
import os
import statistics


def quartiles(values):
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def append(line):
    if os.environ.get("BENCH_RESULTS"):
        with open(os.environ["BENCH_RESULTS"], "a") as file:
            print(json.dumps(line), file=file)


def report(name, unit, ours, theirs=None, baseline=None, sense="at most", bar=None):
    """A figure with its samples; `theirs`: as many of what it is compared with. The bar is of the ratio, else of itself."""
    line = {"name": name, "unit": unit, "ours": ours}
    text = f"{name}: {statistics.median(ours):.4g} {unit}"
    values = ours
    if theirs:
        values = [a / b for a, b in zip(ours, theirs)]
        line |= {"theirs": theirs, "baseline": baseline, "ratios": values}
        text += f", {baseline} {statistics.median(theirs):.4g}: ratio {statistics.median(values):.3g}"
    low, high = quartiles(values)
    text += f" [{low:.3g}, {high:.3g}]"
    if bar is not None:
        line |= {"sense": sense, "bar": bar}
        text += f", bar: {sense} {bar:g}"
    print(text, flush=True)
    append(line)


def curve(plot, series, x, y, points):
    """One line of a plot: points of (x, median, low, high), which are quartiles unless the line says what they are as
    `spread`. `x`, `y`: what the axes say."""
    append({"plot": plot, "series": series, "x": x, "y": y, "points": points})
