"""Draws the curves of bench/results.jsonl by gnuplot: a .dat, .gp and .svg for each plot, and one of all ratios beside
their bars (bars.svg)."""
import json
import math
import shutil
import subprocess

# Of a plot: title, and which axes are logarithmic.
PLOTS = {
    "ledger": ("What a submit takes, by the edits in the ledger", "xy"),
    "ledger-memory": ("A coordinator's memory and its ledger's file", "xy"),
    "ledger-start": ("A coordinator's start after SIGKILL", "xy"),
    "router": ("Loading an edit, and routing among so many", "xy"),
    "router-memory": ("A node's memory for the edits that it routes to", "x"),
    "sequences": ("Sequences decoded together", "x"),
    "workers": ("Workers, on simulated time", ""),
    "nodes": ("A version of two shards, pulled by so many nodes of one machine", "xy"),
}
COLOURS = ["#1b6ca8", "#c8502a", "#3a8f4d", "#7a4fa3"]


def script(plot, series, x, y):
    title, logarithmic = PLOTS.get(plot, (plot, ""))
    lines = [f'set terminal svg size 560,360 font "sans-serif,12" background "white"', f'set output "{plot}.svg"', f'set title "{title}"',
             f'set xlabel "{x}"', f'set ylabel "{y}"', "set grid", "set key left top", "set style fill transparent solid 0.2 noborder"]
    lines += [f"set logscale {axis} {2 if axis == 'x' and plot in ('sequences', 'nodes') else 10}" for axis in logarithmic]
    if "y" not in logarithmic:
        lines.append("set yrange [0:*]")
    drawn = []
    for i, name in enumerate(series):
        colour = COLOURS[i % len(COLOURS)]
        drawn.append(f'"{plot}.dat" index {i} using 1:2:3:4 with yerrorbars lc rgb "{colour}" pt 7 ps 0.4 notitle')
        drawn.append(f'"{plot}.dat" index {i} using 1:2 with lines lc rgb "{colour}" lw 1.5 title "{name}"')
    return "\n".join(lines) + "\nplot " + ", \\\n     ".join(drawn) + "\n"


def bars(folder):
    """How far each figure is on the right side of its bar: 1 is the bar."""
    with open(f"{folder}/results.json") as file:
        rows = [row for row in json.load(file) if row.get("bar") and "median" in row]
    if not rows:
        return None
    with open(f"{folder}/bars.dat", "w") as file:
        for i, row in enumerate(reversed(rows)):
            value = row.get("ratio", row["median"])
            if row["sense"] == "at most":
                share = row["bar"] / value if value > 0 else math.inf
            else:
                share = value / row["bar"]
            print(i, f"{min(max(share, 0.11), 18):.4g}", '"' + row["name"].replace("_", " ").replace('"', "") + '"', file=file)
    return f"""set terminal svg size 900,{80 + 18 * len(rows)} font "sans-serif,10" background "white"
set output "bars.svg"
set title "Times better than the bar (right of 1: reached)"
set lmargin at screen 0.58
unset key
set logscale x 2
set xrange [0.1:20]
set xtics (0.125, 0.25, 0.5, 1, 2, 4, 8, 16)
set yrange [-1:{len(rows)}]
set grid x
set arrow 1 from 1,-1 to 1,{len(rows)} nohead lc rgb "black"
plot "bars.dat" using 2:1:ytic(3) with points pt 7 ps 0.8 lc rgb "{COLOURS[0]}" notitle
"""


def draw(folder, curves):
    scripts = {"bars": text for text in [bars(folder)] if text}
    for plot in dict.fromkeys(curve["plot"] for curve in curves):
        own = [curve for curve in curves if curve["plot"] == plot]
        with open(f"{folder}/{plot}.dat", "w") as file:
            for curve in own:
                print(f"# {curve['series']}: {curve['x']}, {curve['y']}, {curve.get('spread', 'quartiles')}", file=file)
                for point in curve["points"]:
                    print(*point, file=file)
                print("\n", file=file)
        scripts[plot] = script(plot, [curve["series"] for curve in own], own[0]["x"], own[0]["y"])
    for plot, text in scripts.items():
        with open(f"{folder}/{plot}.gp", "w") as file:
            file.write(text)
    if shutil.which("gnuplot") is None:
        print("no plots: gnuplot is not installed (scripts/setup --dev gets it)")
        return
    for plot in scripts:
        if subprocess.run(["gnuplot", f"{plot}.gp"], cwd=folder).returncode != 0:
            print(f"gnuplot could not draw {plot}")
    print(f"plots: {folder}/*.svg, their points in *.dat")
