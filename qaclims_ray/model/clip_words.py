"""Words that CLIP-ES (Lin et al., CVPR 2023) contrasts every image with.

Published `clip_text.py` of linyq2117/CLIP-ES: `BACKGROUND_CATEGORY`, `BACKGROUND_CATEGORY_COCO` and
the template of `generate_cams_voc12.py`.
"""

BACKGROUND_WORDS = (
    *("ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river"),
    *("sea", "railway", "railroad", "keyboard", "helmet", "cloud", "house", "mountain", "ocean"),
    *("road", "rock", "street", "valley", "bridge", "sign"),
)
"""The 25 background words that fit PASCAL VOC."""

COCO_BACKGROUND_WORDS = tuple(word for word in BACKGROUND_WORDS if word not in ("keyboard", "sign"))
"""The 23 of them that no class of COCO is named after (keyboard, stop sign)."""

TEMPLATE = "a clean origami {}."
"""What CLIP-ES fills with each class and background word."""
