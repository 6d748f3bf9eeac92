import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click import testing

import camformer_tf as cf
from camformer_tf import cli, errors, recipe, rundir
from camformer_tf.client import engine
from camformer_tf.data import predictions, records, sequence
from camformer_tf.model import keras_file, rescnn

SCHEMES = ("http", "grpc")
SETTINGS = recipe.load("smoke")


@pytest.fixture
def text(tmp_path, promoters):
    """2,100 promoters with expressions, some in lower case, two that cannot be read."""
    rng = np.random.default_rng(3)
    lines = ["".join(rng.permutation(list(row))) for row in promoters * 105]
    lines[7], lines[8], lines[2000] = lines[7].lower(), "ACGT", lines[2000][:50] + "!" + "A" * 59
    path = tmp_path / "library.txt"
    path.write_text("".join(f"{line}\t{i / 4}\n" for i, line in enumerate(lines)))
    return path


def call(*words: object) -> testing.Result:
    return testing.CliRunner().invoke(cli.main, ["predict", *map(str, words), "--quiet"])


def read_columns(path: Path) -> dict[str, tuple[str, ...]]:
    header, *lines = (line.split("\t") for line in path.read_text().splitlines())
    return dict(zip(header, zip(*lines, strict=True), strict=True))


# === Rows ===


def test_a_table_has_a_row_for_every_input_row_in_order(keras_path, promoters, tmp_path, caplog):
    strange = promoters[2][:50] + "X" + promoters[2][51:]
    lines = [promoters[0], "ACGT", promoters[1].lower(), strange, "", promoters[2][:108]]
    (tmp_path / "in.txt").write_text("\n".join(lines))
    with caplog.at_level(logging.WARNING):
        count = cf.predict(keras_path, tmp_path / "in.txt", tmp_path / "out.tsv")
    table = predictions.read(tmp_path / "out.tsv")
    assert count == 5 and table.sequences == [line for line in lines if line]
    assert np.isnan(table.prediction).tolist() == [False, True, False, True, False]
    assert "2 of 5 sequences cannot be read" in caplog.text
    assert "row 2: length 4, further than 3 from 110" in caplog.text
    letters = sequence.letters([promoters[1], promoters[2][:108] + "NN"])
    expected = cf.load(keras_path).predict_letters(letters)
    np.testing.assert_allclose(table.prediction[[2, 4]], expected, atol=2e-6)


def test_a_split_of_records_is_predicted_with_its_expressions(keras_path, library, tmp_path):
    count = cf.predict(keras_path, str(library), str(tmp_path / "out.tsv"), split="val")
    table = predictions.read(tmp_path / "out.tsv")
    expected = records.read(library, "val")
    assert count == 300
    assert table.sequences == sequence.text(expected.letters)
    np.testing.assert_array_equal(table.expression.astype(np.float32), expected.expression)


def test_blocks_of_text_give_the_same_table_as_one_block(
    keras_path, library_text, tmp_path, monkeypatch
):
    cf.predict(keras_path, library_text, tmp_path / "whole.tsv", batch_size=64)
    monkeypatch.setattr("camformer_tf.data.text._CHUNK", 10_000)
    cf.predict(keras_path, library_text, tmp_path / "blocks.tsv", batch_size=64)
    table, expected = (predictions.read(tmp_path / name) for name in ("blocks.tsv", "whole.tsv"))
    assert table.sequences == expected.sequences
    np.testing.assert_allclose(table.prediction, expected.prediction, atol=2e-6)


def test_columns_of_a_table_are_chosen_by_name(keras_path, promoters, tmp_path):
    lines = ["id,oligo,value", *(f"{i},{text},{i / 2}" for i, text in enumerate(promoters))]
    (tmp_path / "in.csv").write_text("\n".join(lines))
    cf.predict(
        keras_path, tmp_path / "in.csv", tmp_path / "out.tsv", sequence="oligo", expression="value"
    )
    table = predictions.read(tmp_path / "out.tsv")
    assert table.sequences == promoters
    np.testing.assert_array_equal(table.expression, np.arange(20) / 2)
    with pytest.raises(errors.UserError, match="needs the column of sequences"):
        cf.predict(keras_path, tmp_path / "in.csv", tmp_path / "b.tsv", expression="value")


