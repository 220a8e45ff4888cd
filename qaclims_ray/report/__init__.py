"""The report: one HTML page of a run, and a contact sheet of its images.

In: the artifacts that a run has, and its search. Out: `report.html` and `show/sheet.html`, each one
file without scripts, laid out by `templates/`.
"""
