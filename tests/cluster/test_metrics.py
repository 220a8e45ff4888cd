import json
import re
import time
import urllib.request
from pathlib import Path

import pyarrow as pa
import pytest
import ray

from qaclims_ray.cluster.metrics import ERRORS, ROWS, WAITING, measured, waiting

ROOT = Path(__file__).parents[2]


class Failing:
    """An actor that fails for the rows whose name it is given."""

    def __init__(self, bad):
        self._bad = bad

    def __call__(self, rows):
        errors = ["bad" if name == self._bad else None for name in rows["name"].to_pylist()]
        return rows.append_column("error", pa.array(errors, pa.string()))


def test_a_measured_actor_works_as_before_under_its_stages_name(local_ray):
    kind = measured(Failing, "cams")
    assert kind.__name__ == "cams:Failing"
    rows = pa.table({"name": ["a", "b"]})
    assert kind(bad="b")(rows) == Failing("b")(rows)


def test_what_waits_is_what_is_not_done(local_ray):
    done = iter([0, 3])
    count = waiting("cams", lambda: next(done), 10)
    assert (count(), count()) == (0, 3)


def test_the_dashboard_draws_metrics_that_there_are():
    board = json.loads((ROOT / "configs" / "grafana.json").read_text())
    text = " ".join(target["expr"] for panel in board["panels"] for target in panel["targets"])
    drawn = set(re.findall(r"ray_(\w+)", text))
    assert drawn == {f"{ROWS}_total", f"{ERRORS}_total", WAITING}


def _exported():
    node = ray.nodes()[0]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as reply:
        return reply.read().decode()


@pytest.mark.slow
def test_prometheus_finds_them(local_ray):
    """As counted by actors of a map and by the driver, on the port that Ray tells Prometheus."""
    count = waiting("shown", lambda: 1, 3)
    rows = ray.data.from_items([{"name": name} for name in "ab"]).map_batches(
        measured(Failing, "shown"), fn_constructor_kwargs={"bad": "b"}, batch_format="pyarrow",
        concurrency=1,
    )  # fmt: skip
    assert rows.count() == 2
    wanted = {f"ray_{ROWS}_total": 2, f"ray_{ERRORS}_total": 1, f"ray_{WAITING}": 2}
    end, found = time.monotonic() + 120, {}
    while found != wanted and time.monotonic() < end:
        count()
        time.sleep(1)  # Ray exports every ten seconds
        lines = [line for line in _exported().splitlines() if 'stage="shown"' in line]
        found = {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines}
    assert found == wanted
