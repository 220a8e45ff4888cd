"""The jobs: each reads a command line, calls the stages, and prints what came of it.

In: arguments of `qaclims COMMAND` (`command.py` has the table) or of a script of `jobs/`. Out: text,
and what the stages write. A `main` imports what works only after it has read its arguments and
configuration, so that --help and mistakes are answered at once.
"""
