"""benchmarks/losses.py: its ratios, and that it knows every style loss."""

from cases import make_network

import weights
from benchmarks import losses
from style.statistics import STYLE_LOSSES


def test_ratios_are_those_of_turns():
    """A busy moment of the machine meets all losses of its turn."""
    rows = losses.table_rows("folder/mini", 64, {"gram": [1.0, 9.0, 1.0], "w2": [2.0, 18.0, 4.0]})
    assert list(rows) == [
        "| mini | 64x48 | gram | 1.00 (1.00–9.00) | 1.00 |",
        "| mini | 64x48 | w2 | 4.00 (2.00–18.00) | 2.00 |",
    ]


def test_every_style_loss_has_its_row(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(losses, "matrix_product_rate", lambda: 1.0)
    weights.save_compact(make_network(), tmp_path / "narrow.npz")
    losses.main(["--weights", str(tmp_path / "narrow.npz"), "--size", "32", "--repeats", "1"])
    found = [line.split(" | ")[2] for line in capsys.readouterr().out.splitlines() if line.startswith("| narrow")]
    assert found == [*STYLE_LOSSES]
