#!/usr/bin/env bash
# From nothing to an exported model on simulated data: bin/quickstart.sh [FOLDER]
# Creates a virtual environment in .venv, installs the package, and writes to FOLDER (quickstart/).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-quickstart}
if [ -e "$out" ]; then
    echo "$out: exists already. Remove it, or give another folder: bin/quickstart.sh FOLDER" >&2
    exit 1
fi
bin/install.sh
camformer=.venv/bin/camformer-tf
mkdir -p "$out"

echo "== 20,000 simulated promoters"
$camformer simulate "$out/promoters.txt" --sequences 20000
echo "== TFRecords"
$camformer build-records "$out/promoters.txt" "$out/records"
echo "== training"
$camformer fit smoke "$out/records" "$out/run"
echo "== predictions of the validation split, and their scores"
$camformer predict "$out/run" "$out/records" "$out/predictions.tsv" --split val
$camformer evaluate "$out/predictions.tsv" --out "$out/scores.json"
echo "== SavedModel"
$camformer export "$out/run" "$out/export"

cat <<END
== finished; everything is in $out/
promoters.txt, promoters.truth.json  the library, and its motif grammar
records/          TFRecords and manifest.json
run/              log.txt, history.csv, best.keras, tensorboard/
predictions.tsv   sequence, prediction, expression
scores.json       Pearson, Spearman, errors
export/1/         SavedModel for TensorFlow Serving
END
