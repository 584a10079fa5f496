"""Settings of `make lab`: what it opens, and that saving a page which says what it said changes nothing."""

import sys
from pathlib import Path

import nbformat

TOOLS = Path(__file__).resolve().parent
sys.path.insert(0, str(TOOLS.parent))

from tools.outputs import keep_unchanged  # noqa: E402, from this folder


def store_what_a_rerun_stores(model: dict, path: str, contents_manager, **kwargs: object) -> None:
    """Drop what varies between machines, and keep stored outputs that agree with those of a rerun."""
    if model["type"] != "notebook" or model["content"]["nbformat"] != 4:
        return
    notebook = model["content"]
    notebook["metadata"].get("language_info", {}).pop("version", None)
    stored = Path(contents_manager._get_os_path(path)).with_suffix(".ipynb")
    if stored.exists():
        keep_unchanged(notebook, nbformat.read(stored, 4))


lab = c  # noqa: F821, the configuration that Jupyter passes in
lab.FileContentsManager.pre_save_hook = store_what_a_rerun_stores
# the introduction, rendered: it says what there is and where to start
lab.LabApp.default_url = "/lab/tree/book/intro.ipynb"
lab.LabServerApp.app_settings_dir = lab.LabApp.app_settings_dir = str(TOOLS / "lab_settings")
# numbers in the text, where jupyterlab-myst shows {glue:text}
lab.LabServerApp.extra_labextensions_path = lab.LabApp.extra_labextensions_path = [str(TOOLS / "lab_extensions")]
