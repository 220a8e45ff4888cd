import re

import pyarrow as pa

from qaclims_ray.config.corpus import Questions
from qaclims_ray.corpus.stats.counts import count_answers
from qaclims_ray.report.charts import heat_map
from qaclims_ray.report.corpus import corpus_summary
from qaclims_ray.types import SCHEMAS, Answer

CLASSES = ["cat", "boat"]


def answer(label: int, kind: str, text: str) -> Answer:
    return Answer(label=label, kind=kind, question=f"{kind}?", answer=f"{text}s", lemma=text)


def summary(rows: list) -> str:
    named = [{"name": str(i), "answers": row} for i, row in enumerate(rows)]
    table = pa.Table.from_pylist(named, schema=SCHEMAS["corpus"])
    return corpus_summary(count_answers(table.to_batches(), CLASSES, Questions()), CLASSES, {})


def test_backgrounds_show_share_and_lift():
    rows = [
        [answer(0, "bg", "sofa"), answer(0, "bg", "sofa"), answer(0, "fg", "kitten")],
        [answer(0, "bg", "sofa"), answer(0, "bg", "<rug>"), answer(1, "bg", "sea")],
        [answer(0, "bg", "cat")],
    ]
    html = summary(rows)
    assert '<em style="--share:67%">sofa <small>67% &times;1.3</small></em>' in html
    assert '<em style="--share:100%">sea <small>100% &times;4.0</small></em>' in html
    assert "&lt;rug&gt;" in html
    assert "<rug>" not in html
    assert ">25.0%<" in html  # the last pair has no background


def test_a_corpus_without_answers_has_a_summary():
    assert "n/a" in summary([])
    assert "<svg" not in summary([[]])


def test_a_heat_map_keeps_its_cells_inside_and_colours_by_share():
    cells = {(0, 1): (0.25, "1.0"), (0, 2): (1.0, "2.5")}
    svg = heat_map(["cat"], ["a", "b<", "c"], cells, title="t")
    width, height = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())
    for x, y in re.findall(r'<rect class="full" x="(\d+)" y="(\d+)"', svg):
        assert 0 <= float(x) <= width - 34
        assert 0 <= float(y) <= height - 22
    assert re.findall(r'fill-opacity="([\d.]+)"', svg) == ["0.00", "0.25", "1.00"]
    assert svg.count('class="deep"') == 1
    assert "b&lt;" in svg
