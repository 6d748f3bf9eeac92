"""Runs tasks in a pool of two processes, prints their sum, and then waits."""

import time

from camformer_tf.data import workers

if __name__ == "__main__":
    with workers.pool(2) as mapper:
        print(sum(mapper(abs, range(-8, 0))), flush=True)
        time.sleep(600)
