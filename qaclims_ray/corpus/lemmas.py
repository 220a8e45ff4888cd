"""The noun that an answer is: by the lexicon of lemminflect, or by WordNet as in published code.

They differ in few words (`tests/corpus/lemmas.csv`), and ours are the sensible ones: WordNet's rule
makes "vases" the vessel "vas" and "uses" the country "us", and leaves "men" and "teeth" alone.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from lemminflect import getAllInflections, getAllLemmas, getLemma

from qaclims_ray.storage.files import read_text
from qaclims_ray.storage.paths import join

Lemmatise: TypeAlias = Callable[[str], str]
"""An answer to the noun that it is."""

_MISSING = {
    **{f"{one}s": one for one in ("cd", "cop", "dvd", "halfback", "pc", "reflection", "tv")},
    **{"avocadoes": "avocado", "counties": "county", "dice": "dice", "media": "media"},
    **{"opera": "opera", "oxen": "ox", "thanks": "thanks"},
}
"""Nouns that the lexicon lacks, or takes for another word."""


def lemma(answer: str) -> str:
    """The whole answer as one noun in the singular; an unknown noun stays as it is.

    Several words are one unknown noun, as in the published code. Of two lemmas the shorter one
    counts ("leaves" is "leaf"): WordNet's rule. The lexicon knows some plurals as verbs alone, such
    as "logs": their noun is the verb.
    """
    if answer in _MISSING:
        return _MISSING[answer]
    nouns = getLemma(answer, upos="NOUN", lemmatize_oov=False)
    if not nouns and answer.endswith("s") and getAllLemmas(answer).keys() <= {"VERB"}:
        nouns = [one for one in getLemma(answer, upos="NOUN") if getAllInflections(one)]
    return min(nouns, key=len, default=answer)


class WordNet(NamedTuple):
    """WordNet's nouns, and the rule by which NLTK's `WordNetLemmatizer` finds the lemma of one."""

    nouns: frozenset[str]
    exceptions: Mapping[str, tuple[str, ...]]
    """Lemmas of irregular plurals."""

    def __call__(self, answer: str) -> str:
        """Return the shortest noun that WordNet has for an answer; without any, the answer.

        An irregular plural that is a noun itself ("men") comes first, and so stays. Endings are
        replaced until a noun is found.
        """
        if answer in self.exceptions:
            return min(self._known([answer, *self.exceptions[answer]]), key=len, default=answer)
        forms = [answer]
        found = self._known([answer, *_shortened(forms)])
        while not found and (forms := _shortened(forms)):
            found = self._known(forms)
        return min(found, key=len, default=answer)

    def _known(self, forms: Iterable[str]) -> list[str]:
        return [form for form in forms if form in self.nouns]


def read_wordnet(folder: str) -> WordNet:
    """Read the files `index.noun` and `noun.exc` of a WordNet database.

    Args:
        folder: Path or URL, such as Debian's `/usr/share/wordnet` (package wordnet-base).

    Raises:
        ValueError: a file is absent.
    """
    index = read_text(join(folder, "index.noun"), "WordNet's nouns").splitlines()
    irregular = read_text(join(folder, "noun.exc"), "WordNet's irregular nouns").splitlines()
    return WordNet(
        frozenset(line.split()[0] for line in index if not line.startswith(" ")),
        {form: tuple(nouns) for form, *nouns in map(str.split, irregular)},
    )


_ENDINGS = (
    *(("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z")),
    *(("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y")),
)
"""WordNet's rules of detachment for nouns (morphy(7WN))."""


def _shortened(forms: Iterable[str]) -> list[str]:
    return [
        form.removesuffix(ending) + instead
        for form in forms
        for ending, instead in _ENDINGS
        if form.endswith(ending)
    ]
