from qaclims_ray.corpus.lemmas import lemma
from qaclims_ray.demo import words


def test_lemmatising_an_answer_changes_nothing():
    assert [lemma(word) for word in words.ANSWER_WORDS] == list(words.ANSWER_WORDS)


def test_each_class_lives_in_a_scene_of_its_own():
    homes = [entry.home for entry in words.OBJECTS.values()]
    assert sorted(homes) == sorted(words.SCENES)


def test_no_word_has_two_meanings():
    names = [n for entry in words.OBJECTS.values() for kind in entry.kinds for n in kind]
    scenes = [word for scene in words.SCENES.values() for word in scene[:3]]
    everything = [*words.OBJECTS, *names, *words.STUFFS, *scenes]
    assert len(set(everything)) == len(everything)


def test_fixed_backgrounds_name_a_part_of_the_stuffs_only():
    named = set(words.FIXED_BACKGROUNDS) & set(words.STUFFS)
    assert 1 / 4 < len(named) / len(words.STUFFS) < 3 / 4
    assert not set(words.FIXED_BACKGROUNDS) & set(words.CLASSES)
