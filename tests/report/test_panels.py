from qaclims_ray.report.panels import choose


def test_images_are_chosen_evenly_and_show_all_classes():
    names = [f"{i:02d}" for i in range(20)]
    labels = [[0]] * 20
    assert choose(names, labels, 4) == ["00", "05", "10", "15"]
    labels[13] = [0, 1]
    labels[18] = [2]
    chosen = choose(names, labels, 4)
    assert {"13", "18"} < set(chosen)
    assert len(chosen) == 4
    assert choose(names, labels, 50) == names
    assert choose([], [], 4) == []
