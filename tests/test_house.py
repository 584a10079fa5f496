"""The house: pinned versions are what is installed, pairs agree, code is clean, make fails with one clear sentence."""

from __future__ import annotations

import ast
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from importlib.metadata import distribution, version
from itertools import chain
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from jupytext import TextFileContentsManager
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from traitlets.config import PyFileConfigLoader

from tests.conftest import ROOT
from tools.lock import BOOK, installed, pins, python_floor, refused
from tools.notebooks import chapters, main, name_cells, orphans, problems, run, write
from tools.outputs import as_javascript
from tools.typed_numbers import pages

DIRECT, LOCKED = pins(ROOT / "requirements.txt"), pins(ROOT / "requirements.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))


def read(name: str) -> str:
    return (ROOT / name).read_text("utf8")


def run_in(folder, *command: str, **environment: str) -> subprocess.CompletedProcess:
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    return subprocess.run(command, cwd=folder, env={**outside, **environment}, capture_output=True, text=True)


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


# the package of a module that is not called like it, or that always comes with it
PACKAGES = {
    "PIL": "matplotlib",
    "arff": "openml",
    "requests": "openml",
    "sklearn": "scikit-learn",
    "threadpoolctl": "scikit-learn",
}


def imported(path: Path) -> set[str]:
    """The packages that a file of lib imports, anywhere in it, beside the standard library's and lib."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    packages = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"lib"}
    return {PACKAGES.get(package, package) for package in packages}


def test_dependencies_are_what_the_library_imports():
    extras = PROJECT["project"]["optional-dependencies"]
    named = {Requirement(line).name for line in [*PROJECT["project"]["dependencies"], *chain(*extras.values())]}
    used = set().union(*(imported(path) for path in (ROOT / "lib").rglob("*.py")))
    # in an environment without MyST-NB, lib.notebook glues nothing; Dask is joblib's, by name
    assert used - {"myst_nb"} | {"distributed"} == named - {PROJECT["project"]["name"]}


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
    stored = nbformat.read(text.with_suffix(".ipynb"), 4)
    ids = [cell.id for cell in stored.cells]
    name_cells(stored)
    assert [cell.id for cell in stored.cells] == ids, "make run would change it although nothing has changed"


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


# README.md, and what it describes

README = (ROOT / "README.md").read_text("utf8")


def versions() -> list[str]:
    """The Pythons that pyproject.toml accepts, as 3.11."""
    accepted = SpecifierSet(PROJECT["project"]["requires-python"])
    return [f"3.{minor}" for minor in range(40) if f"3.{minor}" in accepted]


@pytest.mark.parametrize(
    "name", ["README.md", "Makefile", "tools/setup.sh", "book/intro.md", "book/reproducibility.md"]
)
def test_pages_and_messages_name_the_pythons_that_will_do(name):
    text = (ROOT / name).read_text("utf8")
    assert set(re.findall(r"\b3\.\d+ to 3\.\d+", text)) == {f"{versions()[0]} to {versions()[-1]}"}
    assert not re.search(r"3\.\d+ (?:or|and) (?:newer|later|up)|from 3\.\d+ on", text)
    tried = re.findall(r"\b3\.\d+(?:\.\d+)?\b", text.partition("tried were")[2].partition(". ")[0])
    assert all(version in SpecifierSet(PROJECT["project"]["requires-python"]) for version in tried)


def test_the_pythons_that_will_do_are_those_that_are_tested():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text("utf8"))
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == versions()
    assert (ROOT / ".binder" / "runtime.txt").read_text().strip().removeprefix("python-") in versions()


def test_the_size_of_an_installation_is_as_said():
    if not version("torch").endswith("+cpu"):  # else it is the smaller one
        stated = {
            float(size) for text in (README, read("tools/setup.sh")) for size in re.findall(r"about (\d+) GB", text)
        }
        assert len(stated) == 1
        used = sum(path.lstat().st_blocks * 512 for path in Path(sys.prefix).rglob("*"))
        assert used / 1e9 == pytest.approx(stated.pop(), abs=0.75)


def test_every_link_and_file_that_the_readme_names_is_there():
    anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^#+ (.*)", README, re.M)}
    for place in re.findall(r"\]\(([^)\s]+)\)", README):
        if place.startswith("#"):
            assert place[1:] in anchors, place
        elif not place.startswith("https://"):
            assert (ROOT / place).exists(), place
    for name in re.findall(r"`((?:lib|book|tests|tools|\.ci|\.github)/[\w./]+)`", README):
        if "problem" not in name:  # the name that stands for that of a chapter to be added
            assert (ROOT / name).exists() or (ROOT / f"{name}.py").exists(), name


def test_the_readme_names_every_module_of_the_library():
    modules = [path for path in (ROOT / "lib").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    links = set(re.findall(r"\]\(lib/([^)]+)\)", README))
    assert {path.name for path in modules} - {"__init__.py"} == links


def test_every_target_of_make_that_the_readme_names_is_there_and_every_one_is_named():
    defined = set(re.search(r"^\.PHONY: (.*)", read("Makefile"), re.M).group(1).split())
    named = set(re.findall(r"(?:^    |`)make ([a-z]+)\b", README, re.M))
    assert named <= defined
    assert defined - named <= {"environment"}


# make, on machines that lack something


@pytest.fixture
def clone(tmp_path):
    """A folder with what make reads before there is an environment."""
    (tmp_path / "tools").mkdir()
    for name in ("Makefile", "requirements.txt", "requirements.lock", "pyproject.toml", "tools/setup.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
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
    assert "error: there is no no-such-python here; install Python 3.11 to 3.14" in done.stderr
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize("version", [(2, 7), (3, 10), (3, 11), (3, 12), (3, 14), (3, 15), (4, 0)])
def test_make_says_when_python_is_too_old_or_too_new(clone, version):
    # a Python that takes itself for another version, and has no venv module
    pretend = f"import sys; sys.version_info = {version}; sys.modules['venv'] = None; exec(sys.argv[1])"
    name = f"{version[0]}.{version[1]}"
    script = f'case "$1" in -V) echo Python {name};; *) exec "{sys.executable}" -c "{pretend}" "$2";; esac'
    done = run_in(clone, "make", "book", stand_in(clone, script))
    accepted = name in SpecifierSet(PROJECT["project"]["requires-python"])
    assert done.returncode != 0
    assert (f"is Python {name}, but the book needs Python 3.11 to 3.14" in done.stderr) != accepted
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


# An interpreter whose environments have a pip that says what it is asked for, and a command.
PYTHON_WITH_PIP = f"""\
case "$1 $2" in
"-m venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python && cd .venv/bin || exit
  printf '#!%s/python\\n' "$PWD" > tool && chmod +x tool;;
"-m pip") shift 2; [ "$1" = install ] && echo "pip $*" >> pip.log;;
"- "*) exec "{sys.executable}" "$@";;
".venv/bin/tool "*) echo "$0 $1";;
esac
exit 0"""


def test_a_folder_that_was_moved_or_copied_with_its_environment_is_set_right(clone, tmp_path_factory):
    python = stand_in(clone, PYTHON_WITH_PIP)
    assert run_in(clone, "make", "environment", python).returncode == 0
    assert (clone / ".venv" / "installed").read_text().strip() == str(clone / ".venv")
    (clone / "pip.log").unlink()
    assert "moved" not in run_in(clone, "make", "environment", python).stdout
    assert not (clone / "pip.log").exists()  # nothing to do

    moved = tmp_path_factory.mktemp("other") / "Mein Büch, 2"
    shutil.copytree(clone, moved, symlinks=True)
    done = run_in(moved, "make", "environment", python)
    assert done.returncode == 0, done.stderr
    assert f"copied or moved: .venv, made in {clone}/.venv, is set right" in done.stdout
    assert "-e ." in (moved / "pip.log").read_text()  # lib is imported from here, not from there
    assert run_in(moved, ".venv/bin/tool").stdout == f"{moved}/.venv/bin/python .venv/bin/tool\n"
    assert (moved / ".venv" / "installed").read_text().strip() == str(moved / ".venv")
    assert "moved" not in run_in(moved, "make", "environment", python).stdout

    shutil.move(moved, moved.with_name("third"))  # and its requirements have changed meanwhile
    os.utime(moved.with_name("third") / "requirements.txt", (4e9, 4e9))
    assert run_in(moved.with_name("third"), "make", "environment", python).returncode == 0
    assert (moved.with_name("third") / "pip.log").read_text().splitlines()[-1].endswith("-r requirements.txt")


def test_what_make_runs_imports_the_library_of_its_folder(clone):
    python_of(clone, 'echo "PYTHONPATH is $PYTHONPATH"')
    assert run_in(clone, "make", "run", PYTHONPATH="/elsewhere").stdout == f"PYTHONPATH is {clone}\n"


def python_of(clone, script: str) -> None:
    """An environment that is set up, and whose Python is this script."""
    assert run_in(clone, "make", "environment", stand_in(clone, PYTHON_WITH_PIP)).returncode == 0
    (clone / ".venv" / "bin" / "python").write_text(f"#!/bin/sh\n{script}\n")


def test_fonts_of_figures_are_kept_in_the_folder_and_not_in_a_home_that_may_be_read_only(clone):
    python_of(clone, 'echo "$MPLCONFIGDIR"')
    assert run_in(clone, "make", "run", HOME="/dev/null").stdout == f"{clone}/.venv/matplotlib\n"


def test_make_experiments_says_that_all_are_stored_and_how_to_make_them_anew(clone):
    python_of(clone, 'echo "$*"')
    first, last = run_in(clone, "make", "experiments", "JOBS=2").stdout.splitlines()
    assert first == "-m lib.experiments run all --profile full --jobs 2"
    command = last.partition("To train anew: ")[2]
    assert command.endswith(" -m lib.experiments run all --profile full --fresh") and command in README
    python_of(clone, "exit 130")  # interrupted
    done = run_in(clone, "make", "experiments")
    assert done.returncode and "stored" not in done.stdout


# tools/notebooks.py, JupyterLab


def rerun_in_jupyterlab(cell: dict) -> None:
    """Do to a cell's outputs what a rerun in JupyterLab does: numbers pass JavaScript, Plotly draws its own picture."""
    for output in cell.get("outputs", []):
        output["data"] = as_javascript(output["data"]) if "data" in output else None
        if output["data"] is None:
            del output["data"]
        elif "application/vnd.plotly.v1+json" in output["data"]:
            output["data"]["image/png"] = "a picture of Plotly's own"


