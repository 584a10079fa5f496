"""No result is typed into a page: the scanner finds typed numbers of every form, and the book's pages hold none."""

from __future__ import annotations

import pytest

from tools.typed_numbers import survey, typed_numbers

CELL = "```{{code-cell}} ipython3\n{}\n```\n"


def found(text: str, *definitions: str) -> list[str]:
    return [typed.number for typed in typed_numbers(text, definitions)[0]]


@pytest.mark.parametrize(
    "text",
    [
        "The error is 0.42.",
        "The error is .42 only.",
        "The best is degree 8.",
        "It is picked 23 % of the time.",
        "It is picked 23% of the time.",
        "Twenty-three per cent of the draws.",
        "It is ninety percent noise.",
        "Nine from different families.",
        "Four published solutions are compared.",
        "Our three seeds differ.",
        "Three published solutions of this problem.",
        "It is five\ntimes as fast.",
        "The table makes nine comparisons.",
        "Ten thousand learners.",
        "Twenty-five runs of it.",
        "# Sixteen bits",
        CELL.format('show(figure, "Seven falling losses.")'),
        "A tolerance of 1e-3 is met.",
        "There are 1,000 repetitions.",
        "There are 1 000 of them.",
        "The error is −7.41.",
        "Between 3–5 points.",
        "It is ½ of that.",
        "It is &#52; of that.",
        "Written full width: ４２.",
        "The error\nis\n0.42\nhere.",
        "twice as fast: 2x",
        "**8** is best",
        "*0.42*",
        "the `0.42` in code",
        "# Degree 8 wins",
        "## The 3 best",
        "- degree 8",
        "7. starts a list at seven",
        "> quoted 0.42",
        "| degree | error |\n|---|---|\n| eight | 0.42 |",
        "| degree 8 | error |\n|---|---|\n| eight | small |",
        "term 8\n: text",
        "term\n: error 0.42",
        "A note.[^a]\n\n[^a]: It is 0.42.",
        "a [link of 42](x.md)",
        'a [link](x.md "of 42")',
        "![with 42 points](x.png)",
        "{ref}`the 8th <part-1-1>`",
        "{term}`degree 8`",
        "{unknown}`0.42`",
        '<span title="0.42">x</span>',
        "<p>0.42</p>",
        '<img src="x.png" alt="degree 8">',
        "---\nsubtitle: degree 8\n---\ntext",
        "---\nsubstitutions:\n  best: 8\n---\ntext {{ best }}",
        "```python\nprint(0.42)\n```",
        "```\n0.42\n```",
        "    0.42 indented",
        ":::{note} Degree 8\ntext\n:::",
        ":::{note}\nIt is 0.42.\n:::",
        "::::{note}\n:::{tip}\nnested 0.42\n:::\n::::",
        "````{exercise} Why 8?\n:label: ex-a\n\nText.\n````",
        "```{exercise}\n:label: ex-a\n\nShow that it is 0.42.\n```",
        "```{solution} ex-a\nIt is 0.42.\n```",
        ":::{prf:theorem} The 0.42 rule\n:label: thm\n\ntext\n:::",
        "```{figure} x.png\n:alt: degree 8\n\ncaption\n```",
        "```{figure} x.png\n:name: fig\n\ncaption 0.42\n```",
        "```{list-table} Of degree 8\n* - a\n  - b\n```",
        "```{list-table}\n* - a\n  - 0.42\n```",
        "```{admonition} ok\n---\nunknown: 8\n---\ntext\n```",
        "$0.42$",
        "$.42$",
        "$x = 3$",
        "$10^{-3}$",
        "$x_{12}$",
        "$2.5x$",
        "$1{,}000$",
        "$1,234$",
        "$2$",
        "$-1$",
        r"$\approx 2$",
        r"$2\times$ faster",
        r"$x = 2 \%$",
        r"$\text{degree 2}$",
        "$$\nx = 0.42\n$$",
        "$$\nx = 0.42\n$$ (eq-a)",
        "\\begin{align}\nx &= 0.42\n\\end{align}",
        "```{math}\n:label: eq-a\nx = 0.42\n```",
        "{math}`0.42`",
        CELL.format("---\nmystnb:\n  figure:\n    caption: Degree 8 wins.\n    name: fig-a\n---\npass"),
        CELL.format("---\nmystnb:\n  image:\n    alt: degree 8\n---\npass"),
        CELL.format("---\nmystnb:\n  figure:\n    caption: |\n      Error $0.42$.\n---\npass"),
        CELL.format('glue("mse", 0.42)'),
        CELL.format('glue("mse", "0.42", display=False)'),
        CELL.format('myst_nb.glue("mse", float("0.42"))'),
        CELL.format("glue_values(best=best, mse=0.42)"),
        CELL.format('display(Markdown("The error is 0.42."))'),
        CELL.format("glue_values(best=best, mse=round(0.42, 1))"),
        CELL.format('show(figure, "Degree 8 wins.")'),
        CELL.format('show(figure, alt=f"Degree {best} of 15 wins.")'),
        CELL.format("%matplotlib inline\nglue('mse', 0.42)"),
    ],
)
def test_a_typed_number_is_found(text):
    assert found(text)


