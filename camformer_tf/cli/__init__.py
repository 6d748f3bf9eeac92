"""The command line: each command a thin shell over one library function."""

from camformer_tf.cli import group, judging, predicting, recipes, records, serving, training

main = group.main
for _command in (  # in the order of work
    records.simulate,
    records.build_records,
    records.inspect_records,
    records.verify_records,
    records.export_records,
    recipes.recipes,
    training.fit,
    training.tune,
    training.doctor,
    training.import_torch,
    predicting.predict,
    predicting.calibrate,
    judging.evaluate,
    judging.compare,
    judging.report,
    serving.export,
    serving.serve,
    serving.serve_check,
):
    main.add_command(_command)
