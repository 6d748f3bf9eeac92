"""Runs the command line: python -m camformer_tf."""

from camformer_tf import cli

cli.main(prog_name="camformer-tf")
