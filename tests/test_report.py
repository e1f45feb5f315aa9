"""The report: what a page tells, that it is whole, asks nothing of a network and takes no text for markup."""

import base64
import hashlib
import io
import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import cases
import numpy as np
import pytest
from PIL import Image

import style
from style import checkpoint, report, run
from style.command import parsed
from style.pictures import images, saving
from style.report import __main__ as later
from style.report import listener
from style.report.curve import Curve, ReportError, read_log
from style.report.facts import Facts
from style.report.repeat import again, command
from style.settings import presets, settings_from
from style.specs import styles_and_options

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from style.report import page, plots

FLAGS = ["--weights", "narrow.npz", "--size", "48", "--device", "cpu", "--lag", "1", "--margin", "0"]
EVALUATIONS = ["--evaluations", "6"]
SECTIONS = ["The picture", "What it is made from", "How it came about", "The loss", "Plan and time", "Do it again"]
SECTIONS += ["Parameters", "Versions and hashes"]
NEVER_CLOSED = {"meta", "img", "input", "br"}


class Page(HTMLParser):
    """Of a page: [(tag, attributes)], its texts by the tag that they stand in, and whether all tags are closed."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.open, self.texts = [], [], []
        self.source = Path(path).read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in NEVER_CLOSED:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.append((self.open[-1], data))

    def of(self, tag):
        return [attributes for found, attributes in self.tags if found == tag]

    def text(self, tag):
        return [data for found, data in self.texts if found == tag]

    def picture(self, alt):
        """(H, W, 3) of the first picture whose alternative text begins so."""
        source = next(i["src"] for i in self.of("img") if i["alt"].startswith(alt))
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
            return np.asarray(image.convert("RGB"), float)


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """A page in a tenth of the time: it says what would be drawn. Tests of what is drawn ask for `drawn`."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(page, "_drawings", lambda curve: [f"{len(curve)} evaluations of {list(curve.terms)}"])


@pytest.fixture
def drawn():
    """The drawings are made."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder in which a run over two scales has left out.png, log.jsonl and run.html."""
    folder = tmp_path_factory.mktemp("made")
    cases.lay_out(folder, {"photo.png": (5, 7), "style.png": (6, 4)})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main("--log", "log.jsonl", "--report", "run.html", "--scales", "2", "--save-every", "5") == 0
    return folder


@pytest.fixture
def copy(made, tmp_path, monkeypatch):
    """The same in a folder of one's own, without the report."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    (tmp_path / "run.html").unlink()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def main(*args):
    return run.main(["photo.png", "style.png", "-o", "out.png", "--quiet", *args, *FLAGS, *EVALUATIONS])


def facts(curve, name="out.png", **more):
    """Facts of a small picture whose terms are a curve's."""
    settings = settings_from(size=48)
    record = {
        "program": "minivgg-style 0",
        "versions": {},
        "device": "cpu",
        "started": "2026-11-27T12:00:00Z",
        "settings": settings.to_dict(),
        "content": {"name": "photo.jpg", "sha256": "1" * 64},
        "style": {"name": "style.jpg", "sha256": "2" * 64},
        "weights": {"name": "mini", "sha256": "3" * 64},
        "stages": [{"size": [48, 32], "style size": [48, 32], "evaluations": 6, "memory": "whole"}],
        "result": {"loss": 1.0, "loss as saved": None, "terms": {k: v[-1] for k, v in curve.terms.items()}},
    }
    record["stages"][0] |= {"history": 20, "lag": 1, "precondition": 0.0}
    record["result"] |= {"evaluations": len(curve), "seconds": 1.0, "message": "done", "status": "done"}
    return Facts(name, record, np.zeros((32, 48, 3), np.float32), curve=curve, styles=[None], **more)


def curve_of(count, terms=("content relu4_2", "style relu1_1")):
    curve = Curve()
    for k in range(1, count + 1):
        values = {name: (j + 1) / k for j, name in enumerate(terms)}
        curve.add(k, sum(values.values()), values, size="48x32", seconds=0.1 * k)
    return curve


# ------------------------------------------------------------------------------------------------ the page


