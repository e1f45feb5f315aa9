"""The texts with formulas: as a forge shows them no formula is changed, and every signpost leads somewhere.

GitHub and GitLab parse Markdown first and read the formulas in what is left of it. Between bare dollars Markdown takes
`_` for emphasis and a backslash before punctuation for an escape; what stands in a code span, $`…`$, or in a ```math
block, it leaves alone.
"""

import html
import importlib
import importlib.util
import inspect
import re

import pytest
from markdown_it import MarkdownIt
from texts import ROOT, read, sections, slug

from minivgg import layers

MATH = sorted(p for folder in ("minivgg", "style") for p in (ROOT / folder).rglob("MATH.md"))
README, EQUATIONS = ROOT / "README.md", ROOT / "docs" / "equations.md"
# MathJax and KaTeX know them, GitHub refuses formulas that have them
FORBIDDEN = ("operatorname", "mbox", "phantom", "newcommand", "def", "href")


def label(path):
    return path.relative_to(ROOT).as_posix()


# --- formulas --------------------------------------------------------------------------------------------------------


def formula_problems(text):
    """What would keep a forge from showing a Markdown text's formulas as they were written; [] if nothing would."""
    problems, blocks, spans = [], [], []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "fence" and token.info.strip() == "math":
            blocks.append(token.content)
        elif token.type == "code_block":
            problems.append(f"an indented block, which is no formula anywhere: {token.content!r}")
        elif token.type == "inline":
            spans += _inline_formulas(token.children, problems)
    outside = re.sub(r"^```math\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for shown, written in (
        (blocks, re.findall(r"^```math\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)),
        (spans, re.findall(r"\$`(.*?)`\$", outside, re.DOTALL)),
    ):
        problems += [f"written {w!r}, shown {s!r}" for w, s in zip(written, shown) if w != s]
        if len(shown) != len(written):
            problems.append(f"{len(written)} formulas written, {len(shown)} shown")
        for formula in shown:
            problems += [f"{what}: {formula!r}" for what in latex_problems(formula)]
    problems += [
        f"{found!r}: a letter, digit or code span without a space beside a formula"
        for found in re.findall(r"[\w`]\$`[^`]*`\$|\$`[^`]*`\$[\w`]", outside)
    ]
    return problems


def _inline_formulas(children, problems):
    """The code spans between dollars of one paragraph or cell; a dollar anywhere else is a problem."""

    def text(k):
        return children[k].content if 0 <= k < len(children) and children[k].type == "text" else ""

    formulas = {
        k
        for k, child in enumerate(children)
        if child.type == "code_inline" and text(k - 1).endswith("$") and text(k + 1).startswith("$")
    }
    for k in range(len(children)):
        rest = text(k)
        rest = rest[1:] if k - 1 in formulas else rest
        rest = rest[:-1] if k + 1 in formulas else rest
        if "$" in rest:
            problems.append(f"a bare dollar: {rest!r}")
    return [children[k].content for k in sorted(formulas)]


def latex_problems(formula):
    """What is wrong with LaTeX that was not torn: braces, pairs, what GitHub refuses, letters that are not LaTeX."""
    depth = lowest = 0
    for brace in re.findall(r"(?<!\\)(?:\\\\)*([{}])", formula):
        depth += 1 if brace == "{" else -1
        lowest = min(lowest, depth)
    if depth or lowest:
        yield "braces do not match"
    if len(re.findall(r"\\left\b", formula)) != len(re.findall(r"\\right\b", formula)):
        yield r"\left without \right"
    if re.findall(r"\\begin\{(\w+)\}", formula) != re.findall(r"\\end\{(\w+)\}", formula)[::-1]:
        yield r"\begin without \end"
    if not formula.isascii():
        yield "a letter that LaTeX does not know"
    if not formula.strip():
        yield "empty"
    for macro in re.findall(r"\\([a-zA-Z]+)", formula):
        if macro in FORBIDDEN:
            yield f"\\{macro}, which GitHub refuses"


@pytest.mark.parametrize("path", [*MATH, README, EQUATIONS], ids=label)
def test_a_forge_shows_every_formula_as_it_was_written(path):
    assert not formula_problems(read(path))


def test_the_texts_have_formulas():
    """Or the test above would look at nothing."""
    counts = [len(re.findall(r"\$`|^```math", read(path), re.MULTILINE)) for path in MATH]
    assert min(counts) > 15, counts
    assert sum(counts) > 600, counts


# Formulas of these texts as they stood between dollars
TORN = (
    r"\frac{\partial out_k}{\partial x_k} = \begin{cases} 1 & x_k > 0 \\ 0 & x_k < 0 \end{cases}",
    r"\delta_D = \mathit{dfeat}_D, \qquad \delta_k = J_{k+1}^T \delta_{k+1} + \mathit{dfeat}_k, \qquad dx = J_1^T",
    r"\sum_f \sum_{\substack{i,j,p,q \\ ps+i-P=h, qs+j-P=w}} w[f,c,i,j] \cdot dout[n,f,p,q]",
    r"R\, \alpha = S^T g",
    r"\kappa \leftarrow \max\!\left(0,\; \kappa + \frac{2\,(T(\phi_1) - \hat T(\phi_1))}{\|\phi_1 - \phi_0\|^2}\right)",
)


@pytest.mark.parametrize("formula", TORN)
def test_markdown_tears_a_formula_between_dollars(formula):
    """The reason for all this, and the checker's proof: it refuses what is torn and takes the same in code."""
    for torn in (f"${formula}$", f"$${formula}$$"):
        assert formula not in html.unescape(MarkdownIt().render(torn))
        assert any("bare dollar" in problem for problem in formula_problems(f"So {torn} it is."))
    assert not formula_problems(f"So $`{formula}`$ it is.")
    assert not formula_problems(f"So\n\n```math\n{formula}\n```\n\nit is.")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("$`a\nb`$", r"written 'a\nb', shown 'a b'"),
        ("$`a\n+ b`$", "bare dollar"),  # a list begins
        ("| a |\n| --- |\n| $`|x|`$ |", "formulas written"),
        ("as\n\n    s = V g\n", "indented"),
        ("```math\na_{k\n```", "braces"),
        ("$`a_k}`$", "braces"),
        ("$`}{`$", "braces"),
        (r"$`\left( a`$", r"\left"),
        (r"$`\begin{cases} a`$", r"\begin"),
        ("$`s = g·h`$", "LaTeX does not know"),
        (r"$`\operatorname{Im} f`$", "operatorname"),
        ("the $`k`$th", "without a space"),
        ("`stride`$`= s`$", "without a space"),
        ("it costs $5", "bare dollar"),
        ("``` math\nx\n``` \n```math\ny\n```", "1 formulas written, 2 shown"),
    ],
)
def test_the_checker_finds(text, problem):
    assert any(problem in found for found in formula_problems(text)), formula_problems(text)


