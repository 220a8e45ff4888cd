import pytest

from qaclims_ray.run.images import check_there, names_in


def test_missing_names_are_counted_and_the_first_ones_shown():
    wanted = [f"image_{number}" for number in range(9)]
    check_there(wanted, wanted[::-1], "the folder lacks files", "make them")
    with pytest.raises(ValueError, match="the folder lacks files: 7 of 9, such as") as caught:
        check_there(wanted, wanted[7:], "the folder lacks files", "make them")
    assert str(caught.value).endswith("'image_3', 'image_4': make them")


def test_names_in_a_folder_are_those_of_its_png_files(tmp_path):
    (tmp_path / "deep").mkdir()
    for file in ("b.png", "a.png", "c.jpg", "deep/d.png"):
        (tmp_path / file).touch()
    assert names_in(str(tmp_path)) == {"a", "b", "deep/d"}
    assert names_in(f"file://{tmp_path}") == {"a", "b", "deep/d"}
    assert names_in(str(tmp_path / "nowhere")) == set()