def test_a_page_tells_all_of_a_run(made):
    found = Page(made / "run.html")
    assert found.text("h2") == SECTIONS
    record, text = saving.read_metadata(made / "out.png"), " ".join(data for _, data in found.texts)
    for value in (record["content"]["sha256"], record["style"]["sha256"], record["weights"]["sha256"]):
        assert value in text
    assert hashlib.sha256((made / "out.png").read_bytes()).hexdigest() in text
    assert {*found.text("code")} >= {flag for flag in (f"--{n.replace('_', '-')}" for n in record["settings"])}
    assert {*record["versions"]} <= {*found.text("th")}
    assert {*record["result"]["terms"]} <= {*found.text("th")}
    assert "24x17" in text and "48x34" in text and record["result"]["message"] in text
    assert str(made) not in found.source and made.name not in found.source


def test_pictures_are_those_of_the_run(made):
    found = Page(made / "run.html")
    after, before = found.picture("After"), found.picture("Before")
    out = images.read(made / "out.png").rgb
    photo = images.resize(images.read(made / "photo.png").rgb, out.shape[:2])
    for shown, own, other in ((after, out, photo), (before, photo, out)):
        assert np.abs(shown - own).mean() < 0.5 * np.abs(shown - other).mean()
    film = [i for i in found.of("img") if "evaluation" in i["alt"]]
    assert 4 <= len(film) <= 13
    numbers = [int(i["alt"].rpartition(" ")[2]) for i in film]
    assert numbers == sorted(set(numbers)) and numbers[0] == 1 and numbers[-1] <= 9


