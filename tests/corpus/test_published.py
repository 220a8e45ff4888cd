import pickle

import numpy as np
import pytest

from qaclims_ray.corpus.published import convert, read_published

CLASSES = ("boat", "dining table")
QUESTIONS = ("What kind of {} is in the photo?", "What is this {} also called?")
TEMPLATES = {"fg": QUESTIONS, "bg": QUESTIONS}
ONE = {"fg": ("What {}?",), "bg": ("What {}?",)}


def entry(*answers):
    """An entry as the published script makes it, some of its texts NumPy scalars."""
    asked = [(question, answer) for question, answer in zip(QUESTIONS, answers, strict=False)]
    return {"vqa": asked, "answers": [np.str_(answer.removesuffix("s")) for answer in answers]}


def corpus(*answers):
    return {
        "2007_000032": {np.str_("boat"): entry(*answers)},
        "2007_000039": {"boat": entry(*answers), np.str_("dining table"): entry("desk", "wood")},
    }


@pytest.fixture
def save(tmp_path):
    def write(content, name="corpus.npy"):
        np.save(tmp_path / name, content, allow_pickle=True)
        return tmp_path / name

    return write


def test_a_published_corpus_is_read_and_converted(save):
    foreground = read_published(save(corpus("sailboats", "ship")))
    background = read_published(save(corpus("water", "clouds")))
    row = convert(foreground, background, "2007_000039", [0, 1], CLASSES, TEMPLATES)
    assert row["name"] == "2007_000039"
    assert row["answers"][0] == {
        "label": 0,
        "kind": "fg",
        "question": "What kind of boat is in the photo?",
        "answer": "sailboats",
        "lemma": "sailboat",
    }
    lemmas = [(a["label"], a["kind"], a["lemma"]) for a in row["answers"]]
    assert lemmas == [
        *[(0, "fg", "sailboat"), (0, "fg", "ship"), (0, "bg", "water"), (0, "bg", "cloud")],
        *[(1, "fg", "desk"), (1, "fg", "wood"), (1, "bg", "desk"), (1, "bg", "wood")],
    ]
    assert all(type(text) is str for a in row["answers"] for text in (a["answer"], a["lemma"]))


def test_the_questions_that_are_asked_for_are_taken_in_their_order(save):
    loaded = read_published(save(corpus("sailboats", "ship")))
    wanted = {"fg": QUESTIONS[::-1], "bg": QUESTIONS[:1]}
    answers = convert(loaded, loaded, "2007_000032", [0], CLASSES, wanted)["answers"]
    assert [(a["kind"], a["lemma"]) for a in answers] == [
        ("fg", "ship"),
        ("fg", "sailboat"),
        ("bg", "sailboat"),
    ]
    other = {"fg": ("Which {}?",), "bg": ()}
    with pytest.raises(ValueError, match=r"no answer to 'Which .*list those to take in"):
        convert(loaded, loaded, "2007_000032", [0], CLASSES, other)


def test_arrays_of_texts_are_plain_data_too(save):
    answers = {"vqa": np.array([["What {}?", "ship"]]), "answers": np.array(["ship"])}
    loaded = read_published(save({"a": {"boat": answers}}))
    row = convert(loaded, loaded, "a", [0], CLASSES, ONE)
    assert [a["lemma"] for a in row["answers"]] == ["ship", "ship"]


@pytest.mark.parametrize(
    ("name", "label"), [("2012_000001", 0), ("2007_000032", 1)], ids=["image", "class"]
)
def test_what_the_corpus_lacks_is_an_error(save, name, label):
    loaded = read_published(save(corpus("ship")))
    with pytest.raises(ValueError, match=f"fg corpus has no sound entry for '{name}', class"):
        convert(loaded, loaded, name, [label], CLASSES, TEMPLATES)


@pytest.mark.parametrize(
    "broken",
    [
        {"vqa": [("q", "a")], "answers": []},
        {"vqa": [], "answer": []},
        [1],
        {"vqa": 3, "answers": 4},
    ],
)
def test_a_malformed_entry_is_an_error(save, broken):
    loaded = read_published(save({"a": {"boat": broken}}))
    with pytest.raises(ValueError, match="no sound entry for 'a', class 'boat'"):
        convert(loaded, loaded, "a", [0], CLASSES, ONE)


class Malicious:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_file_that_would_run_code_is_refused_before_it_does(save, tmp_path):
    target = tmp_path / "written"
    path = save({"a": {"boat": Malicious(target)}})
    with pytest.raises(ValueError, match=r"asks for (_)?io.open.*was not loaded"):
        read_published(path)
    assert not target.exists()


@pytest.mark.parametrize("content", [pickle.Pickler, np.random.default_rng, ValueError()])
def test_other_types_are_refused_by_name(save, content):
    with pytest.raises(ValueError, match="asks for"):
        read_published(save({"a": content}))


def test_an_array_of_numbers_is_no_corpus(save):
    with pytest.raises(ValueError, match="an array of float64, not a pickled dictionary"):
        read_published(save(np.zeros(3)))


def test_a_list_is_no_corpus(save):
    with pytest.raises(ValueError, match="is not a dictionary"):
        read_published(save(np.array([{"a": 1}, {"b": 2}])))


def test_another_file_is_no_corpus(tmp_path):
    (tmp_path / "a.npy").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ValueError, match=r"is no .npy file"):
        read_published(tmp_path / "a.npy")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_that_was_cut_off_is_an_error(save, share):
    path = save(corpus("ship", "boat"))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"cannot be loaded|is no .npy file"):
        read_published(path)
