import re

import numpy as np

from qaclims_ray.report.charts import Line, Mark, binned, chart


def test_a_long_curve_is_drawn_as_means_of_runs_with_their_range():
    values = np.tile([0.0, 2.0], 500)
    line = binned("ours", np.arange(1000.0), values)
    assert len(line.y) == 100
    assert np.allclose(line.y, 1)
    assert np.allclose(line.low, 0)
    assert np.allclose(line.high, 2)
    assert np.array_equal(binned("ours", np.array([3.0]), np.array([7.0])).y, [7.0])


def test_a_chart_keeps_its_curves_inside():
    x = np.linspace(0, 1, 5)
    svg = chart(
        [Line("ours", x, 1000 * x), Line("baseline", x, -x)],
        title="a <b>",
        x_label="x",
        marks=[Mark("ours", 1.0, 1000.0, "best")],
    )
    points = re.findall(r'points="([^"]*)"', svg)
    assert len(points) == 2
    for point in " ".join(points).split():
        across, down = map(float, point.split(","))
        assert 0 <= across <= 460
        assert 0 <= down <= 250
    assert "a &lt;b&gt;" in svg
    assert ">best</text>" in svg


def test_a_chart_of_a_constant_is_finite():
    svg = chart([Line("ours", np.array([1.0]), np.array([0.5]))], title="t", x_label="x")
    assert "nan" not in svg
    assert "inf" not in svg


def test_a_step_without_a_finite_value_is_left_out():
    values = np.array([1.0, np.inf, 3.0])
    svg = chart([Line("ours", np.arange(3.0), values)], title="t", x_label="x")
    (points,) = re.findall(r'points="([^"]*)"', svg)
    assert len(points.split()) == 2


def test_dots_lie_between_the_words_of_their_axis():
    svg = chart([], title="t", marks=[Mark("ours", 0.5, 2.0)], ends=("low", "<high>"))
    assert ">low</text>" in svg
    assert ">&lt;high&gt;</text>" in svg
    (x,) = re.findall(r'cx="([\d.]+)"', svg)
    assert float(x) == (46 + 460 - 16) / 2
