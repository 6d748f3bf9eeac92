"""Runs the command line: python -m camformer_tf.cli."""

from camformer_tf import cli

cli.main(prog_name="camformer-tf")
