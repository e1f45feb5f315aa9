"""A page on which people say which of two pictures is more in a painting's manner, and what S makes of their answers.

The page is one static file. Which side is whose is drawn from a seed, and no name stands in it: a question is known by
the two pictures' hashes, which only the results can turn into names. Pictures are JPEG, so a trained eye may still tell
one program from another by its look; who has made one of the pictures is no judge of them.
"""

import base64
import random
from itertools import combinations

from minivgg.program import UsageError
from style.pictures import images, saving

from .results import KEPT, curves, score_of
from .ways import CONTENT, RANDOM

CHOICES = ("left", "right", "equal")
QUALITY = 90  # of the JPEGs


def questions(rows, seed, ways=None, mark=KEPT):
    """[(left row, right row), …] in random order: each pair's pictures of two ways, each as near K = mark as it comes.

    ways  titles of the two or more that are compared; None: all but the photograph and the random network
    """
    found = curves(rows)
    for name in ways or ():
        if name not in found:
            raise UsageError(f"--compare {name}: no rows of this name; there are {', '.join(found)}")
    chosen = ways or [n for n, curve in found.items() if next(iter(curve.values()))[0]["way"] not in (CONTENT, RANDOM)]
    if len(chosen) < 2:
        raise UsageError(f"--page: found rows of {len(chosen)} ways to compare; expected two or more")
    rng, asked = random.Random(seed), []
    for a, b in combinations(chosen, 2):
        for pair in found[a].keys() & found[b].keys():
            asked.append([min(found[n][pair], key=lambda r: abs(r["kept"] - mark)) for n in (a, b)])
    asked.sort(key=lambda two: (two[0]["pair"], two[0]["sha256"], two[1]["sha256"]))  # sets have no order of their own
    rng.shuffle(asked)
    return [tuple(rng.sample(two, 2)) for two in asked]


def build(asked, picture_of, pairs):
    """The page's HTML. asked  from questions(); picture_of(row) → (H, W, 3); pairs  {label: Pair}"""
    body = "\n".join(question(n, two, picture_of, pairs[two[0]["pair"]]) for n, two in enumerate(asked))
    return PAGE.replace("<!-- questions -->", body)


def question(number, two, picture_of, pair):
    """One question's HTML: the painting and the photograph above, the two pictures below."""
    shown = [("painting", pair.style), ("photograph", pair.content)]
    left, right = (picture_of(row) for row in two)
    above = "".join(f"<figure>{image(rgb)}<figcaption>the {what}</figcaption></figure>" for what, rgb in shown)
    below = "".join(f"<figure>{image(rgb)}</figure>" for rgb in (left, right))
    return (
        f'<section id="q{number}" data-question="{two[0]["sha256"]}-{two[1]["sha256"]}" hidden>'
        f'<div class="given">{above}</div><div class="asked">{below}</div></section>'
    )


def image(rgb):
    """An <img> that carries its picture, without any metadata."""
    data = base64.b64encode(saving.encode("x.jpg", images.to_uint8(rgb), quality=QUALITY)).decode()
    return f'<img alt="" src="data:image/jpeg;base64,{data}">'


def agreement(rows, answers, measures):
    """Lines: how often people chose the picture with the lower S, by each measure and by their mean.

    answers  {"answers": [{"question": "HASH-HASH", "choice": "left", "right" or "equal"}, …]}
    """
    known = {row["sha256"]: row for row in rows}
    counts = {name: [0, 0] for name in (*measures, "mean")}
    equal = 0
    for left, right, choice in read_answers(answers, known):
        if choice == "equal":
            equal += 1
            continue
        for name, count in counts.items():
            by = measures if name == "mean" else [name]
            nearer = "left" if score_of(left, by) < score_of(right, by) else "right"
            count[0] += nearer == choice
            count[1] += 1
    lines = [f"S, {name}: agrees in {right} of {total}" for name, (right, total) in counts.items()]
    return [*lines, f"called equal: {equal}"]


def read_answers(answers, known):
    """[(left row, right row, choice)]; UsageError where the answers are not of these results."""
    found = answers.get("answers") if isinstance(answers, dict) else None
    if not isinstance(found, list):
        raise UsageError("--answers: not what the page writes: no list of answers in it")
    read = []
    for answer in found:
        asked, choice = (answer.get(k) for k in ("question", "choice")) if isinstance(answer, dict) else (None, None)
        sides = [known.get(digest) for digest in str(asked).split("-")]
        if choice not in CHOICES or len(sides) != 2 or None in sides:
            raise UsageError(f"--answers: {asked}, {choice}: not a question of these results with one of {CHOICES}")
        read.append((*sides, choice))
    return read


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Which is nearer to the painting?</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 1rem auto; padding: 0 1rem; text-align: center }
section > div { display: flex; gap: 1rem; justify-content: center }
figure { margin: 0.5rem 0 }
.asked figure { flex: 1 }
.asked img { width: 100% }
.given img { height: 11rem }
button, a.button { font: inherit; padding: 0.5rem 1.5rem; margin: 0.25rem }
</style>
</head>
<body>
<h1>Which of the two below is more in the manner of the painting?</h1>
<p id="progress"></p>
<main>
<!-- questions -->
</main>
<p id="choices">
<button type="button" data-choice="left">left</button>
<button type="button" data-choice="equal">equal</button>
<button type="button" data-choice="right">right</button>
</p>
<p id="end" hidden>Thank you. <a class="button" id="download" download="answers.json" href="#">Save the answers</a></p>
<script>
"use strict";
const sections = [...document.querySelectorAll("section")], answers = [];
const element = (id) => document.getElementById(id);
function show() {
  sections.forEach((section, n) => { section.hidden = n !== answers.length; });
  element("progress").textContent = Math.min(answers.length + 1, sections.length) + " of " + sections.length;
  if (answers.length < sections.length) return;
  element("choices").hidden = true;
  element("end").hidden = false;
  const text = JSON.stringify({ answers: answers }, null, 1);
  element("download").href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
}
function choose(choice) {
  if (answers.length === sections.length) return;
  answers.push({ question: sections[answers.length].dataset.question, choice: choice });
  show();
}
document.querySelectorAll("button").forEach((button) => {
  button.addEventListener("click", () => choose(button.dataset.choice));
});
document.addEventListener("keydown", (event) => {
  const choice = { ArrowLeft: "left", ArrowDown: "equal", ArrowRight: "right" }[event.key];
  if (choice) choose(choice);
});
show();
</script>
</body>
</html>
"""