def test_fasta_gives_names_and_reasons(keras_path, tmp_path):
    (tmp_path / "in.fa").write_text(">one\n" + "A" * 60 + "\n" + "C" * 50 + "\n>two\nACGT\n")
    cf.predict(keras_path, tmp_path / "in.fa", tmp_path / "out.tsv")
    columns = read_columns(tmp_path / "out.tsv")
    assert list(columns) == ["sequence", "prediction", "name", "reason"]
    assert columns["sequence"] == ("A" * 60 + "C" * 50, "ACGT")
    assert columns["prediction"][1] == "" and columns["name"] == ("one", "two")
    assert columns["reason"] == ("", "length 4, further than 3 from 110")


def test_several_models_give_the_mean_and_its_spread(keras_path, library, tmp_path):
    paths = [keras_path]
    for seed in (2, 3):
        paths.append(tmp_path / f"{seed}.keras")
        keras_file.save(rescnn.build(SETTINGS.model, seed=seed), paths[-1], SETTINGS)
    cf.predict(paths, library, tmp_path / "out.tsv", split="val")
    letters = records.read(library, "val").letters
    expected = [cf.load(path).predict_letters(letters) for path in paths]
    columns = read_columns(tmp_path / "out.tsv")
    assert list(columns) == ["sequence", "prediction", "expression", "spread"]
    prediction, spread = (np.array(columns[name], float) for name in ("prediction", "spread"))
    np.testing.assert_allclose(prediction, np.mean(expected, axis=0), rtol=1e-5)
    np.testing.assert_allclose(spread, np.std(expected, axis=0, ddof=1), atol=1e-5)


# === Mistakes ===


