"""A report: one HTML file that tells everything about a run. It opens from a disk, without a network.

    python -m style.run photo.jpg painting.jpg --report run.html
    python -m style.report out.png log.jsonl                       later, from what a run has left

    facts.py     what a report tells, and how it is found later   listener.py  the same, heard while a run goes on
    curve.py     the loss, from a run or from its log              repeat.py    the command that makes it again
    plots.py     the loss as drawings                              page.py      all of it as HTML

Jinja2 and matplotlib, which plots.py and page.py need, come with the extra `report`.
"""

from .listener import Report, Reports, check_report, is_report

__all__ = ["Report", "Reports", "check_report", "is_report"]
