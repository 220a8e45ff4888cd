"""CAMs scored as they are made: stages 5 and 7 in one pass, with no CAM written."""
