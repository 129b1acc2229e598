#!/usr/bin/env python3
"""Splits edits with questions on the same subject into rows to measure and a corpus to fit on.

usage: unseen_split.py SAME_SUBJECT.jsonl CALIBRATION.tsv ROWS.jsonl CORPUS.tsv

Rows that share a subject, or the form of a prompt or rephrase (its words without the subject's), belong together; the
first 500 of the largest part are measured. What is left, less the rows that share a form of any question with those,
gives the corpus's groups; its unrelated texts are CALIBRATION's. This is the split of docs/method.md, "What it reaches".
"""
import json
import re
import sys

ROWS = 500


def words(text):
    return re.sub(r"[^\w ]", " ", text.lower()).split()


def form(question, subject):
    of_subject = set(words(subject))
    return " ".join(w for w in words(question) if w not in of_subject)


def same_subject_questions(row):
    return [item["prompt"] for item in row.get("locality", []) if item.get("kind") == "same_subject"]


def asked_for_the_edit(row):
    return [row["prompt"]] + row["rephrase"]


def parts_of(rows):
    """The part of each row, as the index of one of its rows (union-find)."""
    parent = list(range(len(rows)))

    def find(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first = {}
    for i, row in enumerate(rows):
        subject = row["subject"]
        keys = [("subject", " ".join(words(subject)))]
        keys += [("form", form(question, subject)) for question in asked_for_the_edit(row)]
        for key in keys:
            if key in first:
                parent[find(i)] = find(first[key])
            else:
                first[key] = i
    return [find(i) for i in range(len(rows))]


def all_forms(row):
    return {form(question, row["subject"]) for question in asked_for_the_edit(row) + same_subject_questions(row)}


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__.split("\n\n")[1])
    with open(sys.argv[1]) as f:
        rows = [json.loads(line) for line in f]
    parts = parts_of(rows)
    largest = max(sorted(set(parts)), key=parts.count)
    measured = [row for row, part in zip(rows, parts) if part == largest][:ROWS]
    taken = set().union(*[all_forms(row) for row in measured])
    rest = [row for row, part in zip(rows, parts) if part != largest and not all_forms(row) & taken]
    with open(sys.argv[3], "w") as out:
        for row in measured:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    with open(sys.argv[2]) as f, open(sys.argv[4], "w") as out:
        for row in rest:
            questions = [("prompt", row["prompt"])] + [("rephrase", q) for q in row["rephrase"]]
            questions += [("other", q) for q in same_subject_questions(row)]
            for kind, question in questions:
                out.write(f"{kind}\t{row['id']}\t{row['subject']}\t{question}\n")
        out.writelines(line for line in f if line.startswith("unrelated\t"))
    print(f"{len(measured)} rows, {len(rest)} groups to fit on")


if __name__ == "__main__":
    main()