@pytest.mark.parametrize(
    "text",
    [
        "The error is {glue:text}`mse:.3f` at degree {glue:text}`best_8`.",
        "{glue:text}`bias_variance.ipynb::mse:.3f`",
        "See {ref}`part-1-4`, {ref}`the fourth <part-1-4>`, {eq}`eq-1`, {numref}`fig-8`, {numref}`Figure %s <fig-8>`.",
        "{cite:p}`hoerl1970ridge` and {cite:t}`smith2017`; {prf:ref}`thm-1`; {doc}`page2`",
        "[link](https://example.org/2017/8) and <https://example.org/8> and https://example.org/1.5",
        "[link](page2.md#part-1-4)",
        "A note.[^1]\n\n[^1]: Of words.",
        "(part-1-4)=\n# Heading",
        "1. first\n2. second\n3. third",
        "% a comment 0.42",
        "<!-- a comment 0.42 -->",
        "<h2 class='x8'>text</h2>",
        "text\n\n+++\n\nmore",
        "---\njupytext:\n  format_version: 0.13\nkernelspec:\n  name: python3\n---\n# Heading",
        "twenty points and one half",
        "Three panels, four falling curves, and five things to notice.",
        "All four agree; of the ten rates the last three fail; these five schemes.",
        "One or two of them, a hundred splits, a thousand more, {glue:text}`n` million parameters.",
        "Someone in the often heightened weight of tension.",
        "$x_1 + x_2 = 0$ and $\\frac{1}{2} (a - b)^2$ and $i = 1, \\dots, n$ and $[0, 1]$",
        "$$\n\\sum_{i=1}^n x_i^2 \\\\[4pt] \\hspace{3em}\n$$ (eq-12)",
        "\\begin{align}\n\\label{eq-12} x_1 &= 0\n\\end{align}",
        "```{figure} x8.png\n:name: fig-8\n:width: 80%\n:alt: words\n\ncaption\n```",
        "```{solution} ex-8\n:label: sol-8\n:class: dropdown\nwords\n```",
        "::::{grid} 1 1 2 2\n:gutter: 3\n:::{grid-item-card} Words\n:link: page2\nwords\n:::\n::::",
        "```{glue:figure} fig_8\n:name: fig-8\n```",
        CELL.format("print(0.42)"),
        CELL.format(":tags: [nbval-rtol-1e-3]\nx = 0.42"),
        CELL.format("---\nmystnb:\n  figure:\n    caption: Of {glue:text}`n8`.\n    name: fig-8\n---\nx = 8"),
        CELL.format('glue("mse_8", mse)'),
        CELL.format('glue("mse", round(errors[8], 3), display=False)'),
        CELL.format("glue_values(mse_8=mse, share=100 * share, **{f'error_{n}': errors[n] for n in range(8)})"),
        CELL.format('show(figure, f"Degree {best:.3f} wins by {margins[8]:{width}.2f}.")'),
    ],
)
def test_what_is_not_a_typed_number_passes(text):
    assert found(text) == []


def test_a_definition_covers_its_phrase_only():
    assert found("Degree 10 and degree\n10.", "degree 10") == []
    assert found("Degree 8.", "degree 10") == ["8"]
    assert found("10 points of degree 10", "degree 10") == ["10"]
    for other in ("degree 100", "degree 10.5", "degree 10,000", "degree 10 %", "degree 10%", "degree 10^3"):
        assert found(other, "degree 10"), other
    for other in ("10.3", "0.31", "-0.3", "−0.3", "0.3 %", "1,0.3", r"$0.3 \times 10^2$", "0.3 per cent"):
        assert "0.3" in " ".join(found(other, "0.3")), other
    assert found("variance $0.3$ and $[0, 10]$", "variance $0.3$", "[0, 10]") == []


def test_a_finding_says_where_and_what():
    (typed,) = typed_numbers("# Title\n\nSome words,\nand then 0.42 at last.")[0]
    assert (typed.line, typed.number) == (4, "0.42")
    assert "and then 0.42 at last" in str(typed)
    (typed,) = typed_numbers("\n\n" + CELL.format("x = 1\n\nglue('a', 5)"))[0]
    assert typed.line == 6


def test_definitions_hold_for_their_page_and_must_be_used(tmp_path):
    (tmp_path / "a.md").write_text("degree 10")
    (tmp_path / "b.md").write_text("degree 10")
    assert survey(tmp_path, {"every page": ["degree 10"]}) == []
    assert len(survey(tmp_path, {"a": ["degree 10"]})) == 1
    assert len(survey(tmp_path, {"every page": ["degree 10"], "a": ["degree 3"]})) == 1


def test_no_result_is_typed_into_a_page():
    assert survey() == []
