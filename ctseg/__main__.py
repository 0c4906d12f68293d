"""`python -m ctseg`."""

from ctseg.cli.main import run

run()
