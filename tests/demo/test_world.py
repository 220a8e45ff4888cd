import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qaclims_ray.config.corpus import BACKGROUND_QUESTIONS
from qaclims_ray.demo.textures import draw_texture
from qaclims_ray.demo.words import CLASSES, OBJECTS, SCENES, STUFFS
from qaclims_ray.demo.world import Example, Object, answers, make_example

EXAMPLES = st.builds(make_example, st.just(7), st.integers(0, 10_000), biased=st.booleans())


def test_an_image_is_the_same_whatever_else_is_drawn():
    alone = make_example(3, 5, biased=True)
    make_example(3, 4, biased=True)
    again = make_example(3, 5, biased=True)
    assert np.array_equal(alone.image, again.image)
    assert np.array_equal(alone.label_map, again.label_map)
    assert answers(alone, alone.class_names[0]) == answers(again, again.class_names[0])


@pytest.mark.parametrize("other", [(3, 6, True), (4, 5, True), (3, 5, False)])
def test_images_differ_by_seed_index_and_distribution(other: tuple[int, int, bool]):
    seed, index, biased = other
    image = make_example(3, 5, biased=True).image
    assert not np.array_equal(image, make_example(seed, index, biased=biased).image)


@settings(max_examples=30, deadline=None)
@given(EXAMPLES)
def test_label_map_shows_exactly_the_objects(example: Example):
    expected = np.zeros((96, 96), int)
    for item in example.objects:
        assert item.visible.sum() >= 60
        expected[item.visible] = CLASSES.index(item.class_name) + 1
    assert np.array_equal(example.label_map, expected)
    assert {CLASSES[i - 1] for i in np.unique(expected) if i} == set(example.class_names)


@settings(max_examples=30, deadline=None)
@given(EXAMPLES)
def test_every_question_has_one_true_word(example: Example):
    scene = SCENES[example.scene]
    true = {example.top, example.bottom, *scene[:3], *example.class_names}
    assert example.top in scene.tops
    assert example.bottom in scene.bottoms
    for name in example.class_names:
        given_answers = answers(example, name)
        assert len(given_answers) == 16
        assert {given_answers[question] for question in BACKGROUND_QUESTIONS} <= true


def test_answers_describe_the_surroundings():
    visible = np.zeros((2, 96, 96), bool)
    visible[0, 30:60, 10:40] = True
    visible[1, 60:80, 60:90] = True
    stuff_map = np.full((96, 96), STUFFS.index("road"), np.uint8)
    stuff_map[:45] = STUFFS.index("brick")
    example = Example(
        image=np.zeros((96, 96, 3), np.uint8),
        label_map=np.zeros((96, 96), np.uint8),
        objects=(Object("car", 0, visible[0]), Object("dog", 1, visible[1])),
        scene="street",
        stuff_map=stuff_map,
        top="brick",
        bottom="road",
    )
    assert list(answers(example, "car").values()) == [
        *("taxi", "taxi", "cab", "cab", "automobile", "automobile"),
        *("brick", "road", "brick", "brick", "dog", "brick", "dog", "street", "city", "downtown"),
    ]
    assert answers(example, "dog")["what is the left side of {}?"] == "car"
    assert answers(example, "dog")["what is the right side of {}?"] == "road"


def test_biased_classes_are_mostly_at_home():
    examples = [make_example(11, index, biased=True) for index in range(800)]
    at_home = [
        OBJECTS[name].home == example.scene for example in examples for name in example.class_names
    ]
    assert 0.90 <= np.mean(at_home) <= 0.97


def test_unbiased_classes_are_seldom_at_home():
    examples = [make_example(11, index, biased=False) for index in range(400)]
    at_home = [
        OBJECTS[name].home == example.scene for example in examples for name in example.class_names
    ]
    assert np.mean(at_home) < 0.2


@pytest.mark.parametrize("stuff", STUFFS)
def test_textures_fill_their_area(stuff: str):
    texture = draw_texture(np.random.default_rng(0), stuff, 29, 96)
    assert texture.shape == (29, 96, 3)
    assert np.isfinite(texture).all()
    assert texture.std() > 1
