#!/usr/bin/env python3
"""What requests notice of versions that take over on a node under load.

CLIENTS connections ask without a pause, each for the same 16 tokens of a text that no edit is about. Still windows and
windows with flips alternate; a flip is a rollback, which trains nothing, so the node loads another version and serves
from it. Of each window: the longest answer and quantiles. A decode step is what a token more takes under that load.

usage: flip.py HOST:PORT NODE-PID CLIENTS SECONDS ROUNDS AMEND...      AMEND...: the command line of the client, without a verb
"""
import http.client
import json
import statistics
import subprocess
import sys
import threading
import time

import results

TOKENS = 16


def body(tokens):
    return json.dumps({"prompt": "The road goes on along the river and then", "max_tokens": tokens, "temperature": 0})


class Client(threading.Thread):
    def __init__(self, address, tokens):
        super().__init__(daemon=True)
        self.address, self.stopped = address, False
        self.tokens, self.body = tokens, body(tokens)
        self.answers, self.failed = [], 0  # answers: (began, seconds)

    def ask(self, connection):
        began = time.monotonic()
        connection.request("POST", "/v1/completions", self.body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200 or json.loads(answer)["usage"]["completion_tokens"] != self.tokens:
            raise OSError(f"status {response.status}: {answer[:200]!r}")
        self.answers.append((began, time.monotonic() - began))

    def run(self):
        connection = http.client.HTTPConnection(self.address, timeout=60)
        while not self.stopped:
            try:
                self.ask(connection)
            except (OSError, http.client.HTTPException) as why:
                print(f"  a request failed: {why}", file=sys.stderr)
                self.failed += 1
                connection.close()
                time.sleep(0.1)


class Load:
    """So many clients, for the length of a with statement."""

    def __init__(self, address, count, tokens):
        self.clients = [Client(address, tokens) for _ in range(count)]

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.stopped = True
        for client in self.clients:
            client.join()

    def answers(self):
        return [answer for client in self.clients for answer in client.answers]


def resident_mb(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def version_of(address):
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return next(int(float(line.split()[1])) for line in text.splitlines() if line.startswith("amend_memory_version "))


def flip_until(end, amend, address, versions):
    flips = 0
    while time.monotonic() < end:
        newest = version_of(address)
        subprocess.run([*amend, "-q", "version", "rollback", str(versions[flips % len(versions)]), "--reason", "bench"], check=True, capture_output=True)
        while version_of(address) == newest and time.monotonic() < end + 10:
            time.sleep(0.02)
        flips += 1
        time.sleep(0.3)
    return flips


def inside(samples, window):
    return [seconds for at, seconds in samples if window[0] <= at < window[1]]


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main():
    address, pid, count, seconds, rounds, amend = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]), sys.argv[6:]
    listed = json.loads(subprocess.run([*amend, "version", "list", "-o", "json"], check=True, capture_output=True, text=True).stdout)
    versions = [v["version"] for v in listed][-4:]
    with Load(address, count, 1) as load:
        time.sleep(seconds)
    first = statistics.median(took for _, took in load.answers())
    still, flipping, flips = [], [], 0
    with Load(address, count, TOKENS) as load:
        flip_until(time.monotonic() + 3, amend, address, versions)  # warms up: the versions have been loaded once
        before = resident_mb(pid)
        for _ in range(rounds):
            began = time.monotonic()
            time.sleep(seconds)
            still.append((began, time.monotonic()))
            began = time.monotonic()
            flips += flip_until(began + seconds, amend, address, versions)
            flipping.append((began, time.monotonic()))
        after = resident_mb(pid)
    subprocess.run([*amend, "-q", "version", "resume"], check=True, capture_output=True)
    answers, failed = load.answers(), sum(client.failed for client in load.clients)
    step = (statistics.median(took for window in still for took in inside(answers, window)) - first) / (TOKENS - 1)
    print(f"  {flips} flips under {count} clients, {len(answers)} answers, {failed} failed; a decode step {1e3 * step:.1f} ms, "
          f"resident {before:.0f} MB before, {after:.0f} MB after")
    for name, of, bar in (("longest answer", max, 1), ("90th percentile", lambda values: percentile(values, 0.9), 1), ("median", statistics.median, None)):
        pairs = [(of(inside(answers, a)), of(inside(answers, b))) for a, b in zip(flipping, still)]
        print(f"  {name} with flips {1e3 * statistics.median(a for a, _ in pairs):.0f} ms, without {1e3 * statistics.median(b for _, b in pairs):.0f} ms")
        results.report(f"version flip under load, {name}, longer by", "decode steps", [(a - b) / step for a, b in pairs], bar=bar)
    results.report("version flips, requests answered", "of those asked", [len(answers) / (len(answers) + failed)], sense="at least", bar=1)
    results.report("version flips, memory after", "MB", [after], [before], "before", bar=1.05)


main()
