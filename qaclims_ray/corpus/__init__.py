"""2. What a visual-question-answering model says about each (image, class)."""