def test_running_and_saving_a_chapter_in_jupyterlab_changes_nothing(tmp_path):
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
            for cell in model["content"]["cells"]:
                rerun_in_jupyterlab(cell)
            contents.save(model, name)
            for saved in (text, text.with_suffix(".ipynb")):
                assert (tmp_path / saved.relative_to(ROOT)).read_text("utf8") == saved.read_text("utf8"), (name, saved)


def test_what_a_rerun_in_jupyterlab_changes_is_saved(chapter, tmp_path):
    for path in (ROOT / "jupytext.toml", chapter, chapter.with_suffix(".ipynb")):
        shutil.copy(path, tmp_path)
    config = PyFileConfigLoader("lab_config.py", path=str(ROOT / "tools")).load_config()
    contents = TextFileContentsManager(root_dir=str(tmp_path), config=config)
    model = contents.get("chapter.ipynb", type="notebook", content=True)
    first, second = [cell for cell in model["content"]["cells"] if cell["cell_type"] == "code"][:2]
    first["source"], first["outputs"][0]["text"] = "x = 9\nprint(x)", "9\n"
    second["outputs"][0]["data"]["text/plain"] = "9"
    contents.save(model, "chapter.ipynb")
    saved = nbformat.read(tmp_path / "chapter.ipynb", 4)
    outputs = [cell.outputs[0] for cell in saved.cells if cell.cell_type == "code"]
    assert [outputs[0].text, outputs[1].data["text/plain"], outputs[2].data["text/plain"]] == ["9\n", "9", "8"]


