"""Find numbers typed into the prose of the book's pages.

    python tools/typed_numbers.py        # what it finds, page by page

A result is glued from the cell that computed it, never typed. Read here is all that a reader sees and no cell computes:
text, headings, tables, admonitions, exercises, mathematics, inline code, captions and descriptions of figures, titles
of links. Every numeral there counts; in mathematics the integers 0, 1 and 2 are free as structure (x_1, 2ab), not
alone ($2$). In words a number counts from three on, unless a reader sees what is counted ("three panels"), or before
"per cent". A number that defines something instead of reporting it stands in the definitions.yml of the page's folder
(or of book/), with its context and a reason.
"""

from __future__ import annotations

import ast
import builtins
import html
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

BOOK = Path(__file__).resolve().parent.parent / "book"
DEFINITIONS = BOOK / "definitions.yml"
EVERYWHERE = "every page"

EXTENSIONS = {"amsmath", "colon_fence", "deflist", "dollarmath"}  # as in _config.yml
# directives whose argument is a path, a label or a layout
SILENT_ARGUMENTS = re.compile(
    r"figure|image|code|code-block|code-cell|literalinclude|include|solution|solution-start|grid|glue.*|bibliography"
)
# options that no reader sees
SILENT_OPTIONS = re.compile(
    r"name|label|class.*|classes|width|height|figwidth|scale|align|tags|target|link|link-type|columns|gutter|margin"
    r"|padding|widths|header-rows|stub-columns|numbered|linenos|lineno-start|emphasize-lines|style|filter|shadow"
)
SILENT_ROLES = re.compile(r"glue.*|eval|cite.*|ref|numref|eq|doc|any|prf:ref|download")
TITLE = re.compile(r"(?s)(.*)<[^<>]*>\s*$")  # of a role: what stands before its <target>
URL = re.compile(r"https?://[^\s)>\"']+")
TAG = re.compile(r"(?s)<!--.*?-->|</?\w+|\b(?:class|id|href|src|style|width|height)=(?:\"[^\"]*\"|'[^']*')")

NUMERAL = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\d*\.\d+|\d+(?:[eE][-+]?\d+)?")
TALLY = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    "|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|half"
)
WORDS = re.compile(rf"(?i)\b(?:{TALLY})(?:[\s-]+(?:{TALLY}|and|point|a))*\s*(?:%|per\s?cent)")
# A count in words, from three on: "Nine from different families", "three seeds". Not "a hundred", not {n} "thousand".
SMALL = TALLY.removeprefix("zero|one|two|").removesuffix("|hundred|half")
COUNT = re.compile(rf"(?i)\b(?:{SMALL})(?:[\s-]+(?:{SMALL}|hundred|thousand|million))*\b")
# A reader sees how many of these there are, or the text has said so before: "three things", "all four", "of the ten"
LISTED = re.compile(
    r"(?i)\s+(?:[\w-]+\s+){0,2}(?:areas|assumptions|axes|bars|bases|branches|cases|charts|checks|circles|columns|consequences"
    r"|counts|curves|exercises|figures|habits|kinds|laws|layers|lines|marks|panels|parts|pieces|places|points|problems|quantities|questions|reasons"
    r"|rows|rules|schemes|sliders|steps|terms|things|triangles|ways|words)\b"
)
KNOWN = re.compile(r"(?i)\b(?:the|all|these|those|its|first|last|other)\s+$")
FREE = {"0", "1", "2"}
# what may surround a numeral that is the whole of a formula: $2$, $\approx 2$, $=-2\,\%$
AROUND = re.compile(r"\\(?:approx|simeq|sim|leq?|geq?|pm|times|q?quad|[,;:! %])|[\s{}=<>~≈±+−%-]")
LENGTHS = re.compile(r"\\\\\[[^\]]*\]|\\[hv]space\*?\{[^}]*\}|\\(?:label|ref|eqref)\{[^}]*\}|\\begin\{array\}\{[^}]*\}")
IN_WORDS = re.compile(r"\\text(?:rm|bf|it|sf)?\{[^}]*\}")


