"""The steps of README's "Add a chapter", followed to the letter in a copy of the book, end green."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = """
# A sixth problem

(part-6-1)=
## 6.1 What is the mean of the first whole numbers?

```{code-cell} ipython3
import matplotlib.pyplot as plt
import numpy as np

from lib.notebook import check, glue_values, show

numbers = np.arange(1, 12)
glue_values(mean=numbers.mean(), count=len(numbers))
check("it is half of the sum of the first and the last", numbers.mean() == (numbers[0] + numbers[-1]) / 2)
```

The mean of {glue:text}`count` numbers is {glue:text}`mean:.1f`.

```{code-cell} ipython3
figure, axes = plt.subplots()
axes.plot(numbers)
axes.set(xlabel="place", ylabel="number")
show(figure, f"A straight line that rises to {numbers[-1]} at its right end.")
```
"""
DEFINITIONS = """
1_answers:
  "the assignment: its numbered parts":
    - 6.1 What
"""


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


@pytest.fixture
def book(tmp_path) -> Path:
    """A copy of all that the repository holds, or would hold after a commit."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():  # not one that was deleted
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_steps_to_a_new_chapter_end_green(book):
    folder = book / "book" / "problem"
    folder.mkdir()
    # 1. what an existing page has above its title, and the text
    header = re.match(
        r"---\n.*?(?=^# )", (book / "book/bias_variance/1_answers.md").read_text("utf8"), re.DOTALL | re.M
    )
    (folder / "1_answers.md").write_text(header.group() + PAGE, "utf8")
    # 2. the table of contents, and a link to its part
    toc = (book / "_toc.yml").read_text("utf8")
    last = list(re.finditer(r"  - caption: ", toc))[1].start()  # the problems stand in the first part
    (book / "_toc.yml").write_text(f"{toc[:last]}      - file: book/problem/1_answers.ipynb\n{toc[last:]}", "utf8")
    with (book / "book" / "intro.md").open("a", encoding="utf8") as introduction:
        introduction.write("\nThere is also a sixth problem: {ref}`part-6-1`.\n")
    # 4. the number of the part defines something
    (folder / "definitions.yml").write_text(DEFINITIONS, "utf8")
    # 5. make run, make test: of the latter what looks at pages, without a browser
    assert "book/problem/1_answers.md: executed" in run(book, "tools.notebooks", "run")
    assert " 0 bad" in run(book, "tools.notebooks", "check")
    tests = [
        "tests/test_book.py",
        "tests/test_first_cell.py",
        "tests/test_typed_numbers.py",
        "book/problem/1_answers.ipynb",
    ]
    assert " failed" not in run(book, "pytest", "-n0", "-q", *tests, "-k", "every or no_ or Cell")
