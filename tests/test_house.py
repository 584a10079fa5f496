"""The house: pinned versions are what is installed, pairs agree, code is clean, make fails with one clear sentence."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from itertools import chain

import jupytext
import nbformat
import pytest
import yaml
from jupytext import TextFileContentsManager
from packaging.requirements import Requirement
from traitlets.config import PyFileConfigLoader

from tests.conftest import ROOT
from tools.lock import BOOK, installed, pins, python_floor, refused
from tools.notebooks import chapters, main, problems, run

DIRECT, LOCKED = pins(ROOT / "requirements.txt"), pins(ROOT / "requirements.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))


def run_in(folder, *command: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)


def test_installed_are_the_pinned_versions():
    wanted = DIRECT | LOCKED
    different = {
        name: f"{version} is installed, {wanted.get(name, 'nothing')} pinned (see tools/lock.py)"
        for name, version in installed(list(DIRECT)).items()
        if wanted.get(name) != version
    }
    assert different == {}


def test_everything_used_directly_is_installed():
    assert set(DIRECT) <= set(installed(list(DIRECT)))


def test_nothing_is_pinned_twice():
    assert set(DIRECT) & set(LOCKED) == set()


def test_library_and_its_build_accept_the_pinned_versions():
    assert PROJECT["build-system"]["requires"] == [f"setuptools=={LOCKED['setuptools']}"]
    wanted = [*PROJECT["project"]["dependencies"], *chain(*PROJECT["project"]["optional-dependencies"].values())]
    for requirement in map(Requirement, wanted):
        if requirement.name != PROJECT["project"]["name"]:  # an extra made of others
            assert DIRECT[requirement.name] in requirement.specifier, requirement


def test_the_extra_of_everything_is_made_of_the_others():
    extras = PROJECT["project"]["optional-dependencies"]
    (everything,) = map(Requirement, extras["all"])
    assert everything.extras == set(extras) - {"all"}


def made_up_package(folder, name: str, python: str):
    (folder / f"{name}-1.0.dist-info").mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Python: {python}\n"
    (folder / f"{name}-1.0.dist-info" / "METADATA").write_text(metadata)


def test_the_lock_refuses_what_the_oldest_python_cannot_install(tmp_path):
    assert python_floor() == "3.11.0"
    for name, python in {"newer": ">=3.11.5", "same": ">=3.11", "older": ">=3.9,!=3.10.*", "other": "<3.11"}.items():
        made_up_package(tmp_path, name, python)
    sentences = refused(["newer", "same", "older", "other", "missing"], [str(tmp_path)])
    assert [sentence.split()[0] for sentence in sentences] == ["newer", "other"]
    assert sentences[0] == "newer 1.0 needs Python >=3.11.5, but the book accepts 3.11.0: pin an older one"


def test_the_oldest_python_can_install_all_that_is_pinned():
    assert refused(installed([*DIRECT, BOOK])) == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The folder that holds the library as an installed wheel would, without the repository."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT / "lib", source / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    done = run_in(source, sys.executable, "-m", "pip", "install", *options, "--target", str(target), ".")
    assert done.returncode == 0, done.stderr
    return target


def test_a_wheel_holds_the_library_and_its_data_but_not_the_scripts_that_made_them(wheel):
    def files(folder):
        found = (path.relative_to(folder) for path in (folder / "lib").rglob("*"))
        return {path.as_posix() for path in found if "__pycache__" not in path.parts and (folder / path).is_file()}

    assert files(wheel) == {name for name in files(ROOT) if not re.match(r"lib/data/.*\.py$", name)}


LIGHT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
sys.path.insert(0, {folder!r})
import numpy as np
import lib.bias_variance, lib.precision_recall_gain, lib.staleness, lib.files, lib.arguments
assert lib.__file__.startswith({folder!r})
assert lib.precision_recall_gain.auprg_score([0, 1, 0, 1], [0.1, 0.9, 0.2, 0.8]) == 1
assert len(lib.staleness.update_log([[1.0, 2.0], [1.5, 3.0]])) == 4
"""


