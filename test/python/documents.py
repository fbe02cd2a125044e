"""Files that documents quote, and blocks of code in documents.

A fenced block that follows a line with a link to a file of docs/examples, and nothing else,

    [examples/clients/read_features.py](examples/clients/read_features.py):

is that file's text. `python3 test/python/documents.py` writes it so; the tests only compare.
"""
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
QUOTED = re.compile(r"^\[[^\]\n]*\]\((examples/[^)\n]+)\):\n\n```(\w*)\n(.*?)^```$", re.M | re.S)


def quotations(document):
    """(path below docs, quoted text) of each quotation."""
    return [(path, text) for path, _, text in QUOTED.findall(document)]


def renewed(document):
    """The document with each quotation as its file is now."""
    def quote(match):
        head = match.group(0)[: match.start(3) - match.start(0)]
        return head + (DOCS / match.group(1)).read_text() + "```"
    return QUOTED.sub(quote, document)


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or sorted(DOCS.glob("*.md")):
        path.write_text(renewed(path.read_text()))
