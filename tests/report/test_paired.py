"""Paired differences: signs, intervals, pairing, retentions."""

from __future__ import annotations

import pytest

from evomerge.analysis.difference_figure import draw_differences
from evomerge.errors import UserError
from evomerge.report.paired import RETENTION, differences
from evomerge.types import ItemScore


def scores(task: str, *outcomes: float, first: int = 0) -> list[ItemScore]:
    return [ItemScore(task, f"{task}{n}", outcome) for n, outcome in enumerate(outcomes, start=first)]


HARD = scores("sql", *[1, 0] * 20)
EASY = scores("json", *[1] * 30)


def test_differences_by_hand() -> None:
    other = scores("sql", *[1] * 10 + [0] * 30) + scores("json", *[1] * 27 + [0] * 3)
    frame = differences(HARD + EASY, {"other": other})
    sql, json = frame.to_dict("records")
    assert (sql["model"], sql["task"], sql["items"]) == ("other", "sql", 40)
    assert (sql["score"], sql["difference"]) == (0.25, -0.25)
    assert (sql["better"], sql["worse"]) == (5, 15)
    assert (json["task"], json["better"], json["worse"]) == ("json", 0, 3)
    assert sql["low"] < sql["difference"] < sql["high"] < 0


def test_the_model_itself_differs_by_nothing() -> None:
    (row,) = differences(HARD, {"same": HARD}).to_dict("records")
    assert (row["difference"], row["low"], row["high"]) == (0, 0, 0)


def test_pairing_makes_the_interval_narrow() -> None:
    """Two models that differ on two items of 40, both in the middle of the scale."""
    close = scores("sql", *[1, 0] * 18, 1, 1, 1, 1)
    apart = scores("sql", *[0, 1] * 18, 1, 1, 1, 1)
    frame = differences(HARD, {"close": close, "apart": apart}).set_index("model")
    assert frame.loc["close", "difference"] == frame.loc["apart", "difference"] == pytest.approx(0.05)
    width = frame["high"] - frame["low"]
    assert width["close"] < 0.16 < 0.5 < width["apart"]


def test_only_common_items_count() -> None:
    (row,) = differences(HARD, {"later": scores("sql", *[1] * 40, first=30)}).to_dict("records")
    assert (row["items"], row["score"], row["difference"]) == (10, 1.0, 0.5)
    with pytest.raises(UserError, match="no item of sql in common"):
        differences(HARD, {"other": scores("sql", 1, first=50)})


def test_smallest_retention_is_that_of_the_weaker_task() -> None:
    task_experts = {"sql": scores("sql", *[1] * 40), "json": EASY}
    other = scores("sql", *[1] * 40) + scores("json", *[1] * 12 + [0] * 18)
    row = differences(HARD + EASY, {"other": other}, task_experts).set_index("task").loc[RETENTION]
    assert row["score"] == pytest.approx(0.4) and row["difference"] == pytest.approx(0.4 - 0.5)
    assert row["items"] == 70 and row["low"] < row["difference"] < row["high"]


def test_figure_has_a_panel_per_task_and_a_row_per_model() -> None:
    frame = differences(HARD + EASY, {"worse": scores("sql", *[0] * 40) + EASY, "same": HARD + EASY})
    figure = draw_differences(frame, "the winner")
    panels = figure.axes
    assert [ax.get_title(loc="left") for ax in panels] == ["sql", "json"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["same", "worse"]
    assert len({line.get_color() for line in panels[0].lines}) == 3  # the zero line, undecided, worse