def test_the_metrics_need_no_more_than_the_minimal_dependencies(wheel, tmp_path):
    extras = chain(*PROJECT["project"]["optional-dependencies"].values())
    missing = {Requirement(extra).name for extra in extras} - {"joblib"}  # scikit-learn needs that itself
    script = LIGHT.format(missing=missing, folder=str(wheel))
    done = run_in(tmp_path, sys.executable, "-I", "-c", script)
    assert done.returncode == 0, done.stderr


def test_the_library_comes_from_this_folder():
    import lib

    assert lib.__file__ == str(ROOT / "lib" / "__init__.py")


@pytest.mark.parametrize(
    "text", chapters(), ids=lambda text: text.relative_to(ROOT / "book").with_suffix("").as_posix()
)
def test_text_and_notebook_of_a_chapter_agree(text):
    assert problems(text) == []


def test_code_is_clean():
    for arguments in (["check"], ["format", "--check"]):
        done = run_in(ROOT, sys.executable, "-m", "ruff", *arguments, "--no-cache", "--quiet", ".")
        assert done.returncode == 0, done.stdout + done.stderr


def test_no_ignored_file_is_part_of_the_library():
    listed = [f"lib/{name}" for name in ("bias_variance.py", "data/x.csv", "book.mplstyle")]
    assert run_in(ROOT, "git", "check-ignore", "--no-index", *listed).stdout == ""


def test_the_citation_names_what_the_book_is():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] == yaml.safe_load((ROOT / "_config.yml").read_text("utf8"))["title"]
    assert citation["version"] == distribution("deep-learning-systems-book").version


# make, on machines that lack something


