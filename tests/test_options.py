"""Each option, from its one line: its flag and its group in --help, its limits, what it needs, what is stored of it."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest

from style import SettingsError, command, run
from style.options import KINDS, Parser, check_value, default_of, flag, markdown, option, options_of
from style.recipes import WORDS, extended
from style.settings import OPTIMIZER_ALIASES, Settings, presets, settings_from

CLASSES = (command.Files, Settings)
OPTIONS = [(cls, name, opt) for cls in CLASSES for name, opt in options_of(cls).items()]
NAMES = [name for _, name, _ in OPTIONS]
# An option that needs another: a value for it, a setting beside which it works, and one beside which it does not.
NEEDS = {
    "learning_rate": (3.0, {"optimizer": "adam"}, {"optimizer": "l-bfgs-b"}),
    "adam_betas": ((0.5, 0.6), {"optimizer": "adam"}, {"optimizer": "l-bfgs"}),
    "adam_eps": (1e-4, {"optimizer": "adam"}, {"optimizer": "l-bfgs"}),
    "history": (5, {"optimizer": "two-loop"}, {"optimizer": "adam"}),
    "tolerance": (0.1, {"optimizer": "l-bfgs-b"}, {"optimizer": "adam"}),
    "noise_level": (3.0, {"init": "blend"}, {"init": "content"}),
    "noise_ratio": (0.5, {"init": "blend"}, {"init": "noise"}),
    "seed": (3, {"init": "noise"}, {"init": "style"}),
    "tv_beta": (1.0, {"tv_weight": 1.0}, {"tv_weight": 0.0}),
    "evaluations": (5, {"scales": "32:5,64"}, {"scales": "32:5,64:3"}),
    "match_to": ("style", {"match_colors": "pca"}, {}),
    "dither": (True, {"palette": "#000000,#ffffff"}, {}),
    "content_weight": (2.0, {}, {"content_layers": "none"}),
    "style_weight": (2.0, {}, {"style_layers": "none"}),
    "style_loss": ({"nearest": 1.0}, {}, {"style_layers": "none"}),
    "balance": (True, {}, {"style_layers": "none"}),
    "guidance": ("inside", {"mask": "m.png"}, {"mask": "all"}),
    # these are refused by themselves, beside a default too
    "precondition": (0.45, {"optimizer": "l-bfgs"}, {"optimizer": "l-bfgs-b"}),
    "lag": (40, {"optimizer": "adam"}, {"optimizer": "l-bfgs-b"}),
    "bounds": (True, {"optimizer": "adam"}, {"optimizer": "two-loop"}),
    "match_colors": ("pca", {}, {"keep_colors": True}),
    "match_histogram": ("style", {}, {"keep_colors": True}),
    "palette": ("#102030,#a0b0c0", {}, {"keep_colors": True}),
}


def command_line(capsys, *args):
    """(exit code, standard error) of the program."""
    try:
        code = run.main([*args])
    except SystemExit as e:
        code = e.code
    return code, capsys.readouterr().err


def as_args(options):
    """The same options for the command line."""
    args = []
    for name, value in options.items():
        value = [f"{k}:{v}" for k, v in value.items()] if isinstance(value, dict) else value
        text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
        args += [flag(name)] if value is True else [flag(name), text]
    return args


@pytest.fixture(scope="module")
def help_text():
    return command.parser().format_help()


# --------------------------------------------------------------------------------------------- the parser


@pytest.mark.parametrize("cls, name, opt", OPTIONS, ids=NAMES)
def test_each_option_has_its_flag_and_its_line_in_its_group(cls, name, opt, help_text):
    heads = list(dict.fromkeys(o.group for _, _, o in OPTIONS))
    start = help_text.index(f"\n{opt.group}:\n")
    later = heads[heads.index(opt.group) + 1 :]
    part = help_text[start : help_text.index(f"\n{later[0]}:\n")] if later else help_text[start:]
    assert re.search(rf"^  (-\w[^-]*)?{flag(name)}\b", part, re.MULTILINE)
    assert "".join(opt.help.split()) in "".join(help_text.split())
    (action,) = [a for a in command.parser()._actions if flag(name) in a.option_strings]
    assert (action.dest, action.default) == (name, None)
    for alias in opt.aliases:
        assert flag(alias) in action.option_strings or f"-{alias}" in action.option_strings


def test_the_experts_group_is_the_last(help_text):
    heads = re.findall(r"^([a-z ]+):$", help_text, re.MULTILINE)
    assert heads[-2:] == ["for experts", "presets"]
    assert len(heads) == len(set(heads))


def test_defaults_are_what_help_says():
    for cls, name, opt in OPTIONS:
        stated = re.search(r"\(default (-?[\d.e-]+)[;:)]", opt.help)
        if stated and opt.kind in ("whole", "number") and default_of(cls, name) is not None:
            assert float(stated[1]) == default_of(cls, name), name


def test_names_are_unique():
    names = NAMES + [alias for _, _, opt in OPTIONS for alias in opt.aliases]
    assert len(names) == len(set(names))
    assert {opt.kind for _, _, opt in OPTIONS} <= {*KINDS}


# ------------------------------------------------------------------------------------------- limits, choices

NUMERIC = [
    (cls, name, opt) for cls, name, opt in OPTIONS if opt.kind in ("whole", "pixels", "number") and not opt.choices
]
BESIDE = {"optimizer": "l-bfgs", "bounds": False}  # with which a Settings refuses no number


def made(cls, **options):
    return cls(**(BESIDE if cls is Settings else {}) | options)


@pytest.mark.parametrize("cls, name, opt", NUMERIC, ids=[n for _, n, _ in NUMERIC])
def test_the_edges_are_taken_and_what_lies_beyond_is_refused(cls, name, opt):
    whole = opt.kind != "number"
    lowest = np.nextafter(opt.above, math.inf) if opt.above is not None else opt.low
    highest = opt.high if opt.high < math.inf else (10**30 if whole else 1e300)
    assert lowest > -math.inf
    for value in (lowest, highest):
        assert getattr(made(cls, **{name: value}), name) == value
    beyond = [opt.above if opt.above is not None else (lowest - 1 if whole else np.nextafter(lowest, -math.inf))]
    if opt.high < math.inf:
        beyond.append(opt.high + 1 if whole else np.nextafter(opt.high, math.inf))
    if not whole:
        beyond += [math.nan, math.inf, -math.inf]
    for value in beyond:
        with pytest.raises(SettingsError, match=rf"^{name} .*: expected ") as e:
            made(cls, **{name: value})
        assert e.value.option == name
        assert e.value.on_command_line.startswith(f"{flag(name)} ")


WRONG = {
    "whole": [1.5, "1", True, [1]],
    "number": ["1", True, [1.0], 1j],
    "text": [1, None, ["max"]],
    "switch": [1, "yes"],
    "path": [5, ["a"]],
    "text or whole": [2.5, ["32"]],
    "layers": [5, 1.0],
    "palette": [5, 1.0, True],
    "pair": [5, (0.9,), (0.9, 1.0), (-0.1, 0.5), ("a", "b")],
}


@pytest.mark.parametrize("cls, name, opt", OPTIONS, ids=NAMES)
def test_values_of_another_kind_are_refused_by_name(cls, name, opt):
    for value in WRONG.get(opt.kind, []):
        if value is None and default_of(cls, name) is None:
            continue
        with pytest.raises(SettingsError, match=f"^{name} ") as e:
            made(cls, **{name: value})
        assert e.value.on_command_line.startswith(flag(name))


REFUSED = [
    (n, {"whole": "x", "number": "x", "pair": "x,y"}[o.kind])
    for _, n, o in OPTIONS
    if o.kind in ("whole", "number", "pair")
]
REFUSED += [(n, "no-such") for _, n, o in OPTIONS if o.choices]
REFUSED += [(n, str(o.low - 1)) for _, n, o in NUMERIC if o.low > -math.inf]
REFUSED += [(n, str(o.high * 2)) for _, n, o in NUMERIC if o.high < math.inf]
REFUSED += [(n, str(o.above)) for _, n, o in NUMERIC if o.above is not None]
REFUSED += [("scales", "x"), ("style_loss", "gramm"), ("style_layers", "relu9_9"), ("content_layers", "relu1_1:x")]
REFUSED += [("palette", text) for text in ("no such", "#12345", "#abc,nothing", "style:0", "style:many", "")]
REFUSED += [("memory", "lots"), ("preset", "gattys"), ("init", "nowhere.png"), ("log", "no/such/log"), ("output", "")]


@pytest.mark.parametrize("name, text", REFUSED)
def test_the_command_line_refuses_in_one_line_with_the_flag(tmp_path, monkeypatch, capsys, name, text):
    monkeypatch.chdir(tmp_path)
    code, err = command_line(capsys, "sample:scene:64", "sample:strokes:64", "--weights", "mini", flag(name), text)
    assert code == 2
    assert err.startswith("style.run: ")
    assert err.count("\n") == 1
    assert flag(name) in err or (name == "output" and "-o ''" in err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name, opt", [(n, o) for c, n, o in OPTIONS if c is command.Files and o.kind == "path"])
def test_a_word_for_off_names_no_file_but_one_in_a_folder_does(tmp_path, monkeypatch, capsys, name, opt):
    monkeypatch.chdir(tmp_path)
    typed, what = "-o" if name == "output" else flag(name), "folder" if opt.metavar == "DIR" else "file"
    for word in ("none", "None", "off", "no", "false"):
        says = f"expected a {what} name; leave {typed} away, or give ./{word} for a {what} of that name"
        found = command_line(capsys, "sample:scene:64", "sample:strokes:64", "--weights", "mini", flag(name), word)
        assert found == (2, f"style.run: {typed} {word}: {says}\n")
    assert not list(tmp_path.iterdir())
    assert getattr(command.Files(**{name: "./none"}), name) == "./none"


def test_choices_are_all_taken():
    for cls, name, opt in OPTIONS:
        for choice in opt.choices:
            assert getattr(made(cls, **{name: choice}), name) == choice
    for alias, name in OPTIMIZER_ALIASES.items():
        assert Settings(optimizer=alias).optimizer == name


# ------------------------------------------------------------------------------------------------- needs


def test_every_need_is_tried_here():
    assert {n for cls, n, o in OPTIONS if o.needs and cls is Settings} <= {*NEEDS}  # Files': test_sweep, test_jobs


@pytest.mark.parametrize("name", list(NEEDS))
def test_what_would_do_nothing_is_refused_with_what_it_needs(tmp_path, monkeypatch, capsys, name):
    value, works, fails = NEEDS[name]
    assert getattr(settings_from(**{name: value} | works), name) == value
    with pytest.raises(SettingsError, match=f"^{name}: works with ") as e:
        settings_from(**{name: value} | fails)
    needs = options_of(Settings)[name].needs
    if needs:
        assert e.value.on_command_line == f"{flag(name)}: works with {needs[0]}"
    assert "--" not in str(e.value)
    monkeypatch.chdir(tmp_path)
    code, err = command_line(capsys, "sample:scene:64", "--weights", "mini", *as_args({name: value} | fails))
    assert (code, err) == (2, f"style.run: {e.value.on_command_line}\n")


# ------------------------------------------------------------------------------------- presets, what is stored

STORED = (
    {},
    {"preset": "coursera"},
    {"preset": "tf-tutorial"},
    {"preset": "large"},
    {"match_colors": "symmetric", "match_to": "style", "match_histogram": "content"},
    {"palette": ["#abc", (1, 2, 3)], "dither": True},
    {"preset": "fast", "memory": 10**9, "size": np.int64(99)},
    {"preset": "neural-style", "optimizer": "adam"},
    {"init": "blend", "noise_ratio": 0.25, "scales": "3", "style_layers": ["relu1_1"], "style_weight": np.float32(0.1)},
)


@pytest.mark.parametrize("options", STORED, ids=[str(o.get("preset", k)) for k, o in enumerate(STORED)])
def test_stored_settings_have_every_option_and_give_the_same_settings(options):
    settings = settings_from(**options)
    stored = json.loads(json.dumps(settings.to_dict()))
    assert [*stored] == [*options_of(Settings)]
    again = settings_from(**stored)
    assert again == settings
    assert again.to_dict() == settings.to_dict()
    assert repr(again) == repr(settings)  # types too
    assert settings_from(**{"seed": 7} | {k: v for k, v in stored.items() if k != "seed"}).seed == 7


def test_a_preset_extends_another():
    gatys, fast = presets()["gatys"], presets()["fast"]
    for name in ("content_weight", "content_layers", "style_weight", "style_layers", "tv_weight", "pooling", "init"):
        assert fast[name] == gatys[name]
    assert "extends" not in fast
    assert "without" not in fast
    assert not {"size", "side", "resample"} & {*fast}
    assert (fast["evaluations"], fast["optimizer"]) == (200, "l-bfgs")
    assert fast["source"] != gatys["source"]
    table = {"a": {"size": 1, "seed": 2, "source": "a"}, "b": {"extends": "a", "size": 3, "source": "b"}}
    table["c"] = {"extends": "b", "without": ["seed"], "pooling": "avg", "source": "c"}
    assert extended(table, "b") == {"size": 3, "seed": 2, "source": "b"}
    assert extended(table, "c") == {"size": 3, "pooling": "avg", "source": "c"}


def test_every_preset_is_made_of_options():
    for name, values in presets().items():
        assert values.keys() - {*WORDS} <= options_of(Settings).keys()
        assert {"source", "about"} <= values.keys()
        assert settings_from(name) == Settings(**{k: v for k, v in values.items() if k not in WORDS})


# --------------------------------------------------------------------------------------------- the machinery


def test_an_option_is_one_line():
    """A class of one's own: the flag, the refusals and the row come of it."""

    @dataclasses.dataclass(frozen=True)
    class Own:
        depth: int = option(3, "whole", "own", "how deep, 50% of it (default 3)", "N", low=1, high=9, shown=True)
        table: dict = option({"a": 1}, "layers", "own", "not shown")  # noqa: RUF009

    assert Own().depth == 3
    assert Own().table is not Own().table
    assert default_of(Own, "table") == {"a": 1}
    parser = Parser(prog="own")
    parser.add_options(Own)
    assert parser.parse_args(["--depth", "4"]).depth == 4
    assert "50% of it" in parser.format_help()
    assert [*markdown(Own)] == ["| option | |", "| --- | --- |", "| `--depth N` | how deep, 50% of it (default 3) |"]
    with pytest.raises(SettingsError, match="depth 10: expected 1 to 9"):
        check_value("depth", options_of(Own)["depth"], 10, 3)


def test_unknown_names_in_python_are_corrected():
    with pytest.raises(SettingsError, match=r"unknown option 'style_wieght', did you mean style_weight\?"):
        settings_from(style_wieght=3)
