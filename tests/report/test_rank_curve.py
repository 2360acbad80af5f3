from __future__ import annotations

import pandas as pd
import pytest
from PIL import Image

from evomerge.report.rank_curve import CurvePoint, curve_frame, curve_table, draw_curve, write_curve
from evomerge.types import wilson


def score(right: int):
    return wilson([1.0] * right + [0.0] * (20 - right))


POINTS = [
    CurvePoint(0, "", 0, 0.0, 1.0, {"sql": score(0), "json": score(2)}),
    CurvePoint(4, "truncated", 1000, 0.002, 0.5, {"sql": score(5), "json": score(8)}),
    CurvePoint(4, "compressed", 1000, 0.002, 0.6, {"sql": score(6), "json": score(9)}),
    CurvePoint(16, "truncated", 4000, 0.008, 0.1, {"sql": score(10), "json": score(15)}),
    CurvePoint(None, "", 0, 0.0, 0.0, {"sql": score(10), "json": score(16)}),
]


def test_kept_is_the_score_over_the_models():
    frame = curve_frame(POINTS).set_index(["name", "task"])
    assert frame.loc[("rank 4", "sql"), "kept"] == pytest.approx(0.5)
    assert frame.loc[("rank 4 compressed", "json"), "kept"] == pytest.approx(9 / 16)
    assert frame.loc[("model", "sql"), "kept"] == 1.0
    assert frame.loc[("base", "sql"), "score"] == 0.0
    low, high = frame.loc[("rank 16", "json"), ["low", "high"]]
    assert low < 0.75 < high


def test_table_csv_and_figure_are_written(tmp_path):
    assert curve_table(POINTS).row_count == len(POINTS)
    write_curve(POINTS, tmp_path)
    kept = pd.read_csv(tmp_path / "rank_curve.csv")
    assert list(kept["name"].unique()) == ["base", "rank 4", "rank 4 compressed", "rank 16", "model"]
    with Image.open(tmp_path / "rank_curve.png") as picture:
        assert picture.width > 600
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("tasks", [["sql"], ["sql", "json", "code", "gsm8k"]])
def test_a_task_that_the_model_itself_fails_has_a_panel_that_says_so(tasks):
    none = dict.fromkeys(tasks, score(0))
    points = [
        CurvePoint(0, "", 0, 0.0, 1.0, none),
        CurvePoint(4, "truncated", 1000, 0.002, 0.5, none),
        CurvePoint(None, "", 0, 0.0, 0.0, none | {task: score(9) for task in tasks[1:]}),
    ]
    assert curve_frame(points).set_index(["name", "task"])["kept"].isna()["rank 4", "sql"]
    figure = draw_curve(points)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    panels = {ax.get_title(loc="left"): [text.get_text() for text in ax.texts] for ax in shown}
    assert panels == {task: (["the model itself scores 0"] if task == "sql" else []) for task in tasks}
    figure.canvas.draw()