def test_a_page_asks_nothing_of_a_network_and_names_all_that_is_seen(made):
    found = Page(made / "run.html")
    assert all(i["src"].startswith("data:image/") for i in found.of("img"))
    assert all(i["alt"] for i in found.of("img"))
    (policy,) = [m["content"] for m in found.of("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    (script,) = found.text("script")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none';") and f"script-src 'sha256-{digest}'" in policy
    assert {*re.findall(r"https?://[^\"' ]+", found.source)} <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not [a for tag, a in found.tags if tag in ("link", "iframe", "object", "form") or "onclick" in a]
    heads = found.of("th")
    assert heads and all(h.get("scope") in ("col", "row") for h in heads)
    assert len(found.of("caption")) == len(found.of("table")) == len([d for d in found.text("caption") if d.strip()])
    assert all({"role", "aria-labelledby"} <= {*s} for s in found.of("svg"))
    ids = [a["id"] for _, a in found.tags if "id" in a]
    assert len(ids) == len(set(ids))
    named = {name for s in found.of("svg") for name in s["aria-labelledby"].split()}
    assert named <= {*ids}
    assert {*re.findall(r'(?:url\(#|href="#)([^")]+)', found.source)} <= {*ids}
    assert not re.findall(r"#0a0b\w\w", found.source)  # the drawings' colours are the page's, dark or light


def test_names_are_text_and_no_markup(tmp_path, drawn):
    odd = """<script>alert('1')</script>"&.png"""
    about = facts(curve_of(3, terms=("style <b>relu1_1</b>", "content $^x$")), name=odd, notes=["<i>note</i>"])
    about.record["content"] = {"name": "a\nb\x1b[31m\udcff<u>.jpg", "sha256": "x"}
    about.record["style"]["name"] = "{{ 7 * 7 }}</title><script>"
    about.content = np.zeros((32, 48, 3), np.float32)
    listener.write_page(tmp_path / "a.html", page.page(about), False)
    found = Page(tmp_path / "a.html")
    assert len(found.of("script")) == 1 and not {"b", "i", "u"} & {tag for tag, _ in found.tags}
    assert found.text("h1") == [odd]
    assert r"before: a\nb\x1b[31m\udcff<u>.jpg" in found.text("figcaption")
    assert "style: {{ 7 * 7 }}</title><script>" in found.text("figcaption")


@pytest.mark.slow
def test_a_run_of_one_evaluation_and_one_without_terms_are_told(tmp_path, drawn):
    endless = curve_of(2)
    endless.losses[0] = endless.terms["style relu1_1"][0] = float("inf")
    for curve in (curve_of(1), curve_of(5, terms=("style relu1_1",)), Curve(), endless):
        about = facts(curve)
        listener.write_page(tmp_path / "a.html", page.page(about), True)
        assert len(Page(tmp_path / "a.html").of("svg")) == (3 if len(curve.terms) > 1 else len(curve) > 0)


def test_of_many_terms_the_largest_are_drawn_and_the_rest_added_up():
    curve = curve_of(4, terms=[f"style relu{k}" for k in range(12)])
    drawn = plots._largest(curve)
    assert list(drawn) == [f"style relu{k}" for k in range(5, 12)] + [plots.OTHERS]
    np.testing.assert_allclose(np.sum(list(drawn.values()), axis=0), curve.losses)


def test_colours_of_lines_stand_out_in_both_modes():
    """3:1 against the paper, as WCAG asks of graphics; text 4.5:1."""
    sheets = re.findall(r":root \{(.*?)\}", (page.FOLDER / "page.css").read_text(), re.DOTALL)
    assert len(sheets) == 2
    for sheet in sheets:
        colours = {k: v for k, v in re.findall(r"--([\w-]+): (#\w+)", sheet)}
        for name, colour in colours.items():
            if name.startswith("line-") or name in ("ink", "soft", "link"):
                least = 3 if name.startswith("line-") else 4.5
                assert contrast(colour, colours["paper"]) >= least, name


def contrast(a, b):
    """By WCAG 2."""
    light = []
    for colour in (a, b):
        colour = colour if len(colour) == 7 else "#" + "".join(2 * c for c in colour[1:])
        v = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
        linear = np.where(v <= 0.03928, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
        light.append(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return max(light) / min(light)


@pytest.mark.slow
def test_a_page_stays_below_two_megabytes():
    """Of a large picture of noise, the worst there is, with twenty styles and a full film."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 255, (1100, 1200, 3)).astype(np.float32)
    about = facts(curve_of(5000), content=noise)
    about.rgb, about.styles = noise, [noise[:480, :480]] * 20
    about.record["style"] = [about.record["style"]] * 20
    about.frames = [(f"evaluation {k}", noise[:240, :240].astype(np.uint8)) for k in range(12)]
    assert 5e5 < len(page.page(about).encode()) < 2.1e6


# ------------------------------------------------------------------------------------------------ later


def test_made_later_it_has_the_same_curves_and_the_film_of_save_every(copy, made, capsys, drawn):
    assert later.main(["out.png", "log.jsonl", "-o", "later.html"]) == 0
    assert capsys.readouterr().out == "wrote    later.html\n"
    found, first = Page("later.html"), Page(made / "run.html")
    drawings = [re.findall(r"<svg.*?</svg>", p.source, re.DOTALL) for p in (found, first)]
    assert drawings[0] == drawings[1] and len(drawings[0]) == 3
    assert np.array_equal(found.picture("After"), first.picture("After"))
    assert np.array_equal(found.picture("Before"), first.picture("Before"))
    assert found.text("h2") == SECTIONS
    assert [i["alt"] for i in found.of("img") if "evaluation" in i["alt"]] == ["The picture at evaluation 5"]


def test_what_is_missing_is_said(copy, capsys):
    for name in ("photo.png", "out-00005.png"):
        Path(name).unlink()
    assert later.main(["out.png"]) == 0
    out = capsys.readouterr().out
    assert "Made without a log" in out and "No pictures of the way" in out
    assert "The content photo.png is not shown: it is neither beside out.png nor in this folder." in out
    found = Page("out.html")
    assert "0 evaluations of" in found.source and not [i for i in found.of("img") if i["alt"].startswith("Before")]
    assert any("Made without a log" in data for data in found.text("li"))


def test_no_link_leads_to_a_page_in_place_of_what_is_read(copy, capsys):
    before = Path("out.png").read_bytes()
    Path("run.html").symlink_to("out.png")
    assert later.main(["out.png", "log.jsonl", "-o", "run.html", "--overwrite"]) == 2
    assert "-o run.html: the same file as out.png, which is read" in capsys.readouterr().err
    assert Path("out.png").read_bytes() == before


def test_inputs_may_be_elsewhere_and_the_film_an_animation(copy, capsys):
    Path("else").mkdir()
    for name in ("photo.png", "style.png"):
        Path(name).rename(Path("else") / name)
    Path("out-00005.png").unlink()
    frames = [Image.fromarray(np.full((20, 30, 3), 10 * k, np.uint8)) for k in range(20)]
    frames[0].save("run.gif", save_all=True, append_images=frames[1:])
    args = [
        "out.png",
        "log.jsonl",
        "--content",
        "else/photo.png",
        "--style",
        "else/style.png",
        "--animation",
        "run.gif",
    ]
    assert later.main(args) == 0
    found = Page("out.html")
    assert len([i for i in found.of("img") if "frame" in i["alt"]]) == 12
    assert found.picture("Before").shape == (34, 48, 3)
    assert later.main([*args[:3], "else/style.png", "--overwrite"]) == 1
    assert "else/style.png: another content than the one that out.png was made from" in capsys.readouterr().err


def damaged(text, kind):
    lines = text.splitlines(keepends=True)
    other = lines[3].replace(json.loads(lines[0])["run"], "0" * 12)
    return {
        "empty": "",
        "no log": "hello\n",
        "a number": "5\n",
        "a gap": "".join(lines[:3] + lines[4:]),
        "twice": text + text,
        "two runs": "".join(lines[:3]) + other,
        "in the middle": "".join([*lines[:2], "{\n", *lines[2:]]),
        "a field": text.replace('"exact": true', '"exact": "yes"'),
        "a term": text.replace('"terms": {"', '"terms": {"more": "x", "'),
        "a deep one": "[" * 100_000 + "\n",
        "a large one": re.sub('(?<="loss": )[^,]*', "1" + "0" * 400, text, count=1),
    }[kind]


@pytest.mark.parametrize(
    "about", [{"settings": {}, "result": {}, "stages": []}, {"settings": [], "result": [], "stages": 3, "style": "x"}]
)
def test_a_picture_that_says_something_else_of_itself_is_refused(folder, capsys, about):
    saving.save("odd.png", np.zeros((16, 16, 3), np.float32), metadata=about)
    assert later.main(["odd.png"]) == 1
    error = capsys.readouterr().err
    assert "odd.png: how it was made is not as style.run writes it" in error and error.count("\n") == 1
    assert not Path("odd.html").exists()


@pytest.mark.parametrize(
    "kind, said",
    [
        ("empty", "log.jsonl: empty; expected the file that --log wrote"),
        ("no log", "log.jsonl: not a log of ours (no JSON"),
        ("a number", "log.jsonl: not a log of ours (no JSON object)"),
        ("a gap", "log.jsonl: line 4: evaluation 5 of another run"),
        ("twice", "log.jsonl: line 10: evaluation 1 of another run; expected a log of one run"),
        ("two runs", "log.jsonl: line 4: evaluation 4 of another run"),
        ("in the middle", "log.jsonl: line 3 is not one of --log's (no JSON"),
        ("a field", "log.jsonl: line 1 is not one of --log's (exact is 'yes')"),
        ("a term", "log.jsonl: line 1 is not one of --log's (terms are no numbers)"),
        ("a deep one", "log.jsonl: not a log of ours (no JSON"),
        ("a large one", "log.jsonl: line 1 is not one of --log's (a number is too large)"),
    ],
)
def test_a_file_that_is_no_log_of_one_run_is_refused(copy, capsys, kind, said):
    text = Path("log.jsonl").read_text()
    Path("log.jsonl").write_text(damaged(text, kind))
    assert later.main(["out.png", "log.jsonl"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"style.report: {said}") and error.count("\n") == 1, error
    assert not Path("out.html").exists()


def test_a_log_that_is_cut_off_is_told_as_far_as_it_goes(copy, capsys):
    text = Path("log.jsonl").read_text()
    Path("log.jsonl").write_text(text[: text.index('"evaluation": 6') + 40])
    assert later.main(["out.png", "log.jsonl"]) == 0
    out = capsys.readouterr().out
    assert "The last line of log.jsonl is cut off and left out." in out
    assert "log.jsonl ends at evaluation 5 of 9." in out
    assert "5 evaluations of" in Page("out.html").source


def without_run(text):
    """A log as it was written before its lines named the run."""
    records = [json.loads(line) for line in text.splitlines()]
    return "".join(json.dumps({k: v for k, v in r.items() if k != "run"}) + "\n" for r in records)


@pytest.mark.parametrize(
    "options, named, said",
    [
        (["--style-weight", "7", "--scales", "2"], True, "of other pictures, weights or settings (run "),
        (["--scales", "1"], False, "it has a scale of 48x34, the picture has 24x17, 48x34"),
        (["--scales", "24:9,48:9"], False, "it has 18 evaluations, the picture 9"),
        (["--scales", "2", "--tv-weight", "1"], False, "it has terms that the picture has not"),
        (["--scales", "2", "--style-weight", "3"], False, "its lowest loss is "),
    ],
)
def test_a_log_of_another_run_is_refused(copy, capsys, options, named, said):
    args = ["photo.png", "style.png", "-o", "other.png", "--log", "other.jsonl", "--quiet", *options, *FLAGS]
    assert run.main([*args, *([] if ":" in options[1] else EVALUATIONS)]) == 0
    if not named:
        text = without_run(Path("other.jsonl").read_text())
        Path("other.jsonl").write_text(text)
    assert later.main(["out.png", "other.jsonl"]) == 1
    error = capsys.readouterr().err
    assert f"other.jsonl: the log of another run than out.png's: {said}" in error and error.count("\n") == 1, error


def test_a_log_without_the_runs_name_is_taken_for_what_it_has(copy):
    text = without_run(Path("log.jsonl").read_text())
    Path("log.jsonl").write_text(text)
    assert later.main(["out.png", "log.jsonl"]) == 0


def test_a_log_that_an_earlier_version_began_may_go_on_with_the_runs_name(copy, capsys):
    lines = Path("log.jsonl").read_text().splitlines(keepends=True)
    Path("log.jsonl").write_text(without_run("".join(lines[:4])) + "".join(lines[4:]))
    curve, _ = read_log("log.jsonl")
    assert len(curve) == 9 and curve.run == json.loads(lines[4])["run"]
    assert later.main(["out.png", "log.jsonl"]) == 0
    other = "".join(lines[4:]).replace(curve.run, "0" * 12)
    Path("log.jsonl").write_text(without_run("".join(lines[:4])) + other)
    assert later.main(["out.png", "log.jsonl", "--overwrite"]) == 1
    assert "the log of another run than out.png's" in capsys.readouterr().err


@pytest.mark.slow
def test_a_huge_log(copy, drawn):
    record = json.loads(Path("log.jsonl").read_text().splitlines()[0])
    picture = saving.read_metadata("out.png")
    picture["result"]["evaluations"], picture["result"]["loss"] = 100_000, 0.0
    picture["stages"] = picture["stages"][:1]
    saving.save("out.png", images.read("out.png").rgb, metadata=picture, replace=True)
    with open("log.jsonl", "w") as file:
        for k in range(1, 100_001):
            file.write(json.dumps(record | {"evaluation": k, "loss": 1 / k}) + "\n")
    assert later.main(["out.png", "log.jsonl"]) == 0
    found = Page("out.html")
    assert len(found.source) < 4e5
    assert "about every 250th is drawn" in found.source


@pytest.mark.parametrize(
    "args, code, said",
    [
        (["photo.png"], 1, "photo.png: no picture of ours that says how it was made"),
        (["narrow.npz"], 1, "narrow.npz: cannot be read as a picture"),
        (["missing.png"], 1, "missing.png: no such file"),
        (["out.png", "missing.jsonl"], 1, "missing.jsonl: no such file; expected a log"),
        (["out.png", "."], 1, ".: not a file; expected a log"),
        (["out.png", "-o", "out.pdf"], 2, '-o out.pdf: the suffix ".pdf"; expected .html or .htm'),
        (["out.png", "-o", "there.html"], 2, "-o there.html: exists already"),
        (["out.png", "-o", "no/such.html"], 2, "no/such.html: cannot write"),
        (["out.png", "--style", "photo.png", "style.png"], 1, "out.png: it was made from 1 styles; give as many"),
        (["out.png", "--content", "missing.png"], 1, "missing.png: no such file"),
        (["out.png", "--animation", "missing.gif"], 1, "missing.gif: cannot be read as an animation"),
        (["out.png", "--colour", "red"], 2, "--colour is not an option"),
    ],
)
def test_later_it_refuses_in_a_line(copy, capsys, args, code, said):
    Path("there.html").write_text("mine")
    Path("out-00005.png").unlink()
    try:
        found = later.main(args)
    except SystemExit as end:
        found = end.code
    error = capsys.readouterr().err
    assert (found, error.count("\n")) == (code, 1) and said in error, error
    assert Path("there.html").read_text() == "mine" and not Path("out.html").exists()


# ------------------------------------------------------------------------------------------- doing it again


def recorded(preset=None, **options):
    about = facts(curve_of(1)).record
    return about | {"settings": settings_from(preset, **options).to_dict()}


OPTIONS = [
    {},
    {"style_layers": "relu1_1:0.1,relu4_1", "content_layers": "none", "init": "noise", "seed": 3},
    {"bounds": False, "strength": 0.1 + 0.2, "keep_colors": True},
    {"mask": "sky line.png,rest", "style_mask": ["a.png", None], "guidance": "all"},
    {"palette": "#102030,#a0b0c0", "dither": True},
    {"optimizer": "adam", "adam_betas": (0.5, 0.25), "learning_rate": 3.3},
    {"optimizer": "two-loop"},
    {"size": "original", "style_size": (64, 32), "style_blend": (0.75, 0.25), "scales": 2},
    {"style_loss": "gram,moments:0.5", "tv_weight": 1e-7, "tv_beta": 1.5, "memory": "2GB", "device": "cpu"},
]


@pytest.mark.parametrize("options", [*({"preset": name} for name in presets()), *OPTIONS], ids=str)
def test_the_command_has_the_same_settings(options):
    record = recorded(**options)
    words = shlex.split(command(record))
    assert words[:3] == ["python", "-m", "style.run"]
    args = parsed(words[3:])
    assert [args.content, *args.style] == ["photo.jpg", "style.jpg"]
    given = {name: getattr(args, name) for name in record["settings"] if getattr(args, name) is not None}
    pictures, given = styles_and_options(args.style, given)
    found = settings_from(**given).to_dict()
    expected = record["settings"] | {"weights": record["settings"]["weights"] or "mini"}
    idle = {n for n, o in style.options.options_of(style.Settings).items() if o.needs}
    for name, value in json.loads(json.dumps(expected)).items():
        if name not in idle or name in given:
            assert json.loads(json.dumps(found[name])) == value, name


def test_the_command_makes_the_same_picture(copy):
    Path("elsewhere").mkdir()
    found = Page(shutil.copy("out.png", "elsewhere") and write_report())
    (line,) = [c for c in found.text("code") if "style.run" in c and "--again" not in c]
    assert run.main([*shlex.split(line)[3:], "-o", "second.png", "--quiet"]) == 0
    assert np.array_equal(images.read("second.png").rgb, images.read("out.png").rgb)


def write_report():
    assert later.main(["out.png", "log.jsonl"]) == 0
    return "out.html"


def test_the_command_names_no_folder_and_quotes_what_a_shell_would_take():
    record = recorded(weights="/home/jane/nets/my net.npz")
    record["content"]["name"], record["style"]["name"] = "-x $(reboot).png", "sample:strokes:512"
    text = command(record)
    assert "jane" not in text
    assert shlex.split(text)[3:5] == ["./-x $(reboot).png", "sample:strokes:512"]
    assert "'my net.npz'" in text
    assert shlex.split(again("-x $(reboot).png"))[3:] == ["--again", "./-x $(reboot).png"]


def test_there_is_no_command_of_pictures_from_memory(pictures, network_file):
    result = style.transfer(*pictures, size=48, evaluations=1, weights=str(network_file), device="cpu")
    assert command(result.metadata) is None
    assert command(recorded(keep=np.ones((4, 4)))) is None


def test_the_command_of_a_texture(folder):
    assert run.main(["--texture", "style.png", "-o", "out.png", *FLAGS, *EVALUATIONS, "--quiet"]) == 0
    text = command(saving.read_metadata("out.png"))
    assert text.startswith("python -m style.run style.png --texture")
    assert run.main([*shlex.split(text)[3:], "-o", "second.png", "--quiet"]) == 0
    assert np.array_equal(images.read("second.png").rgb, images.read("out.png").rgb)
    assert later.main(["out.png"]) == 0
    assert "A texture of style.png" in Page("out.html").source


# ------------------------------------------------------------------------------------- while a run goes on


@pytest.mark.parametrize(
    "args, said",
    [
        (["--report", "run.pdf"], '--report run.pdf: the suffix ".pdf"; expected .html or .htm'),
        (["--report", "run"], "--report run: no suffix"),
        (["--report", ""], "--report ''"),
        (["--report", "there.html"], "--report there.html: exists already; give another name or --overwrite"),
        (["--report", "folder.html"], "--report folder.html: a folder"),
        (["--report", "no/such.html"], "--report no/such.html: cannot write"),
        (["--report", "a.html", "--log", "a.html"], "is the --log file as well"),
        (["--report", "link.html", "--overwrite"], "is the content file"),
    ],
)
def test_refused_before_any_work(folder, capsys, args, said):
    Path("there.html").write_text("mine")
    Path("folder.html").mkdir()
    Path("link.html").symlink_to("photo.png")
    assert main(*args) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error
    assert Path("there.html").read_text() == "mine" and not Path("out.png").exists()


@pytest.mark.parametrize("missing", [["jinja2"], ["jinja2", "matplotlib"]])
def test_without_the_extra_it_says_what_to_install(copy, capsys, monkeypatch, missing):
    real = listener.importlib.util.find_spec
    monkeypatch.setattr(
        listener.importlib.util, "find_spec", lambda name, *rest: None if name in missing else real(name, *rest)
    )
    line = f'needs {" and ".join(listener.NEEDED[m] for m in missing)}; pip install "minivgg-style[report]"'
    assert main("--report", "run.html", "--overwrite") == 2
    assert f"--report run.html: {line}" in capsys.readouterr().err
    assert later.main(["out.png"]) == 2
    assert line in capsys.readouterr().err


def interrupted_at(number):
    real = style.running.Run._counted

    def counted(self, event, *rest):
        if event.evaluation == number:
            raise KeyboardInterrupt
        return real(self, event, *rest)

    return counted


def test_interrupted_it_is_of_the_best_picture_so_far(folder, monkeypatch):
    monkeypatch.setattr(style.running.Run, "_counted", interrupted_at(5))
    assert main("--report", "run.html") == 130
    found = Page("run.html")
    assert "interrupted after" in found.source
    assert np.abs(found.picture("After") - images.read("out.png").rgb).mean() < 8


@pytest.mark.parametrize("broken", ["page", "write"])
def test_a_report_that_cannot_be_made_costs_no_picture(folder, capsys, monkeypatch, broken):
    def fails(*args, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((page, "page", fails) if broken == "page" else (listener, "write_page", fails)))
    assert main("--report", "run.html") == 0
    said = "--report run.html: cannot be made (No space left on device)"
    assert capsys.readouterr().err.count(said) == 1
    assert Path("out.png").exists() and not Path("run.html").exists()


@pytest.mark.parametrize("named", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_run_that_goes_on_tells_of_both_parts(folder, monkeypatch, capsys, named):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoint, "remove", lambda self: None)
        patch.setattr(style.running.Run, "_counted", interrupted_at(5))
        more = ("--checkpoint", "state", "--checkpoint-every", "1", "--log", "log.jsonl")
        assert main("--report", "run.html", *more) == 130
    if not named:  # an earlier version wrote the first part
        Path("log.jsonl").write_text(without_run(Path("log.jsonl").read_text()))
    assert run.main(["--resume", "state", "--quiet"]) == 0
    found = Page("run.html")
    assert "6 evaluations of" in found.source and "the film begins there" in found.source
    assert "There is no log" not in found.source
    last = read_log("log.jsonl")[0]
    assert last.evaluations == [1, 2, 3, 4, 5, 6]


def test_a_run_that_goes_on_without_a_log_says_what_it_does_not_know(make_job):
    job, states = make_job(optimizer="adam", evaluations=6), []
    job.run(cases.hears(style.events.Iterated, lambda e: states.append(e.state())))
    heard = report.Report("x.html", False, pytest.fail)
    result = make_job(optimizer="adam", evaluations=6).run(heard, state=states[2])
    assert heard.curve.losses == result.losses and len(heard.curve) == 6
    assert (
        np.isnan(heard.curve.terms["style relu1_1"][:3]).all()
        and np.isfinite(heard.curve.terms["style relu1_1"][3:]).all()
    )
    assert heard.notes[1].startswith("There is no log of what came before")
    page.page(heard.facts("x.png", saved=False))


def test_it_is_a_listener_of_the_library_too(make_job, tmp_path):
    heard = report.Report(tmp_path / "a.html", False, pytest.fail)
    result = make_job().run(heard)
    assert heard.write("picture in memory", saved=False) == tmp_path / "a.html"
    assert Page(tmp_path / "a.html").text("h1") == ["picture in memory"]
    assert heard.curve.losses == result.losses


# ----------------------------------------------------------------------------------------- several pictures


def batch(*args):
    more = ["--out-dir", "out", "--report", "sheet.html", "--quiet", *args]
    return run.main(["style.png", "--contents", "photo.png", "bad.png", "b photo.png", *more, *FLAGS, *EVALUATIONS])


def test_a_batch_has_a_sheet_that_leads_to_each(folder, capsys):
    shutil.copy("style.png", "b photo.png")
    Path("bad.png").write_text("none")
    assert batch() == 1
    found = Page("sheet.html")
    links = [a["href"] for a in found.of("a")]
    assert links == ["sheet-photo-style.html", "sheet-b-photo-style.html"]
    assert Page(links[1]).text("h1") == ["b photo-style.png"]
    assert [d for d in found.text("figcaption") if d.startswith("failed: bad.png")]
    assert len(found.of("img")) == 2
    before = {name: Path(name).read_bytes() for name in links}
    Path("out/photo-style.png").unlink()
    assert batch() == 1  # started again: the sheet is our own, and what was there keeps its report with its curves
    assert Path(links[1]).read_bytes() == before[links[1]]
    assert "was there already" in Page("sheet.html").source
    Path(links[1]).unlink()
    assert batch() == 1
    assert "Made without a log" in Page(links[1]).source
    Path("sheet.html").write_text("mine")
    capsys.readouterr()
    assert batch() == 2
    assert "sheet.html: exists already" in capsys.readouterr().err
    assert Path("sheet.html").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["photo.png", "bad.png"])
def test_a_sheet_may_lie_in_the_folder_that_is_made_for_the_pictures(folder, name):
    """Also where none of them comes to be."""
    Path("bad.png").write_text("none")
    made = ["style.png", "--contents", name, "--out-dir", "out/more", "--report", "out/more/index.html", "--quiet"]
    assert run.main([*made, *FLAGS, "--evaluations", "1"]) == (name == "bad.png")
    assert len(Page("out/more/index.html").of("figure")) == 1
    swept = ["--sweep", "style-weight=1,2", "--out-dir", "cells", "--report", "cells/index.html", "--quiet"]
    assert run.main(["photo.png", "style.png", "-o", "s.png", *swept, *FLAGS, "--evaluations", "1"]) == 0
    assert Path("cells/index.html").exists()


def test_a_sweep_has_a_sheet_that_leads_to_each(folder):
    args = ["photo.png", "style.png", "-o", "sheet.png", "--sweep", "style-weight=1,0.5", "--report", "index.html"]
    assert run.main([*args, "--quiet", *FLAGS, "--evaluations", "2"]) == 0
    links = [a["href"] for a in Page("index.html").of("a")]
    assert links == ["index-01-style-weight-1.html", "index-02-style-weight-0.5.html"]
    found = Page(links[1])
    assert "--again" not in found.source  # the cell's picture is no file
    assert Page("index.html").text("h1") == ["photo.png: --style-weight"]


def test_names_that_become_one_keep_their_own_reports(tmp_path):
    names = ["a b.png", "a-b.png", "a/b.png", "a b.png"]
    several = report.Reports(tmp_path / "s.html", "all", names, False, pytest.fail)
    assert [several.report(n).path.name for n in names] == ["s-a-b.html", "s-a-b-2.html", "s-a-b-3.html", "s-a-b.html"]


def test_a_report_beside_a_sheet_has_a_name_that_a_disk_takes(tmp_path):
    names = [f"{'漢' * 100}{k}.png" for k in range(2)]
    several = report.Reports(tmp_path / f"{'s' * 60}.html", "all", names, False, pytest.fail)
    paths = [several.report(name).path for name in names]
    assert paths[0] != paths[1]
    for path in paths:
        path.touch()


def test_queues_have_no_sheet(folder, capsys):
    Path("jobs").mkdir()
    assert run.main(["--jobs", "jobs", "--report", "a.html"]) == 2
    assert "--report: works with one picture, without --jobs" in capsys.readouterr().err


def test_a_log_has_the_fingerprint_of_its_picture(copy):
    curve, notes = read_log("log.jsonl")
    assert curve.run == style.provenance.fingerprint(saving.read_metadata("out.png")) and not notes
    with pytest.raises(ReportError, match="no such file"):
        read_log("other")


@pytest.mark.slow
def test_a_run_that_goes_on_with_nothing_left_to_do_has_its_report(tmp_path, monkeypatch, capsys):
    """As where its picture could not be written, and its state was kept."""
    monkeypatch.chdir(tmp_path)
    cases.lay_out(tmp_path, {"a.png": (6, 4), "b.png": (5, 7)})
    with monkeypatch.context() as m:
        m.setattr(checkpoint.Checkpoint, "remove", lambda self: self.kept())
        assert run.main(["a.png", "b.png", "-o", "o.png", "--checkpoint", "c", *FLAGS, "--evaluations", "2"]) == 0
    assert run.main(["--resume", "c", "--report", "r.html"]) == 0
    assert "cannot be made" not in capsys.readouterr().err
    assert "gone on with after evaluation 2" in Path("r.html").read_text()
