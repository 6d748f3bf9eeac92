"""The network and PyTorch's with the same weights: predictions, losses, gradients, statistics."""

import numpy as np
import pytest
import scipy.stats

torch = pytest.importorskip("torch")

from support import parity, torch_model  # noqa: E402

from camformer_tf import recipe  # noqa: E402
from camformer_tf.data import sequence  # noqa: E402
from camformer_tf.model import rescnn, torch_import  # noqa: E402

pytestmark = pytest.mark.torch
NAMES = ("original", "small", "mini")
PRECISIONS = pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])


@pytest.mark.parametrize(("name", "parameters"), [("original", 16_611_073), ("mini", 1_446_721)])
def test_the_network_to_compare_with_has_the_published_size(name, parameters):
    settings = recipe.load(name)
    channels = sequence.channels(settings.data.encoding)
    network = torch_model.Camformer(settings.model, channels=channels)
    assert sum(p.numel() for p in network.parameters()) == parameters


@PRECISIONS
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_pytorchs(name, training, double):
    networks = parity.build_pair(recipe.load(name), is_double=double)
    actual, expected = parity.outputs(networks, 8, training=training)
    assert expected.std() > 0.03  # predictions differ between sequences
    # Values are about 1. float32: sums of up to 14,592 terms in another order, nine layers; 1e-6
    # seen at most. float64: 2^-29 of that.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12 if double else 1e-5)


@pytest.mark.parametrize("loss", ["l1", "mse", "huber"])
@pytest.mark.parametrize("name", NAMES)
def test_losses_and_all_gradients_are_pytorchs(name, loss):
    networks = parity.build_pair(recipe.load(name), is_double=True)
    (keras_loss, actual), (torch_loss, expected) = parity.gradients(networks, 2, loss)
    assert keras_loss == pytest.approx(torch_loss, rel=1e-12)
    assert len(actual) == len(networks.keras_network.trainable_variables) == len(expected)
    # Relative to the largest gradient of a layer, since that of a bias before a normalisation is 0
    # but for rounding. Float64 sums of some 1e5 terms after nine layers there and back: 2e-14 seen.
    assert max(parity.largest_by_layer(actual, expected).values()) < 1e-12


@pytest.mark.parametrize("loss", ["l1", "mse", "huber"])
@pytest.mark.parametrize("name", NAMES)
def test_losses_and_all_gradients_are_pytorchs_in_float32(name, loss):
    networks = parity.build_pair(recipe.load(name))
    differences = []
    for seed in range(6):
        (keras_loss, actual), (torch_loss, expected) = parity.gradients(
            networks, 1, loss, seed=seed
        )
        assert keras_loss == pytest.approx(torch_loss, rel=1e-5)
        differences.append(max(parity.largest_by_layer(actual, expected).values()))
        if differences[-1] < 1e-4:  # 8e-6 seen where nothing flips
            return
    # Where a value is 0 but for rounding, or two in a pooling window are equal but for rounding, it
    # passes here and not there, and its gradient with it. The Original has 280,000 values before a
    # ReLU in a sequence: of ten batches of two, five had one such flip (three of a ReLU, two of a
    # pooling; gradients 0.01 to 0.06 apart), and the five others agreed to 1e-5. The smaller
    # networks have fewer. One batch without a flip has to occur.
    raise AssertionError(differences)


@pytest.mark.parametrize("name", NAMES)
def test_running_statistics_are_pytorchs_except_for_the_unbiased_factor(name):
    networks = parity.build_pair(recipe.load(name), is_double=True)
    _, start = parity.variables(networks)
    parity.outputs(networks, 8, training=True)
    actual, end = parity.variables(networks)
    changes = [path for path in actual if not np.array_equal(actual[path], start[path])]
    assert len(changes) == 12 and all("moving_" in path for path in changes)
    assert parity.largest(actual, end)["norm_1/moving_variance"] > 1e-6
    expected = parity.with_biased_variances(networks, start, end, 8, 1)
    # float64 except for Keras' momentum of 0.9, which may be kept as float32
    assert max(parity.largest(actual, expected).values()) < 1e-7


@pytest.mark.parametrize("name", NAMES)
def test_weights_start_from_pytorchs_distributions(name):
    settings = recipe.load(name)
    channels = sequence.channels(settings.data.encoding)
    torch.manual_seed(5)
    state = torch_model.Camformer(settings.model, channels=channels).state_dict()
    network = rescnn.build(settings.model, channels=channels)
    for layer, values in torch_import.weights(
        {key: value.numpy() for key, value in state.items()}, network
    ).items():
        for actual, expected in zip(network.get_layer(layer).get_weights(), values, strict=True):
            if layer.startswith("norm_"):
                np.testing.assert_array_equal(actual, expected)
                continue
            # Uniform within the same bounds: neither exceeds them, and the largest of n comes as
            # near as about 1 / n; sd within six standard errors (of the sd of a uniform: 0.45 / √n)
            kernel = network.get_layer(layer).kernel.shape
            limit = np.prod(kernel[:-1]) ** -0.5
            for start in (actual, expected):
                assert limit * (1 - 20 / start.size) <= np.abs(start).max() <= limit * (1 + 1e-6)
                if start.size > 100:
                    relative = 6 * 0.45 / start.size**0.5
                    assert start.std() == pytest.approx(limit / 3**0.5, rel=relative)
            if actual.size > 1:
                samples = (start.ravel()[:20_000] for start in (actual, expected))
                assert scipy.stats.ks_2samp(*samples).pvalue > 1e-4
