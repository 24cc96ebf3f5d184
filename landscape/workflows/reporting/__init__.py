"""Reports on one network, several, their trainings, a study, surfaces, or all of them in one document. Loads no torch.

`sources` finds out what files hold; `document` chooses what is told of them and in which order; a module a kind of part
says it: `comparison`, `study`, `training`, `surface`, `provenance`. That on one network is `landscape.report.network`.
"""

from landscape.workflows.reporting.document import Choice, report_of, write_report
from landscape.workflows.reporting.sources import Found, find

__all__ = ["Choice", "Found", "find", "report_of", "write_report"]
