"""nbval compares a chapter's stored outputs with a rerun by the rules of tools/outputs.py."""

from __future__ import annotations

from nbval.plugin import IPyNbCell

from tools.outputs import settle, tolerances

pytest_plugins = ["pytester"]


def glued_names(outputs) -> list[str]:
    """The names under which a cell glues values, which nbval does not look at."""
    return [name for output in outputs if (name := output.get("metadata", {}).get("scrapbook", {}).get("name"))]


def pytest_configure(config) -> None:
    exact = IPyNbCell.compare_outputs

    def compare_outputs(self, test, ref, skip_compare=None):
        if glued_names(test) != glued_names(ref):
            self.comparison_traceback = [f"glued {glued_names(test)}, but stored is {glued_names(ref)}"]
            return False
        relative, absolute = tolerances(self.cell.metadata.get("tags", []))
        return exact(self, settle(list(test), list(ref), relative, absolute), ref, skip_compare)

    if exact.__module__ != __name__:
        IPyNbCell.compare_outputs = compare_outputs
