"""Trains smoke in float32: RECORDS RUN_DIR DEVICES [OVERRIDES…]."""

import sys

import camformer_tf as cf

records, run_dir, devices, *overrides = sys.argv[1:]
cf.fit("smoke", records, run_dir, overrides=overrides, devices=int(devices), precision="float32")