@dataclass
class Segment:
    """A stretch of what a reader sees; `math` lists the spans of it that are formulas."""

    line: int
    text: str = ""
    math: list[tuple[int, int]] = field(default_factory=list)

    def add_math(self, content: str) -> None:
        for silent in LENGTHS.finditer(content):
            content = content.replace(silent.group(), "~" * len(silent.group()))
        self.math.append((len(self.text), len(self.text) + len(content)))
        self.text += content

    def add_role(self, name: str, content: str) -> None:
        if name == "math":
            self.add_math(content)
        elif SILENT_ROLES.fullmatch(name):
            titled = TITLE.match(content)
            self.text += titled.group(1) if titled and not name.startswith(("glue", "cite")) else "\ufffc"
        else:
            self.text += content


@dataclass(frozen=True)
class Typed:
    """A number that is typed where a reader sees it."""

    line: int
    number: str
    context: str

    def __str__(self) -> str:
        return f"{self.line}: {self.number} in “{self.context}”"


def segments(text: str, first_line: int = 1) -> Iterator[Segment]:
    """All that a reader of a page (or of the body of a directive) sees, but the outputs of its cells."""
    parser = create_md_parser(MdParserConfig(enable_extensions=EXTENSIONS), RendererHTML)
    for token in parser.parse(text):
        line = first_line + (token.map[0] if token.map else 0)
        if token.type == "inline":
            segment = Segment(line)
            yield from inline(token.children or [], segment)
            yield segment
        elif token.type in ("fence", "colon_fence"):
            yield from fence(token, line)
        elif token.type.startswith(("math_block", "amsmath")):
            segment = Segment(line)
            segment.add_math(token.content)
            yield segment
        elif token.type == "front_matter":
            values = yaml.safe_load(token.content) or {}
            yield from visible({k: v for k, v in values.items() if k not in ("jupytext", "kernelspec")}, line)
        elif token.type == "html_block":
            yield Segment(line, html.unescape(TAG.sub(" ", token.content)))
        elif token.type == "code_block":
            yield Segment(line, token.content)
        elif token.type == "ordered_list_open" and token.attrs.get("start", 1) > 1:
            yield Segment(line, f"{token.attrs['start']}. (first number of a list)")


def inline(tokens: Iterable[Token], segment: Segment) -> Iterator[Segment]:
    """Write inline elements into a segment; what stands beside the text, such as a link's title, follows by itself."""
    for token in tokens:
        if token.type in ("softbreak", "hardbreak"):
            segment.text += "\n"
        elif token.type.startswith("math_inline"):
            segment.text += "$"
            segment.add_math(token.content)
            segment.text += "$"
        elif token.type == "myst_role":
            segment.add_role(token.meta["name"], token.content)
        elif token.type == "html_inline":
            segment.text += html.unescape(TAG.sub(" ", token.content))
        elif token.type == "image":
            yield Segment(segment.line, f"{token.content} {token.attrs.get('title', '')}")
        elif token.type == "link_open":
            yield Segment(segment.line, str(token.attrs.get("title", "")))
        elif token.type != "footnote_ref":
            segment.text += token.content


def fence(token: Token, line: int) -> Iterator[Segment]:
    """The visible parts of a directive or a block of code: argument, options, body."""
    found = re.fullmatch(r"\{([^}]*)\}\s*(.*)", token.info.strip())
    if not found:
        yield Segment(line, token.content)
        return
    name, argument = found.groups()
    if not SILENT_ARGUMENTS.fullmatch(name):
        yield from segments(argument, line)
    options, body = split_options(token.content)
    yield from visible(options, line)
    line += 1 + token.content[: len(token.content) - len(body)].count("\n")
    if name == "code-cell":
        yield from typed_in_code(body, line)
    elif name == "math":
        segment = Segment(line)
        segment.add_math(body)
        yield segment
    elif name in ("code", "code-block", "raw"):
        yield Segment(line, body)
    else:
        yield from segments(body, line)