def test_jupyterlab_opens_the_introduction_and_asks_no_other_host():
    config = PyFileConfigLoader("lab_config.py", path=str(ROOT / "tools")).load_config()
    assert (ROOT / config.LabApp.default_url.removeprefix("/lab/tree/")).samefile(ROOT / "book" / "intro.ipynb")
    settings = json.loads((Path(config.LabApp.app_settings_dir) / "overrides.json").read_text("utf8"))
    schemas = Path(sys.prefix, "share", "jupyter", "lab", "schemas")
    for plugin, values in settings.items():  # a name that JupyterLab does not know would have no effect
        package, _, name = plugin.partition(":")
        schema = json.loads((schemas / package / f"{name}.json").read_text("utf8"))
        assert set(values) <= set(schema["properties"])
    assert settings["@jupyterlab/apputils-extension:notification"] == {"checkForUpdates": False, "fetchNews": "false"}


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


@pytest.mark.parametrize("page", ["book/glossary.md", "book/bibliography.md", "README.md"])
def test_a_page_without_cells_is_not_run_but_named(page, capsys):
    before = (ROOT / page).read_bytes()
    with pytest.raises(SystemExit) as stopped:
        main(["run", str(ROOT / page)])
    assert stopped.value.code == 2
    assert f"error: {page}: no chapter" in capsys.readouterr().err
    assert (ROOT / page).read_bytes() == before
    assert not (ROOT / page).with_suffix(".ipynb").exists()


