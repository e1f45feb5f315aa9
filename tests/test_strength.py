"""How much style: --strength between the photograph and nothing but style, --balance of the layers, the shares said."""

import numpy as np
import pytest

import style
from style.large import forecast
from style.printing import shares
from style.settings import Settings
from style.statistics import equalised


def test_half_is_what_the_weights_say():
    assert Settings().factors == Settings(strength=0.5).factors == (1.0, 1.0)
    assert Settings(strength=0).factors == (1.0, 0.0)
    assert Settings(strength=1).factors == (0.0, 1.0)


def test_the_balance_grows_with_the_strength():
    ratios = []
    for s in np.linspace(0, 0.99, 34):
        content, styled = Settings(strength=s).factors
        assert max(content, styled) == 1
        assert content * Settings(strength=1 - s).factors[0] == pytest.approx(
            styled * Settings(strength=1 - s).factors[1]
        )
        ratios.append(styled / content)
    assert (np.diff(ratios) > 0).all()


def test_at_0_the_photograph_stays(make_job, pictures):
    found = make_job(strength=0.0, size=56).run()
    assert found.outcome.status == "converged"
    assert np.abs(found.rgb - pictures[0]).max() < 1e-3


def test_more_strength_moves_farther(make_job, pictures):
    moved = []
    for s in (0.05, 0.3, 0.5, 1.0):
        rgb = make_job(strength=s, size=56, evaluations=25, content_weight=1e4).run().rgb
        moved.append(float(np.abs(rgb - pictures[0]).mean()))
    assert moved == sorted(moved) and moved[0] < 0.9 * moved[-1]


def test_factors_of_terms(make_job):
    plain, strong = make_job(strength=0.5).terms, make_job(strength=0.25).terms
    for t, u in zip(plain, strong, strict=True):
        assert u.factor == pytest.approx(t.factor * (1 if t.kind == "content" else (1 / 3) ** 3))


@pytest.mark.parametrize("value, found", [(-0.1, "0 to 1"), (1.1, "0 to 1"), ("much", "expected a number")])
def test_wrong_strengths(value, found):
    with pytest.raises(style.SettingsError, match=f"^strength .*{found}"):
        Settings(strength=value)


# ------------------------------------------------------------------------------------------------ balance


def test_balanced_layers_have_one_share_at_the_start(make_job):
    job = make_job(balance=True, tv_weight=1.0, init="noise")
    stage = job.stages[0]
    start = job.initial_image(stage)
    values = job.objective(stage).exact(start).values
    styled = [v for n, v in values.items() if n.startswith("style")]
    assert styled == pytest.approx([np.mean(styled)] * 5, rel=1e-4)
    plain = make_job(tv_weight=1.0, init="noise")
    before = plain.objective(stage).exact(start).values
    assert sum(styled) == pytest.approx(sum(v for n, v in before.items() if n.startswith("style")), rel=1e-4)
    assert values["tv"] == before["tv"] and values["content relu4_2"] == before["content relu4_2"]


def test_a_term_of_value_0_is_left(make_job):
    terms = make_job().terms
    values = {t.name: 0.0 if t.name == "style relu3_1" else float(k + 1) for k, t in enumerate(terms)}
    found = {t.name: t.factor / u.factor for t, u in zip(equalised(terms, values), terms, strict=True)}
    assert found["style relu3_1"] == found["content relu4_2"] == 1
    others = [found[n] * values[n] for n in found if n.startswith("style") and n != "style relu3_1"]
    assert others == pytest.approx([np.mean(others)] * 4)


def test_balance_holds_at_the_finer_scale(make_job):
    job = make_job(balance=True, size=48, scales="32,48")
    factors = [[t.factor for t in job.objective(stage).terms] for stage in job.stages]
    assert factors[0] == factors[1] != [t.factor for t in job.terms]


def test_a_balanced_run_goes_on_to_the_same_digits(make_job):
    states = []

    def listen(event):
        if isinstance(event, style.events.Iterated) and event.state:
            states.append(event.state())

    options = {"balance": True, "optimizer": "l-bfgs", "evaluations": 6, "scales": "32,48"}
    whole = make_job(**options).run(listen)
    for state in (states[1], states[-1]):
        assert np.array_equal(make_job(**options).run(state=state).rgb, whole.rgb)


def test_shares_are_said():
    text = shares({"content relu4_2": 0.0, "style a": 3.0, "style b": 1.0})
    assert text == "style a 75 %, style b 25 %, content relu4_2 0 % at the start"
    many = shares({f"style {k}": 1.0 for k in range(12)})
    assert many.endswith("and 4 more at the start")
    assert shares({"style a": 0.0}) == "style a 0 % at the start"


# ----------------------------------------------------------------------------------------------- forecast


def test_the_forecast_grows_with_the_work(make_job, monkeypatch):
    monkeypatch.setattr("style.job.product_rate", lambda: 1e9)
    small, large = make_job(size=48).forecast(), make_job(size=96).forecast()
    assert large == pytest.approx(4 * small, rel=0.15)
    assert make_job(evaluations=8).forecast() == pytest.approx(2 * small)
    assert make_job(kernels="textbook").forecast() is None


def test_the_rate_is_measured():
    assert 1e8 < forecast.product_rate() < 1e14
