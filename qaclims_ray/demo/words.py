"""The words of the demo world: classes, kinds, scenes and stuffs.

All words are single nouns in the singular, so that lemmatising an answer changes nothing.
"""

from typing import NamedTuple


class Kind(NamedTuple):
    """One kind of a class, by its two names."""

    name: str
    alias: str


class ObjectClass(NamedTuple):
    """A class of objects: another word for it, its kinds, and the scene where it lives."""

    alias: str
    kinds: tuple[Kind, Kind, Kind]
    home: str


class Scene(NamedTuple):
    """The three words for a scene, and the stuffs that its upper and lower part may show."""

    scene: str
    environment: str
    place: str
    tops: tuple[str, ...]
    bottoms: tuple[str, ...]


def _object(alias: str, home: str, *kinds: tuple[str, str]) -> ObjectClass:
    first, second, third = (Kind(*kind) for kind in kinds)
    return ObjectClass(alias, (first, second, third), home)


OBJECTS: dict[str, ObjectClass] = {
    "boat": _object(
        "vessel", "ocean", ("sailboat", "yacht"), ("speedboat", "motorboat"), ("ferry", "steamer")
    ),
    "train": _object(
        "railcar", "railway", ("locomotive", "engine"), ("tram", "streetcar"), ("express", "bullet")
    ),
    "aeroplane": _object(
        "aircraft", "air", ("jet", "fighter"), ("airliner", "jumbo"), ("biplane", "glider")
    ),
    "car": _object(
        "automobile", "street", ("taxi", "cab"), ("truck", "pickup"), ("sedan", "coupe")
    ),
    "cow": _object("cattle", "field", ("bull", "ox"), ("holstein", "dairy"), ("calf", "heifer")),
    "horse": _object(
        "equine", "desert", ("stallion", "mustang"), ("zebra", "grevy"), ("pony", "foal")
    ),
    "dog": _object(
        "canine", "room", ("puppy", "beagle"), ("husky", "malamute"), ("labrador", "retriever")
    ),
    "bird": _object("fowl", "forest", ("parrot", "macaw"), ("owl", "owlet"), ("swan", "goose")),
}
"""What each class is made of, by class name."""

CLASSES: tuple[str, ...] = tuple(OBJECTS)
"""Class names; the class index is the position."""

SCENES: dict[str, Scene] = {
    scene.scene: scene
    for scene in (
        Scene("ocean", "sea", "harbor", ("sky", "fog", "rock"), ("water", "wave")),
        Scene("railway", "railroad", "station", ("tree", "fence", "brick"), ("rail", "stone")),
        Scene("air", "airspace", "airport", ("sky", "fog"), ("cloud", "runway")),
        Scene("street", "city", "downtown", ("building", "brick"), ("road", "cobble")),
        Scene("field", "meadow", "farm", ("mountain", "tree", "fence"), ("grass", "mud", "hay")),
        Scene("desert", "beach", "savanna", ("sky", "rock"), ("sand", "clay")),
        Scene("room", "interior", "house", ("wall", "curtain", "shelf"), ("floor", "carpet")),
        Scene("forest", "woodland", "jungle", ("tree", "bush"), ("leaf", "snow")),
    )
}
"""Scenes by scene word. One top and one bottom are drawn for each image."""

STUFFS: tuple[str, ...] = tuple(
    dict.fromkeys(stuff for scene in SCENES.values() for stuff in scene.tops + scene.bottoms)
)
"""Background materials; a stuff map holds positions in this tuple."""

_PUBLISHED_BACKGROUNDS = (
    *("tree", "river", "sea", "lake", "water", "railway", "railroad", "track", "stone", "rock"),
    *("ground", "land", "grass", "building", "wall", "sky", "keyboard", "helmet", "cloud"),
    *("house", "mountain", "ocean", "road", "street", "valley", "bridge", "sign"),
)

_SCENE_WORDS = tuple(word for scene in SCENES.values() for word in scene[:3])

FIXED_BACKGROUNDS: tuple[str, ...] = tuple(
    word for word in _PUBLISHED_BACKGROUNDS if word in STUFFS + _SCENE_WORDS
)
"""The background words of a method without questions, the same for each image.

Fixed before any result was seen: the union of the two lists published for VOC, that of CLIMS
(Xie et al., CVPR 2022) and the longer one of CLIP-ES (Lin et al., CVPR 2023), in the singular,
restricted to words that the demo world knows.
"""

_NAMES = tuple(
    word
    for name, entry in OBJECTS.items()
    for word in (name, entry.alias, *(word for kind in entry.kinds for word in kind))
)

ANSWER_WORDS: tuple[str, ...] = tuple(dict.fromkeys((*_NAMES, *STUFFS, *_SCENE_WORDS)))
"""Every word that can be an answer, and so be part of a text that CLIP sees."""