@pytest.mark.parametrize("given", ["book/nope.md", "data", "book", "book/bias_variance/", "lib/datasets.py", "."])
def test_what_is_no_page_at_all_is_named_as_it_was_given(given, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["run", given])
    assert stopped.value.code == 2
    said = f"error: {Path(given)}: no chapter; name the text of one, such as book/data.md"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "folder", [".ipynb_checkpoints", "_build", "problem/.ipynb_checkpoints", ".virtual_documents/a"]
)
def test_what_tools_leave_in_the_book_is_no_chapter(chapter, tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True)
    for path in (chapter, chapter.with_suffix(".ipynb")):
        shutil.copy(path, tmp_path / folder / path.name.replace("chapter", "chapter-checkpoint"))
    assert chapters(tmp_path) == orphans(tmp_path) == pages(tmp_path) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\n" + text,
        lambda text: re.sub(rb"(jupytext:\n(?:  .*\n)+)(kernelspec:\n(?:  .*\n)+)", rb"\2\1", text),
    ],
    ids=["byte order mark", "lines of Windows", "a line before the header", "another order in the header"],
)
def test_a_chapter_that_another_editor_saved_does_not_vanish(chapter, tmp_path, change):
    text = tmp_path / "chapter.md"
    text.write_bytes(change(chapter.read_bytes()))
    shutil.copy(chapter.with_suffix(".ipynb"), tmp_path)
    assert text.read_bytes() != chapter.read_bytes()
    assert chapters(tmp_path) == [text]
    assert orphans(tmp_path) == []
    assert problems(text) == ["chapter.md is not in the form in which JupyterLab saves it"]
    assert run(text)
    assert problems(text) == []
    assert text.read_bytes() == chapter.read_bytes()


def test_a_notebook_without_its_text_is_noticed(chapter, tmp_path):
    shutil.copy(chapter.with_suffix(".ipynb"), tmp_path)
    assert orphans(tmp_path) == [tmp_path / "chapter.ipynb"]
    (tmp_path / "chapter.md").write_text("# A page that has lost its header\n")
    assert orphans(tmp_path) == [tmp_path / "chapter.ipynb"]


def test_no_notebook_of_the_book_is_without_its_text():
    assert orphans() == []


def test_a_cell_that_writes_a_warning_stores_nothing_and_is_named(tmp_path, capsys):
    text = tmp_path / "chapter.md"
    text.write_text(HEADER + CELL.format("import sys\nprint('cannot write there', file=sys.stderr)"))
    assert not run(text)
    assert not text.with_suffix(".ipynb").exists()
    assert "cell 1: writes to stderr: cannot write there" in capsys.readouterr().err