@pytest.fixture
def clone(tmp_path):
    """A folder with what make reads before there is an environment."""
    for name in ("Makefile", "requirements.txt", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def stand_in(folder, script: str) -> str:
    """A command that plays a Python interpreter."""
    path = folder / "python-stand-in"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"PYTHON={path}"


@pytest.mark.parametrize("target", ["book", "test", "lab", "run", "bench", "experiments"])
def test_make_says_when_there_is_no_python(clone, target):
    done = run_in(clone, "make", target, "PYTHON=no-such-python")
    assert done.returncode != 0
    assert "error: there is no no-such-python here; install Python 3.11 or newer" in done.stderr
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize(("version", "accepted"), [((2, 7), False), ((3, 10), False), ((3, 11), True), ((4, 0), True)])
def test_make_says_when_python_is_too_old(clone, version, accepted):
    # a Python that takes itself for another version, and has no venv module
    pretend = f"import sys; sys.version_info = {version}; sys.modules['venv'] = None; exec(sys.argv[1])"
    script = (
        f'case "$1" in -V) echo Python {version[0]}.{version[1]};; *) exec {sys.executable} -c "{pretend}" "$2";; esac'
    )
    done = run_in(clone, "make", "book", stand_in(clone, script))
    assert done.returncode != 0
    too_old = f"is Python {version[0]}.{version[1]}, but the book needs Python 3.11 or newer"
    assert (too_old in done.stderr) != accepted
    assert ("apt install python3-venv" in done.stderr) == accepted
    assert not (clone / ".venv").exists()


def test_make_says_when_python_cannot_make_environments(clone):
    script = 'case "$2" in *ensurepip*) exit 1;; *) exit 0;; esac'
    done = run_in(clone, "make", "book", stand_in(clone, script))
    assert done.returncode != 0
    assert "apt install python3-venv" in done.stderr


def test_an_interrupted_installation_is_not_taken_for_a_finished_one(clone):
    (clone / "requirements.txt").write_text("no-such-package @ file:///no/such/place\n")
    for _ in range(2):
        done = run_in(clone, "make", "book", f"PYTHON={sys.executable}", PIP_NO_INDEX="1")
        assert done.returncode != 0
        assert "error: the packages could not be installed" in done.stderr
        assert not (clone / ".venv" / "installed").exists()


# tools/notebooks.py, JupyterLab


def test_opening_and_saving_a_chapter_in_jupyterlab_changes_nothing(tmp_path):
    for path in (ROOT / "jupytext.toml", *chapters(), *(text.with_suffix(".ipynb") for text in chapters())):
        (tmp_path / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    config = PyFileConfigLoader("lab_config.py", path=str(ROOT / "tools")).load_config()
    contents = TextFileContentsManager(root_dir=str(tmp_path), config=config)
    for text in chapters():
        for half in (text, text.with_suffix(".ipynb")):
            name = half.relative_to(ROOT).as_posix()
            model = contents.get(name, type="notebook", content=True)
            model["content"]["metadata"]["language_info"]["version"] = "3.99.0"  # as Lab does when a kernel starts
            contents.save(model, name)
            for saved in (text, text.with_suffix(".ipynb")):
                assert (tmp_path / saved.relative_to(ROOT)).read_text("utf8") == saved.read_text("utf8"), (name, saved)


HEADER = """\
---
jupytext:
  formats: ipynb,md:myst
kernelspec:
  display_name: Python 3
  name: python3
---

# A chapter

"""
CELL = "```{{code-cell}} ipython3\n{}\n```\n\n"


@pytest.fixture(scope="module")
def chapter(tmp_path_factory):
    """A small chapter, run once."""
    text = tmp_path_factory.mktemp("book") / "chapter.md"
    text.write_text(HEADER + CELL.format("x = 8\nprint(x)") + CELL.format("x") + CELL.format("x"))
    assert run(text)
    return text


def test_running_again_gives_the_same_bytes(chapter):
    before = chapter.read_bytes(), chapter.with_suffix(".ipynb").read_bytes()
    assert problems(chapter) == []
    assert run(chapter)
    assert (chapter.read_bytes(), chapter.with_suffix(".ipynb").read_bytes()) == before


def test_a_stored_notebook_holds_nothing_that_varies(chapter):
    notebook = nbformat.read(chapter.with_suffix(".ipynb"), 4)
    assert notebook.metadata.kernelspec.display_name == "Python 3 (ipykernel)"
    assert "version" not in notebook.metadata.language_info
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_a_failing_cell_stores_nothing_and_is_named(chapter, capsys):
    broken, stored = chapter.with_name("broken.md"), chapter.with_name("broken.ipynb")
    broken.write_text(HEADER + CELL.format("y = 1") + CELL.format("y / 0"))
    stored.write_text("as it was")
    assert main(["run", str(broken)]) == 1
    assert stored.read_text() == "as it was"
    message = capsys.readouterr().err
    assert "y / 0" in message
    assert "ZeroDivisionError" in message


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text, notebook: text.write_text(text.read_text().replace("x = 8", "x = 9")), "same cells"),
        (lambda text, notebook: text.write_text(text.read_text().replace("# A chapter", "# Another")), "same cells"),
        (lambda text, notebook: notebook.cells[1].update(execution_count=None), "not executed"),
        (lambda text, notebook: notebook.cells[1].update(execution_count=3), "not executed"),
        (lambda text, notebook: notebook.cells[1].metadata.update(execution={}), "should not be stored"),
        (lambda text, notebook: notebook.cells[1].metadata.update(tags=["nbval-skip"]), "from being compared"),
        (
            lambda text, notebook: notebook.cells[1].update(source="x\n# NBVAL_IGNORE_OUTPUT"),
            "from being compared",
        ),
        (
            lambda text, notebook: notebook.cells[1].outputs.append(
                nbformat.v4.new_output("stream", name="stderr", text="a warning\n")
            ),
            "stderr: a warning",
        ),
        (
            lambda text, notebook: notebook.cells[1].outputs.append(
                nbformat.v4.new_output("error", ename="ValueError", evalue="", traceback=[])
            ),
            "stored error ValueError",
        ),
    ],
)
def test_a_pair_that_disagrees_is_noticed(chapter, tmp_path, change, problem):
    text = tmp_path / "chapter.md"
    shutil.copy(chapter, text)
    notebook = nbformat.read(chapter.with_suffix(".ipynb"), 4)
    change(text, notebook)
    jupytext.write(notebook, text.with_suffix(".ipynb"))
    assert any(problem in found for found in problems(text)), problems(text)


def test_a_missing_notebook_is_noticed(chapter, tmp_path):
    shutil.copy(chapter, tmp_path / "chapter.md")
    assert problems(tmp_path / "chapter.md") == ["chapter.ipynb is missing"]