def test_the_checker_leaves_code_and_escaped_braces_alone():
    assert not formula_problems(r"`$HOME` and $`\{0, 1\}`$, ($`x`$), $`|x|`$; `a`, $`\\`$")


# --- signposts -------------------------------------------------------------------------------------------------------


SECTIONS = [(path, number) for path in MATH for number in sections(path)]
PLACE = re.compile(r"((?:`[^`]+`,? ?)+) ?in (?:\[[^\]]*\]\(([^)]+)\)|`([\w.]+)`)")


def signpost(path, number):
    """(code, check) of the line under a section's heading."""
    first = sections(path)[number][1].strip().split("\n\n")[0]
    line = re.fullmatch(r"code: (.+) · check: (.+)", " ".join(first.split()))
    assert line, f"{label(path)} {number}: no line `code: … · check: …` under the heading"
    return line.groups()


def missing_names(names, path, target, module):
    """Which of the names are not in a file (`target`, relative to the text) or a module."""
    if target:
        file = (path.parent / target).resolve()
        if not file.exists():
            return names
        if file.suffix != ".py":
            return [name for name in names if name not in read(file)]
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    found = importlib.import_module(module)
    return [name for name in names if not _has(found, name)]


def _has(module, name):
    for part in name.split("."):
        if not hasattr(module, part):
            return False
        module = getattr(module, part)
    return True


@pytest.mark.parametrize(("path", "number"), SECTIONS, ids=[f"{label(p)} {n}" for p, n in SECTIONS])
def test_each_section_names_its_code_and_its_check(path, number):
    code, check = signpost(path, number)
    places = PLACE.findall(code)
    assert places, code
    for names, target, module in places:
        missing = missing_names(re.findall(r"`([^`]+)`", names), path, target, module)
        assert not missing, f"{label(path)} {number}: {missing} not in {target or module}"
    assert_checks(check)


