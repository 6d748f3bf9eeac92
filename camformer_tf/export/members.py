"""The models that one export combines: loaded, compared, and prepared for serving."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import keras

from camformer_tf import errors, exportdir, recipe
from camformer_tf.export import graph
from camformer_tf.model import (
    calibrations,
    engines,
    inference,
    keras_file,
    lookup,
    predictors,
    rescnn,
)


@dataclasses.dataclass(frozen=True)
class EnsembleMembers:
    """M models that read the same sequences and channels.

    Attributes:
        paths: of the runs or .keras files.
        networks: as they were trained, in float32.
        settings: their recipes.
        calibration: of these models.
    """

    paths: tuple[Path, ...]
    networks: tuple[keras.Model, ...]
    settings: tuple[recipe.Recipe, ...]
    calibration: calibrations.Calibration | None

    def reference_engines(self) -> list[engines.Engine]:
        """Returns the networks as they were trained, which share no shortcut with an export."""
        return [
            engines.NetworkEngine(
                predictors.plain(network, settings.data.encoding), engines.rule(settings)
            )
            for network, settings in zip(self.networks, self.settings, strict=True)
        ]

    def fold(self) -> graph.ServedModel:
        """Returns the model to serve: normalisation folded into convolutions, k-mers looked up."""
        folded_networks = []
        for network, settings in zip(self.networks, self.settings, strict=True):
            folded_network = rescnn.from_recipe(settings, is_folded=True)
            rescnn.fold(network, folded_network)
            folded_network.trainable = False
            folded_networks.append(folded_network)
        lookups = tuple(map(lookup.split, folded_networks, self.settings))
        return self._serve(tuple(folded_networks), lookups)

    def single(self) -> EnsembleMembers:
        """Returns the one model without its calibration, as a .keras file holds it.

        Raises:
            errors.UserError: there are several models.
        """
        if len(self.networks) > 1:
            raise errors.UserError(
                f"--format keras: a .keras file holds one network, found {len(self.networks)} "
                "models. Export them one by one, or together as a SavedModel."
            )
        return dataclasses.replace(self, calibration=None)

    def _serve(
        self, networks: tuple[keras.Model, ...], lookups: tuple[lookup.Lookup | None, ...]
    ) -> graph.ServedModel:
        first = self.settings[0]
        encoding, rule = first.data.encoding, engines.rule(first)
        return graph.ServedModel(networks, lookups, encoding, rule, self.calibration)


def load(models: Sequence[Path], calibration: Path | None) -> EnsembleMembers:
    """Returns models, each run of replicates as the runs in it.

    Args:
        models: runs, runs of replicates or .keras files.
        calibration: a calibration of these models; by default the one in the run, if there is one.

    Raises:
        errors.UserError: a path that is not such a model, models that do not go together, or a
            calibration of other models.
    """
    fit = inference.find_calibration(models, calibration)
    paths = inference.member_paths(models)
    networks, settings = zip(*map(_load_network, paths), strict=True)
    members = list(zip(paths, settings, strict=True))
    inference.check_rules([(str(path), engines.rule(member)) for path, member in members])
    encoding = settings[0].data.encoding
    for path, member in members:
        if member.data.encoding != encoding:
            raise errors.UserError(
                f"{path}: its encoding is {member.data.encoding}, that of the first model is "
                f"{encoding}. Models of one export share an encoding; export each alone."
            )
    return EnsembleMembers(tuple(paths), networks, settings, fit)


def _load_network(path: Path) -> tuple[keras.Model, recipe.Recipe]:
    if exportdir.newest(path):
        raise errors.UserError(
            f"{path}: is an export already. Export the run or .keras file that it was made from."
        )
    file = keras_file.load(path)
    if file.is_custom:
        raise errors.UserError(
            f"{path}: a custom network, not that of a recipe, cannot be exported here. Use Keras: "
            "keras.models.load_model(…).export(…)."
        )
    return file.network, file.settings
