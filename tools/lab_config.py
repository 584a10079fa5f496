"""Settings of `make lab`: saving a notebook stores nothing that varies between machines, such as the Python version."""


def forget_python_version(model: dict, **kwargs: object) -> None:
    if model["type"] == "notebook" and model["content"]["nbformat"] == 4:
        model["content"]["metadata"].get("language_info", {}).pop("version", None)


c.FileContentsManager.pre_save_hook = forget_python_version  # noqa: F821, the configuration that Jupyter passes in
