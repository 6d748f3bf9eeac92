"""python -m camformer_tf.cli"""

from camformer_tf import cli

cli.main()
