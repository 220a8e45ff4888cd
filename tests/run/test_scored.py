import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaclims_ray.run.artifact import artifact
from qaclims_ray.run.images import check_sorted
from qaclims_ray.run.scored import Masks, Scored, scored_images
from tests.build import write_artifact

ROWS = [
    {"name": "a", "labels": [0], "mask": b"1"},
    {"name": "b", "labels": None, "mask": b"2"},
    {"name": "c", "labels": [], "mask": b"3"},
    {"name": "d", "labels": [0], "mask": None},
]


@pytest.fixture
def experiment(make_experiment, tmp_path):
    experiment = make_experiment(tmp_path)
    write_artifact(artifact(experiment, "images"), ROWS)
    return experiment


@pytest.mark.parametrize(
    ("of_cams", "listed", "expected"),
    [(True, None, "ac"), (False, None, "abc"), (True, "c", "c"), (False, "ba", "ab")],
)
def test_ground_truth_is_that_of_the_images_to_score(
    experiment, tmp_path, of_cams, listed, expected
):
    if listed is not None:
        (tmp_path / "names.txt").write_text("\n".join(listed))
        experiment = experiment.with_overrides({"evaluate.names": str(tmp_path / "names.txt")})
    scored = scored_images(experiment, of_cams=of_cams)
    assert scored.num == len(expected)
    assert [*scored.names()] == [*expected]
    assert "".join(row["name"] for row in ROWS if scored.has(row)) == expected
    masks = {row["name"]: row["mask"] for row in ROWS if row["name"] in expected}
    assert Masks(scored).of(["a", "b", "c", "d", "e"]) == masks
    assert Masks(scored).of(["d"]) == {}


def test_names_at_positions_are_those_of_the_list_of_all(experiment, monkeypatch):
    scored = scored_images(experiment, of_cams=False)
    assert scored.names_at([2, 0]) == ["a", "c"]
    assert scored.names_at([]) == []
    asked = iter(["a", "b", "c"])
    monkeypatch.setattr(Scored, "names", lambda _: asked)
    assert scored.names_at({1}) == ["b"]


@given(st.sets(st.text("abé𐀀", max_size=3)), st.sets(st.text("abé𐀀", max_size=3)))
def test_sorted_names_are_compared_as_all_at_once_are(wanted, there):
    missing = sorted(wanted - there)
    if not missing:
        check_sorted(sorted(wanted), sorted(there), "lacks", "mend")
        return
    with pytest.raises(ValueError, match="lacks") as caught:
        check_sorted(sorted(wanted), sorted(there), "lacks", "mend")
    some = ", ".join(map(repr, missing[:5]))
    expected = f"lacks: {len(missing)} of {len(wanted)}, such as {some}: mend"
    assert str(caught.value) == expected
