"""Settings of `jupyter lab` started in this folder: saving a notebook stores nothing that varies between machines."""


def forget_python_version(model: dict, **kwargs: object) -> None:
    if model["type"] == "notebook" and model["content"]["nbformat"] == 4:
        model["content"]["metadata"].get("language_info", {}).pop("version", None)


c.FileContentsManager.pre_save_hook = forget_python_version  # noqa: F821, the configuration that Jupyter passes in
