"""Numbers that no reader takes for a part of a problem: its parts are 3.1 and 3.2, its pages 3, 3a, 3b.

The page that answers the parts of problem 3 is 3, the pages below it in the contents are 3a, 3b and so on, and what is
numbered on page 3b, be it a figure, table, equation, theorem or exercise, is 3b-1, 3b-2. Other pages go by a letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import ascii_lowercase

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

PART = re.compile(r"part-(\d+)(?:-.*)?")  # the label of a numbered part of a problem


def below(env: BuildEnvironment, docname: str) -> Iterator[str]:
    """The pages under a page in the contents, in their order."""
    for child in env.toctree_includes.get(docname, []):
        yield child
        yield from below(env, child)


def page_numbers(env: BuildEnvironment) -> dict[str, str]:
    labels = env.get_domain("std").anonlabels.items()
    problems = {docname: found[1] for label, (docname, _) in labels if (found := PART.fullmatch(label))}
    numbers = dict(problems)
    for docname, number in problems.items():
        numbers |= {page: number + letter for letter, page in zip(ascii_lowercase, below(env, docname), strict=False)}
    return numbers


def forget_numbers(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Before Sphinx numbers everything its way: what it finds of an earlier build it takes for its own, and stops."""
    for title in env.titles.values():
        title.attributes.pop("secnumber", None)
    for contents in env.tocs.values():
        for reference in contents.findall(nodes.reference):
            reference.attributes.pop("secnumber", None)
    return []


def number_pages(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Put these numbers where Sphinx has stored its own; the pages to write again because of it."""
    numbers = page_numbers(env)
    for docname, number in numbers.items():
        first, *others = env.tocs[docname].findall(nodes.reference)
        # a heading that is not in this list would get the number of the page
        env.toc_secnumbers[docname] = {other["anchorname"]: None for other in others} | {"": (number,)}
        env.titles[docname]["secnumber"] = first["secnumber"] = (number,)
        for reference in others:
            reference.attributes.pop("secnumber", None)
    for docname, kinds in env.toc_fignumbers.items():
        page = numbers.get(docname) or docname.rpartition("/")[2][0].upper()
        for places in kinds.values():
            in_order = sorted(places, key=places.get)
            places.update({name: (f"{page}-{place}",) for place, name in enumerate(in_order, 1)})
    return list(numbers)


def setup(app: Sphinx) -> None:
    app.connect("env-get-updated", forget_numbers, priority=100)
    app.connect("env-get-updated", number_pages, priority=900)  # after Sphinx has numbered everything its way
