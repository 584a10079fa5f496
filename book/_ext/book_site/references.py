"""The list of references, each under the names and the year by which the text cites it."""

from __future__ import annotations

from pybtex.database import Entry
from pybtex.plugin import register_plugin
from pybtex.style.formatting.plain import Style as Plain
from pybtex.style.labels import BaseLabelStyle
from sphinx.application import Sphinx

NAME = "author_year_list"


class AuthorYearLabels(BaseLabelStyle):
    """Davis and Goadrich, 2006, as sphinxcontrib-bibtex writes it in the text."""

    def format_labels(self, sorted_entries: list[Entry]):
        for entry in sorted_entries:
            people = entry.persons.get("author") or entry.persons["editor"]
            names = [" ".join([*person.prelast_names, *person.last_names]) for person in people]
            names = [name.replace("{", "").replace("}", "") for name in names]
            written = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
            yield f"{written}, {entry.fields['year']}"


class AuthorYearList(Plain):
    default_label_style = AuthorYearLabels


def setup(app: Sphinx) -> None:
    register_plugin("pybtex.style.formatting", NAME, AuthorYearList)
