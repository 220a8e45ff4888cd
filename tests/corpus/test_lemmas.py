"""Lemmas are those of lemminflect and our table, and differ from WordNet's where `lemmas.csv` says.

WordNet's own files are not kept here: what needs them looks for Debian's wordnet-base.
"""

import csv
from collections import Counter
from pathlib import Path

import pytest
from lemminflect import getInflection

from qaclims_ray.corpus.lemmas import WordNet, lemma, read_wordnet

WORDNET = Path("/usr/share/wordnet")
NUM_NOUNS = 2000
_SLURS = ("neg", "nig")
"""Beginnings of nouns that need not stand here."""
KNOWN = Path(__file__).with_name("lemmas.csv")
"""Words of which the lemmas differ, among the most frequent nouns of WordNet and their plurals."""


def _differences():
    with KNOWN.open() as file:
        return {row["word"]: (row["ours"], row["wordnet"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("answer", "noun"),
    [
        ("dogs", "dog"),
        ("children", "child"),
        ("leaves", "leaf"),
        ("glasses", "glass"),
        ("bus", "bus"),
        ("grass", "grass"),
        ("indoors", "indoors"),
        ("vases", "vase"),
        ("men", "man"),
        ("teeth", "tooth"),
        ("tvs", "tv"),
        ("oxen", "ox"),
        ("logs", "log"),
        ("jeans", "jeans"),
        ("wine glasses", "wine glasses"),
        ("quxes", "quxes"),
        ("", ""),
    ],
)
def test_lemma_of_the_whole_answer_as_a_noun(answer, noun):
    assert lemma(answer) == noun


def test_our_lemmas_are_those_of_the_known_differences():
    known = _differences()
    assert {word: lemma(word) for word in known} == {
        word: ours for word, (ours, _) in known.items()
    }
    assert all(ours != theirs for ours, theirs in known.values())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A database of a few nouns, in WordNet's form: two lines of licence, then one a noun."""
    folder = tmp_path_factory.mktemp("wordnet")
    nouns = [
        "box",
        "boy",
        "dice",
        "die",
        "glass",
        "glasses",
        "man",
        "men",
        "teeth",
        "tooth",
        "us",
        "use",
        "vas",
        "vase",
        "wolf",
    ]
    lines = ["  1 This software", "  2 is free", *(f"{noun} n 1 0 @ 1 0 0001" for noun in nouns)]
    (folder / "index.noun").write_text("\n".join(lines) + "\n")
    (folder / "noun.exc").write_text("dice die\nmen man\nteeth tooth\nwolves wolf\ngeese goose\n")
    return read_wordnet(str(folder))


@pytest.mark.parametrize(
    ("answer", "noun"),
    [
        ("vases", "vas"),
        ("uses", "us"),
        ("men", "men"),
        ("teeth", "teeth"),
        ("dice", "die"),
        ("wolves", "wolf"),
        ("boxes", "box"),
        ("glasses", "glass"),
        ("boys", "boy"),
        ("boyss", "boy"),
        ("geese", "geese"),
        ("wine glasses", "wine glasses"),
        ("quxes", "quxes"),
        ("", ""),
    ],
)
def test_wordnets_rule_finds_the_shortest_noun_it_knows(small, answer, noun):
    assert small(answer) == noun


def test_a_folder_without_wordnet_is_an_error_that_names_the_file(tmp_path):
    with pytest.raises(ValueError, match=r"index\.noun.*expected WordNet's nouns"):
        read_wordnet(str(tmp_path))


def differences(wordnet: WordNet, folder: Path) -> dict[str, tuple[str, str]]:
    """Of the most frequent common nouns of three letters or more, and their plurals."""
    counts: Counter[str] = Counter()
    for line in (folder / "cntlist.rev").read_text().splitlines():
        sense, _, count = line.split()
        noun, _, kind = sense.partition("%")
        if kind.startswith("1") and noun.isalpha() and len(noun) > 2:
            counts[noun] += int(count)
    proper = {
        word.lower()
        for line in (folder / "data.noun").read_text().splitlines()[29:]
        for word in line.split()[4:5]
        if not word.islower()
    }
    common = [noun for noun, _ in counts.most_common() if noun not in proper][:NUM_NOUNS]
    common = [noun for noun in common if not noun.startswith(_SLURS)]
    singular = [noun for noun in common if not noun.endswith("s")]
    words = sorted({*common, *(form for noun in singular for form in getInflection(noun, "NNS"))})
    lemmas = {word: (lemma(word), wordnet(word)) for word in words}
    return {word: both for word, both in lemmas.items() if both[0] != both[1]}


@pytest.mark.skipif(not WORDNET.exists(), reason="needs the package wordnet-base of Debian")
def test_wordnet_differs_in_the_known_words_alone():
    assert differences(read_wordnet(str(WORDNET)), WORDNET) == _differences()
