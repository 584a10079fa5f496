"""Sphinx extension of the book: no page asks another host for anything, no button leads nowhere, all pass axe.

numbering: numbers of pages, figures, theorems; figures: pictures that move, descriptions, tables; pages: what the theme
wrote; references: their list; weight: what the built site is made of.
"""

from __future__ import annotations

from sphinx.application import Sphinx

from . import figures, numbering, pages, references, weight


def setup(app: Sphinx) -> dict[str, bool]:
    for module in (numbering, figures, pages, references, weight):
        module.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
