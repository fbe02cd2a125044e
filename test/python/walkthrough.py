"""The lesson of docs/walkthrough.md: its blocks of code, run in order, and the notebook made of it.

A block of python is run as it is. A block of sql is run by the function run() that the lesson defines.
A block of text after one of them is what it prints.

    walkthrough.py notebooks          writes docs/examples/*.ipynb
    walkthrough.py outputs < FILE     puts what a run printed (JSON, a list) into the documents
"""
import json
import re
import sys

from documents import DOCS

LESSONS = {"walkthrough.md": "from-orders-to-model.ipynb", "walkthrough.ru.md": "from-orders-to-model.ru.ipynb"}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
OUTPUT = re.compile(r"\n\n```text\n(.*?)^```$", re.M | re.S)


class Cell:
    """Text (kind "markdown"), or code with what it prints."""

    def __init__(self, kind, source, output=None):
        self.kind, self.source, self.output = kind, source, output

    def code(self):
        return f'run("""\n{self.source}""")\n' if self.kind == "sql" else self.source


def cells(document):
    """What a document consists of, in order."""
    found, at = [], 0
    for block in BLOCK.finditer(document):
        kind, source = block.groups()
        if kind == "text":
            if found and found[-1].kind != "markdown" and not document[at: block.start()].strip():
                found[-1].output = source
                at = block.end()
            continue
        if text := document[at: block.start()].strip():
            found.append(Cell("markdown", text))
        found.append(Cell(kind, source))
        at = block.end()
    if text := document[at:].strip():
        found.append(Cell("markdown", text))
    return found


def code_cells(document):
    return [cell for cell in cells(document) if cell.kind != "markdown"]


def lines(text):
    return text.rstrip("\n").splitlines(keepends=True)


def links_from_examples(text):
    """Links of a document in docs/, for a notebook in docs/examples/."""
    return re.sub(r"\]\((?!https?:|#)([^)]+)\)",
                  lambda m: f"]({m[1][9:]})" if m[1].startswith("examples/") else f"](../{m[1]})", text)


def notebook(document):
    """The document as a notebook (nbformat 4.5), with outputs."""
    result, count = [], 0
    for number, cell in enumerate(cells(document)):
        entry = {"cell_type": "markdown", "id": f"cell-{number:02}", "metadata": {},
                 "source": lines(links_from_examples(cell.source))}
        if cell.kind != "markdown":
            count += 1
            outputs = [{"name": "stdout", "output_type": "stream", "text": lines(cell.output + "\n")}] if cell.output else []
            entry.update(cell_type="code", execution_count=count, outputs=outputs, source=lines(cell.code()))
        result.append(entry)
    return {"cells": result, "nbformat": 4, "nbformat_minor": 5,
            "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                         "language_info": {"name": "python"}}}


def notebook_text(document):
    return json.dumps(notebook(document), ensure_ascii=False, indent=1) + "\n"


def write_notebooks():
    for lesson, name in LESSONS.items():
        (DOCS / "examples" / name).write_text(notebook_text((DOCS / lesson).read_text()))


def with_outputs(document, outputs):
    """The document with these outputs (a list, None or '' for none) in place of its own."""
    document = OUTPUT.sub("", document)
    parts, at = [], 0
    blocks = list(BLOCK.finditer(document))
    assert len(blocks) == len(outputs), (len(blocks), len(outputs))
    for block, output in zip(blocks, outputs):
        parts.append(document[at: block.end()])
        at = block.end()
        if output:
            parts.append(f"\n\n```text\n{output.rstrip()}\n```")
    return "".join(parts) + document[at:]


def write_outputs(outputs):
    for lesson in LESSONS:
        path = DOCS / lesson
        path.write_text(with_outputs(path.read_text(), outputs))


if __name__ == "__main__":
    if sys.argv[1:] == ["outputs"]:
        write_outputs(json.load(sys.stdin))
    elif sys.argv[1:] != ["notebooks"]:
        sys.exit(__doc__)
    write_notebooks()
