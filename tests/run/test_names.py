import pytest

from qaclims_ray.run.images import check_sorted


def test_missing_names_are_counted_and_the_first_ones_shown():
    wanted = [f"image_{number}" for number in range(9)]
    check_sorted(wanted, wanted, "the folder lacks files", "make them")
    with pytest.raises(ValueError, match="the folder lacks files: 7 of 9, such as") as caught:
        check_sorted(wanted, wanted[7:], "the folder lacks files", "make them")
    assert str(caught.value).endswith("'image_3', 'image_4': make them")
