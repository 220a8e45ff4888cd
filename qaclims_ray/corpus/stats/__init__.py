"""Statistics of a corpus, and its export for other tools.

In: the artifact `corpus`. Out: frequencies of answers, what comes with each class, and one line
per answer as JSONL or CSV. `survey` writes them into the run.
"""
