"""The lesson of docs/walkthrough.md: its notebook is executed, from the first cell to the last, and prints what
it shows; the Russian lesson has the same code, and the notebooks are made of the lessons as they are.

Where the outputs have changed and are right: walkthrough.py outputs < .../walkthrough_test/outputs.json"""
import json
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import tap
from documents import DOCS
from walkthrough import LESSONS, code_cells, notebook_text

DIR = Path(os.environ["FE_DIR"])


def check_documents():
    documents = {lesson: (DOCS / lesson).read_text() for lesson in LESSONS}
    english, *others = [[(cell.kind, cell.source, cell.output) for cell in code_cells(document)]
                        for document in documents.values()]
    tap.ok(len(english) > 10 and all(other == english for other in others),
           "the lesson has the same code and outputs in both languages")
    for lesson, name in LESSONS.items():
        tap.ok((DOCS / "examples" / name).read_text() == notebook_text(documents[lesson]),
               f"{name} is made of {lesson} as it is", "run python3 test/python/walkthrough.py notebooks")
    return documents


def printed(cell, stream="stdout"):
    return "".join(output["text"] for output in cell["outputs"] if output.get("name") == stream)


def execute(path):
    """The executed notebook, and what was wrong with it."""
    os.environ.update(REDIS_URL=f"redis://127.0.0.1:{os.environ['FE_REDIS_PORT']}", IPYTHONDIR=str(DIR / "ipython"),
                      JUPYTER_RUNTIME_DIR=str(DIR / "jupyter"), JUPYTER_PLATFORM_DIRS="1",
                      LOKY_MAX_CPU_COUNT="1")  # else scikit-learn's joblib warns where it cannot count cores
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    try:
        NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(DIR))
    except CellExecutionError as error:
        return notebook, str(error)
    return notebook, None


def check_notebook(name, document):
    executed, error = execute(DOCS / "examples" / name)
    tap.ok(error is None, f"{name} runs to its end", error or "")
    cells = [cell for cell in executed.cells if cell.cell_type == "code"]
    outputs = [printed(cell).rstrip() for cell in cells]
    (DIR / "outputs.json").write_text(json.dumps(outputs, ensure_ascii=False))
    for number, (cell, output) in enumerate(zip(code_cells(document), outputs), 1):
        want = (cell.output or "").rstrip()
        tap.ok(output == want, f"cell {number} prints what it shows", "" if output == want else f"{want}\n---\n{output}")
    warnings = "".join(printed(cell, "stderr") for cell in cells)
    tap.ok(not warnings, "and nothing else", warnings)


def main():
    documents = check_documents()
    lesson, name = next(iter(LESSONS.items()))
    check_notebook(name, documents[lesson])
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