def split_options(content: str) -> tuple[dict, str]:
    """The options of a directive, in either notation, and its body."""
    if found := re.match(r"(?s)\s*---\n(.*?)^---[ \t]*$\n?", content, re.MULTILINE):
        return yaml.safe_load(found.group(1)) or {}, content[found.end() :]
    found = re.match(r"(?:[ \t]*:[\w:-]+:.*\n)*", content)
    return dict(re.findall(r"^[ \t]*:([\w:-]+):[ \t]*(.*)$", found.group(), re.MULTILINE)), content[found.end() :]


def visible(options: object, line: int) -> Iterator[Segment]:
    """The captions, descriptions and the like among the options of a directive or a cell."""
    if isinstance(options, dict):
        for key, value in options.items():
            if not SILENT_OPTIONS.fullmatch(str(key)):
                yield from visible(value, line)
    elif isinstance(options, list):
        for value in options:
            yield from visible(value, line)
    elif options is not None and not isinstance(options, bool):
        yield from segments(str(options), line)


def typed_in_code(code: str, line: int) -> Iterator[Segment]:
    """What a cell shows without computing it: glued constants, and the fixed words of a figure's description."""
    for call in ast.walk(ast.parse(re.sub(r"(?m)^[ \t]*[%!].*$", "", code))):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        glued = []
        if name == "glue":
            glued = [keywords.get("variable", call.args[1] if len(call.args) > 1 else None)]
        elif name == "glue_values":
            glued = list(keywords.values())
        for value in filter(None, glued):
            variables = [node.id for node in ast.walk(value) if isinstance(node, ast.Name)]
            if all(variable in dir(builtins) for variable in variables):
                yield Segment(line + call.lineno - 1, f"glue {ast.unparse(value)}")
        if "alt" in keywords or name in ("show", "Markdown", "HTML", "Latex", "Math"):
            value = keywords.get("alt", call.args[-1] if call.args else None)
            constants = [node for node in ast.walk(value or ast.Constant("")) if isinstance(node, ast.Constant)]
            words = [node.value for node in constants if isinstance(node.value, str) and not is_format(value, node)]
            yield Segment(line + call.lineno - 1, "\ufffc".join(words))


def is_format(tree: ast.AST, constant: ast.Constant) -> bool:
    """Whether a constant is the format of a value in an f-string, such as the .3f of {x:.3f}."""
    formats = (node.format_spec for node in ast.walk(tree) if isinstance(node, ast.FormattedValue) and node.format_spec)
    return any(constant is part for spec in formats for part in ast.walk(spec))


def numbers(segment: Segment) -> Iterator[tuple[int, int]]:
    """Spans of the numbers in a segment, but those that are the structure of a formula."""
    text = URL.sub(lambda found: "~" * len(found.group()), segment.text)
    for found in WORDS.finditer(text):
        yield found.span()
    for found in COUNT.finditer(text):
        if not LISTED.match(text[found.end() :]) and not KNOWN.search(text[: found.start()]):
            yield found.span()
    for index, character in enumerate(text):  # such as ½, ² or Ⅷ
        if not character.isdecimal() and unicodedata.category(character) in ("No", "Nl"):
            yield index, index + 1
    for found in NUMERAL.finditer(text):
        if not is_structure(segment, found):
            yield found.span()


def is_structure(segment: Segment, found: re.Match) -> bool:
    """Whether a numeral is a 0, 1 or 2 inside a formula that has more to it."""
    for begin, end in segment.math:
        if begin <= found.start() < end:
            formula = segment.text[begin:end]
            return (
                found.group() in FREE
                and AROUND.sub("", formula) != found.group()
                and not re.match(r"\s*\\?%", segment.text[found.end() :])
                and not any(
                    begin + words.start() <= found.start() < begin + words.end() for words in IN_WORDS.finditer(formula)
                )
            )
    return False


