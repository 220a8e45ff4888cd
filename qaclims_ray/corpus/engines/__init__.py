"""Visual-question-answering engines, which answer questions about images (`base.Engine`).

In: RGB images and the questions about each. Out: answers as texts, or what is wrong with an image.
One file per engine; `build` makes the one that the section `corpus.engine` names.
"""
