import random

import pytest

from qaclims_ray.report.panels import choose


def _choose(names, labels, num_images):
    return choose(iter(zip(names, labels, strict=True)), len(names), num_images)


def test_images_are_chosen_evenly_and_show_all_classes():
    names = [f"{i:02d}" for i in range(20)]
    labels = [[0]] * 20
    assert _choose(names, labels, 4) == ["00", "05", "10", "15"]
    labels[13] = [0, 1]
    labels[18] = [2]
    chosen = _choose(names, labels, 4)
    assert {"13", "18"} < set(chosen)
    assert len(chosen) == 4
    assert _choose(names, labels, 50) == names
    assert _choose([], [], 4) == []


@pytest.mark.parametrize("seed", range(20))
def test_they_are_those_that_bring_a_class_in_the_order_of_an_even_spacing(seed):
    draw = random.Random(seed)
    names = [f"{i:03d}" for i in range(draw.randrange(1, 90))]
    labels = [draw.choice([None, [], draw.sample(range(9), 2)]) for _ in names]
    num_images = draw.randrange(1, 12)
    step = max(1, len(names) // num_images)
    order = sorted(range(len(names)), key=lambda i: (i % step, i))
    seen, bringing = set(), []
    for i in order:
        bringing += [i] if set(labels[i] or ()) - seen else []
        seen.update(labels[i] or ())
    wanted = [*dict.fromkeys([*bringing, *order])][:num_images]
    assert _choose(names, labels, num_images) == sorted(names[i] for i in wanted)
