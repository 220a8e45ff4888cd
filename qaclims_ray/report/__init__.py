"""9. Report: one HTML page of a run, and a contact sheet of its images.

In: whatever artifacts a run has, and its search. Out: `report.html` and `show/sheet.html`, each one
file without scripts, laid out by `templates/`.
"""
