"""Settings of `make lab`: what it opens, and that saving stores nothing that varies between machines."""

from pathlib import Path


def forget_python_version(model: dict, **kwargs: object) -> None:
    if model["type"] == "notebook" and model["content"]["nbformat"] == 4:
        model["content"]["metadata"].get("language_info", {}).pop("version", None)


lab = c  # noqa: F821, the configuration that Jupyter passes in
lab.FileContentsManager.pre_save_hook = forget_python_version
# the introduction, rendered: it says what there is and where to start
lab.LabApp.default_url = "/lab/tree/book/intro.md"
lab.LabServerApp.app_settings_dir = lab.LabApp.app_settings_dir = str(Path(__file__).parent / "lab_settings")