def phrase_pattern(phrase: str) -> re.Pattern:
    """Where a phrase stands as such: its numbers not part of longer ones, of a percentage or a negative number."""
    pattern = r"\s+".join(re.escape(word) for word in phrase.split())
    if phrase[0].isalnum():
        pattern = r"(?<![\w.])(?<!\d,)" + pattern
    if phrase[0].isdigit():
        pattern = r"(?<!(?<!\w)[-−])" + pattern
    if phrase[-1].isalnum():
        pattern += r"(?!\w)(?![.,]\d)"
    if phrase[-1].isdigit():
        pattern += r"(?!\s*\\?%|\s*per\s?cent|\s*[/^]|\s*(?:×|\\times|\\cdot)\s*1)"
    return re.compile(pattern, re.IGNORECASE)


def typed_numbers(text: str, definitions: Iterable[str] = ()) -> tuple[list[Typed], set[str]]:
    """The typed numbers of a page that no definition covers, and the definitions that cover one."""
    patterns = {phrase: phrase_pattern(phrase) for phrase in definitions}
    found, used = [], set()
    for segment in segments(text):
        covers = [(m.start(), m.end(), phrase) for phrase, p in patterns.items() for m in p.finditer(segment.text)]
        for begin, end in numbers(segment):
            covering = {phrase for start, stop, phrase in covers if start <= begin and end <= stop}
            used |= covering
            if not covering:
                context = " ".join(segment.text[max(0, begin - 40) : end + 30].split()).replace("\ufffc", "…")
                line = segment.line + segment.text[:begin].count("\n")
                found.append(Typed(line, segment.text[begin:end], context))
    return found, used


def definitions(path: Path = DEFINITIONS) -> dict[str, list[str]]:
    """The phrases that may stand on each page, from a file of page, reason, phrases."""
    listed = yaml.safe_load(path.read_text("utf8")) or {}
    return {
        page: [str(phrase) for phrases in reasons.values() for phrase in phrases] for page, reasons in listed.items()
    }


def all_definitions(book: Path = BOOK) -> dict[str, list[str]]:
    """The phrases of every definitions.yml of the book; one in a folder holds for the pages of that folder."""
    return {
        (path.parent.relative_to(book) / page).as_posix(): phrases
        for path in sorted(book.rglob(DEFINITIONS.name))
        for page, phrases in definitions(path).items()
    }


def pages(book: Path = BOOK) -> list[Path]:
    """All text pages of the book."""
    parts = ((path, path.relative_to(book).parts) for path in sorted(book.rglob("*.md")))
    return [path for path, names in parts if not any(name.startswith(("_", ".")) for name in names)]


def survey(book: Path = BOOK, listed: dict[str, list[str]] | None = None) -> list[str]:
    """Everything wrong: numbers typed into a page, and definitions that no page uses."""
    listed = all_definitions(book) if listed is None else listed
    unused = {(page, phrase) for page, phrases in listed.items() for phrase in phrases}
    wrong = []
    for path in pages(book):
        page = path.relative_to(book).with_suffix("").as_posix()
        scopes = dict.fromkeys([EVERYWHERE, (path.parent.relative_to(book) / EVERYWHERE).as_posix(), page])
        allowed = {phrase: scope for scope in scopes for phrase in listed.get(scope, [])}
        found, used = typed_numbers(path.read_text("utf8"), allowed)
        wrong += [f"{path.relative_to(book)}:{typed}" for typed in found]
        unused -= {(allowed[phrase], phrase) for phrase in used}
    return wrong + [f"{DEFINITIONS.name}: “{phrase}” of {page} stands nowhere" for page, phrase in sorted(unused)]


if __name__ == "__main__":
    print(*(lines := survey()), f"{len(lines)} typed numbers or unused definitions", sep="\n")
    sys.exit(bool(lines))