def assert_checks(check):
    """What a check line names is there: tests, programs, rows of gradcheck's table."""
    files = [ROOT / name for name in re.findall(r"`(tests/\w+\.py)`", check)]
    missing = [label(file) for file in files if not file.exists()]
    assert not missing, missing
    for name in re.findall(r"`([^`]+)`", check):
        if name.startswith("tests/"):
            continue
        if name.startswith("test_"):
            assert any(f"def {name}(" in read(file) for file in files), name
        elif name.startswith("python -m "):
            assert importlib.util.find_spec(name.removeprefix("python -m ").strip()), name
        else:
            assert "`python -m minivgg.gradcheck`" in check, name
            rows = [*ROOT.glob("minivgg/gradcheck*"), *ROOT.glob("style/gradcheck*")]
            rows = [p for row in rows for p in (row.glob("*.py") if row.is_dir() else [row])]
            assert any(name.removesuffix("…").strip() in read(file) for file in rows), name
    assert files or "`python -m " in check, check


def test_a_signpost_that_leads_nowhere_is_found():
    path = ROOT / "minivgg/MATH.md"
    assert missing_names(["conv2d_forward", "conv2d"], path, "layers.py", "") == ["conv2d"]
    assert missing_names(["VGG.forward", "VGG.sideways"], path, "vgg.py", "") == ["VGG.sideways"]
    assert missing_names(["STEP"], path, "no.py", "") == ["STEP"]
    for check in ("`tests/test_nothing.py`", "`test_nothing` in `tests/test_layers.py`", "`python -m minivgg.nothing`"):
        with pytest.raises(AssertionError):
            assert_checks(check)
    with pytest.raises(AssertionError):
        assert_checks("rows `deconv2d …` of `python -m minivgg.gradcheck`")


@pytest.mark.parametrize("path", MATH, ids=label)
def test_sections_are_numbered_and_the_contents_list_them(path):
    found = sections(path)
    top = [n for n in found if "." not in n]
    assert top == [str(k + 1) for k in range(len(top))]
    contents = re.findall(r"^(\d+)\. \[([^\]]+)\]\(#([^)]+)\)$", read(path), re.MULTILINE)
    assert contents == [(n, found[n][0], slug(f"{n}. {found[n][0]}")) for n in top]
    tags = re.findall(r"\\tag\{(\d+)\}", read(path))
    assert tags == [str(k + 1) for k in range(len(tags))]


@pytest.mark.parametrize("path", MATH, ids=label)
def test_references_lead_to_sections_that_are_there(path):
    text = " ".join(read(path).split())
    found = re.findall(r"(?:\[[^\]]*\]\(([^)]*MATH\.md)\), )?section (\d+(?:\.\d+)?)", text)
    for target, number in found:
        other = (path.parent / target).resolve() if target else path
        assert number in sections(other), f"{label(path)}: section {number} of {target or 'itself'}"
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        there = (path.parent / target).resolve()
        assert there.exists(), target


def test_each_pair_of_layers_names_its_section_and_the_section_names_the_pair():
    """From the code to the derivation and back; and the formulas that a docstring cites stand in that section."""
    path = ROOT / "minivgg/MATH.md"
    found = sections(path)
    pairs = [f for name, f in vars(layers).items() if re.search("_(for|back)ward$|^(im2col|col2im)$", name)]
    assert len(pairs) == 10
    for function in pairs:
        cited = re.search(r"MATH\.md (\d)(?:, \((\d+)\)(?:-\((\d+)\))?)?", inspect.getdoc(function))
        assert cited, f"{function.__name__} names no section of MATH.md"
        number, first, last = cited.groups()
        assert f"`{function.__name__}`" in signpost(path, number)[0]
        for tag in range(int(first or 1), int(last or first or 0) + 1):
            assert f"\\tag{{{tag}}}" in found[number][1], (
                f"{function.__name__}: ({tag}) does not stand in section {number}"
            )


def test_the_readme_leads_to_a_derivation():
    """conv2d_backward, the section that derives it and the rows that check it are named in one paragraph."""
    paragraph = next(p for p in read(README).split("\n\n") if "minivgg/MATH.md#" in p)
    target, anchor = re.search(r"\((minivgg/MATH\.md)#([^)]+)\)", paragraph).groups()
    (number,) = [n for n, (title, _) in sections(ROOT / target).items() if slug(f"{n}. {title}") == anchor]
    assert "`conv2d_backward`" in paragraph and "`python -m minivgg.gradcheck`" in paragraph
    assert "`conv2d_backward`" in signpost(ROOT / target, number)[0]