@pytest.mark.parametrize(
    ("model", "source", "options", "message"),
    [
        ("absent", "in.txt", {}, "absent: no such file or directory"),
        (".", "in.txt", {}, f"there is no {rundir.BEST} in it"),
        ("in.txt", "in.txt", {}, "not a model of camformer_tf"),
        (None, "absent.txt", {}, "absent.txt: no such file"),
        (None, "empty.txt", {}, "no sequence to predict"),
        (None, "in.txt", {"keys": Path("k.json")}, "keys are for dream-json alone"),
        (None, "library", {"sequence": "s"}, "columns are for a table"),
        (None, "in.txt", {"split": "val"}, "--split is for a records directory"),
        (None, "library", {}, "--split, one of train, val"),
        (None, "library", {"split": "test"}, "has no split 'test'"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_no_table(
    keras_path, library, tmp_path, model, source, options, message
):
    (tmp_path / "in.txt").write_text("A" * 110 + "\n")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(errors.UserError, match=message):
        cf.predict(
            tmp_path / model if model else keras_path,
            library if source == "library" else tmp_path / source,
            tmp_path / "out.tsv",
            **options,
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.txt", "in.txt"]


def test_an_existing_table_is_replaced_only_with_overwrite(keras_path, text, tmp_path):
    out = tmp_path / "out.tsv"
    out.write_text("mine")
    with pytest.raises(errors.UserError, match="exists already"):
        cf.predict("no model is loaded for this", text, out)
    result = call(keras_path, text, out)
    assert result.exit_code == 1 and "--overwrite" in result.output
    assert out.read_text() == "mine"
    assert call(keras_path, text, out, "--overwrite").exit_code == 0
    assert out.read_text().startswith("sequence\tprediction")


# === Output ===


def test_the_suffix_decides_the_format_unless_it_is_named(keras_path, text, tmp_path):
    for name in ("a.tsv", "b.csv", "c.json", "d.txt"):
        cf.predict(keras_path, text, tmp_path / name)
    cf.predict(keras_path, text, tmp_path / "e.csv", format="tsv")
    tsv = (tmp_path / "a.tsv").read_text()
    assert (tmp_path / "d.txt").read_text() == (tmp_path / "e.csv").read_text() == tsv
    csv = (tmp_path / "b.csv").read_text()
    assert csv.splitlines()[0] == "sequence,prediction,expression,reason"
    answers = json.loads((tmp_path / "c.json").read_text())
    assert list(answers)[:2] == ["0", "1"] and len(answers) == 2_100
    assert answers["0"] == pytest.approx(float(tsv.splitlines()[1].split("\t")[1]))


def test_a_table_for_standard_output_has_its_summary_on_standard_error(keras_path, text, tmp_path):
    assert call(keras_path, text, tmp_path / "out.tsv").stdout == (
        f"{tmp_path / 'out.tsv'}: 2,100 predictions\n"
    )
    words = ["predict", str(keras_path), str(text), "-"]
    result = testing.CliRunner().invoke(cli.main, words)
    assert result.exit_code == 0
    assert result.stdout == (tmp_path / "out.tsv").read_text()
    assert "2,100 predictions\n" in result.stderr
    assert call(keras_path, text, "-").stderr == ""  # with --quiet


def test_a_closed_pipe_ends_quietly(keras_path, text):
    command = f"{sys.executable} -m camformer_tf predict {keras_path} {text} - --quiet | head -1"
    process = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0
    assert process.stdout == "sequence\tprediction\texpression\treason\n"
    assert "Traceback" not in process.stderr and "BrokenPipe" not in process.stderr


# === Servers ===


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_table_of_a_server_is_that_of_its_export(urls, export_dir, text, tmp_path, scheme):
    out, local = tmp_path / "served.tsv", tmp_path / "local.tsv"
    assert cf.predict(urls[scheme], text, out, batch_size=64, concurrency=8) == 2_100
    cf.predict(export_dir, text, local)
    columns, expected = read_columns(out), read_columns(local)
    assert list(columns) == list(expected)
    for name in ("sequence", "expression", "reason"):
        assert columns[name] == expected[name]
    for prediction, reason in zip(columns["prediction"], columns["reason"], strict=True):
        assert bool(prediction) != bool(reason)
    # float32 is rounded by batch size, on a scale that multiplies it by 30
    numbers = (predictions.read(path).prediction for path in (out, local))
    np.testing.assert_allclose(*numbers, atol=3e-5)


def test_a_table_is_of_one_version_whatever_is_loaded_meanwhile(urls, text, tmp_path, monkeypatch):
    addresses, connect = [], engine.connect

    def record(address, **options):
        addresses.append(address)
        return connect(address, **options)

    monkeypatch.setattr(engine, "connect", record)
    cf.predict(urls["http"], text, tmp_path / "a.tsv")
    assert [address.version for address in addresses] == [None, 1]


def test_the_command_takes_a_url_as_model_or_as_server(urls, text, tmp_path):
    assert call(urls["http"], text, tmp_path / "a.tsv").exit_code == 0
    assert call(text, tmp_path / "b.tsv", "--server", urls["http"]).exit_code == 0
    tables = [(tmp_path / name).read_text() for name in ("a.tsv", "b.tsv")]
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["in.txt", "out.tsv"], "Name MODEL, or --server"),
        (["run", "in.txt", "out.tsv", "--server", "http://h:1"], "Name MODEL, or --server"),
        (
            ["in.txt", "out.tsv", "--server", "http://h:1", "--precision", "float32"],
            "--precision cannot be used with a server",
        ),
        (["http://h:1", "in.txt", "out.tsv", "--calibration", "c"], "--calibration cannot be used"),
        (["run", "in.txt", "out.tsv", "--timeout", "3"], "--timeout is for servers"),
        (["run", "in.csv", "out.tsv", "--expression-column", "e"], "goes with --sequence-column"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, message):
    result = call(*words)
    assert result.exit_code == 2 and message in result.output