def test_a_chapter_stays_stale_until_it_has_run(chapter, tmp_path, monkeypatch):
    text = tmp_path / "chapter.md"
    shutil.copy(chapter.with_suffix(".ipynb"), tmp_path)
    text.write_text(chapter.read_text().replace("x = 8", "x = 1 / 0"))
    monkeypatch.setattr("tools.notebooks.chapters", lambda: [text])
    for _ in range(2):
        assert main(["run"]) == 1  # not once only
    text.write_text(text.read_text().replace("1 / 0", "9"))
    assert main(["run"]) == 0
    assert problems(text) == []


def test_chapters_run_side_by_side_and_one_that_fails_stops_no_other(tmp_path, capfd):
    texts = [tmp_path / f"{name}.md" for name in ("a", "b", "c")]
    for text in texts:
        failing = CELL.format("1 / 0") if text.stem == "b" else ""
        text.write_text(HEADER + CELL.format("import time\nbegin = time.time()\ntime.sleep(2)") + failing)
    assert main(["run", "--jobs", "3", *map(str, texts)]) == 1
    assert [text.with_suffix(".ipynb").exists() for text in texts] == [True, False, True]
    printed = capfd.readouterr()
    assert "b.md: a cell fails" in printed.err
    assert printed.out.count("executed in") == 2


def interrupt(command: list[str], begun) -> tuple[int, str]:
    """Press Ctrl-C once a command has begun; its exit status, and what it says on the error stream."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        while not begun(process) and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the command and all that it has started
        said = process.communicate(timeout=60)[1]
    return process.returncode, said


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_stops_chapters_in_one_line_and_leaves_them_as_they_were(tmp_path, jobs):
    texts = [tmp_path / f"{name}.md" for name in ("a", "b")[:jobs]]
    for text in texts:
        cell = f"import pathlib, time\npathlib.Path('{text.stem}').touch()\ntime.sleep(60)"
        text.write_text(HEADER + CELL.format(cell))
        text.with_suffix(".ipynb").write_text("as it was")
    command = [sys.executable, "-m", "tools.notebooks", "run", "--jobs", str(jobs), *map(str, texts)]
    status, said = interrupt(command, lambda process: all(text.with_suffix("").exists() for text in texts))
    assert (status, said) == (1, "interrupted: chapters that had not ended are as they were\n")
    assert {text.with_suffix(".ipynb").read_text() for text in texts} == {"as it was"}


def test_ctrl_c_stops_a_benchmark_in_one_line():
    command = [sys.executable, "-m", "tests.benchmarks", "staleness"]
    status, said = interrupt(command, lambda process: "== staleness" in process.stdout.readline())
    assert (status, said) == (1, "interrupted: what is printed was measured\n")


def test_a_page_that_quotes_others_is_executed_after_them(tmp_path, monkeypatch):
    texts = [tmp_path / f"{name}.md" for name in ("a_quotes", "b", "c_quotes", "d")]
    for text in texts:
        quoting = 'stored_values("b.ipynb")' if "quotes" in text.stem else "1"
        text.write_text(HEADER + CELL.format(quoting))
    executed = []
    monkeypatch.setattr("tools.notebooks.run", lambda text: executed.append(text.stem) is None)
    assert main(["run", *map(str, texts)]) == 0
    assert executed == ["b", "d", "a_quotes", "c_quotes"]


def test_a_full_disk_leaves_the_old_notebook_and_nothing_else(chapter, tmp_path, monkeypatch, capsys):
    text, stored = tmp_path / "chapter.md", tmp_path / "chapter.ipynb"
    shutil.copy(chapter, text)
    stored.write_text("as it was")
    notebook = nbformat.read(chapter.with_suffix(".ipynb"), 4)
    monkeypatch.setattr("tools.notebooks.execute", lambda source, folder: notebook)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # no file may be longer: as full as a disk can be
    try:
        with pytest.raises(OSError, match="too large"):
            write("x" * 1000, tmp_path / "new")
        assert not run(text)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert stored.read_text() == "as it was"
    assert sorted(tmp_path.iterdir()) == [stored, text]
    assert f"chapter.md: not stored: [Errno 27] File too large: '{stored}'" in capsys.readouterr().err
