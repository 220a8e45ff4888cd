import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from qaclims_ray.images.label_maps import label_map_row
from qaclims_ray.run.artifact import artifact
from qaclims_ray.train.label_maps import check_pixels, count_pixels, label_map_rows
from qaclims_ray.train.rows import Source, labels_of
from qaclims_ray.types import IGNORE, SCHEMAS


def _rows(*label_maps):
    rows = [label_map_row(f"i{i}", np.array(one, np.uint8)) for i, one in enumerate(label_maps)]
    return pads.dataset(pa.Table.from_pylist(rows, schema=SCHEMAS["label_maps"]))


def test_pixels_are_counted_by_value():
    counts = count_pixels(_rows([[0, 1], [2, IGNORE]], [[0, 0, 2]]), num_classes=3)
    assert counts.tolist() == [3, 1, 2, 0, 1]


def test_values_of_another_class_list_are_refused():
    with pytest.raises(ValueError, match="hold the value 5, and there are 3 classes"):
        count_pixels(_rows([[0, 5]]), num_classes=3)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([0, 0, 9], r"masks: no pixel is decided, all are 255.*qaclims masks"),
        ([9, 0, 1], r"masks: 90% of the pixels are background and none is an object"),
    ],
)
def test_label_maps_without_anything_to_learn_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        check_pixels(np.array(counts), "masks")


def test_the_rows_of_a_training_have_label_maps_in_their_order(demo_run):
    rows = label_map_rows(demo_run, "seeds")
    assert sum(map(len, labels_of(rows))) == 8
    assert rows.beside == (Source(artifact(demo_run, "seeds"), ("label_map",)),)
