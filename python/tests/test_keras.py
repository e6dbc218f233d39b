# SPDX-License-Identifier: MIT
"""bnorm.keras against Keras's own batch normalization, which is in float32 for every type."""

import inspect
import os
import sys

import pytest

torch = pytest.importorskip("torch")
os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")

import bnorm.keras  # noqa: E402
import numpy  # noqa: E402
from bnorm.torch import _ops  # noqa: E402

Layer = keras.layers.BatchNormalization
STOCK = Layer.call


@pytest.fixture(autouse=True)
def restored():
    keras.utils.set_random_seed(1)
    yield
    bnorm.keras.disable()


@pytest.fixture
def calls(monkeypatch):
    """What the library is called with."""
    made, apply = [], _ops.apply

    def counting(x, *arguments):
        made.append(x)
        return apply(x, *arguments)

    monkeypatch.setattr(_ops, "apply", counting)
    return made


def new_layer(shape, **options):
    """One whose weights are not those it begins with."""
    layer = Layer(**options)
    layer.build(shape)
    for variable in layer.weights:
        variable.assign(numpy.random.uniform(0.5, 1.5, variable.shape))
    return layer


def outcome(layer, x, dy, **options):
    """y, gradients and weights of a step."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x, **options)
    y.backward(dy.to(y.dtype))
    return [y.detach(), x.grad, *(v.value.grad for v in layer.weights), *(v.value.detach() for v in layer.weights)]


def stock(layer, x, dy, **options):
    """That of a layer like this one with Keras's own code."""
    bnorm.keras.disable()
    other = Layer.from_config(layer.get_config())
    other.build(x.shape)
    other.set_weights(layer.get_weights())
    other.autocast = layer.autocast
    return outcome(other, x, dy, **options)


def compare(layer, calls, x, bound=1e-5, taken=True, **options):
    """A step with bnorm beside one without, and whether the library was called."""
    dy = torch.randn(x.shape).to(x.dtype)
    theirs = stock(layer, x, dy, **options)
    bnorm.keras.enable()
    ours = outcome(layer, x, dy, **options)
    assert len(ours) == len(theirs) and len(calls) == taken
    for value, right in zip(ours, theirs):
        assert (value is None) == (right is None)
        if right is not None:
            torch.testing.assert_close(value, right, rtol=bound, atol=bound, equal_nan=True)


def compare_fallback(layer, calls, x, **options):
    """Where bits are Keras's own."""
    compare(layer, calls, x, 0, False, **options)


@pytest.mark.parametrize("rank, axis", [(rank, axis) for rank in range(2, 6) for axis in range(rank)] + [(4, -1), (4, -3)])
@pytest.mark.parametrize("training", [True, False, None])
def test_axes(rank, axis, training, calls):
    x = torch.randn([4, 6, 5, 3, 2][:rank]) + 3
    compare(new_layer(x.shape, axis=axis), calls, x, training=training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{"scale": False}, {"center": False}, {"scale": False, "center": False}, {"epsilon": 0.1},
                                     {"momentum": 0.0}, {"momentum": 0.7}, {"momentum": 1.0}, {"trainable": False}], ids=str)
def test_options(options, training, calls):
    x = torch.randn(4, 5, 3, 6) + 3
    compare(new_layer(x.shape, **options), calls, x, training=training)


@pytest.mark.parametrize("x", [torch.randn(4, 6, 5, 3).permute(0, 2, 3, 1), torch.randn(4, 5, 3, 12)[..., ::2],
                               torch.randn(4, 5, 7, 6)[:, :, 2:5], torch.randn(4, 1, 1, 6).expand(-1, 5, 3, -1)])
def test_slices(x, calls):
    compare(new_layer(x.shape), calls, x, training=True)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float16"])
def test_policies(policy, training, calls):
    x = (torch.randn(4, 5, 3, 6) + 3).to(torch.bfloat16 if "bfloat" in policy else torch.float16)
    compare(new_layer(x.shape, dtype=policy), calls, x, 2e-2, training=training)


def test_offset():
    """Where Keras loses its digits."""
    x = torch.randn(4, 5, 3, 6) + 1e4
    layer = Layer(axis=1)
    layer.build(x.shape)
    exact = torch.nn.functional.batch_norm(x.double(), None, None, training=True, eps=1e-3)
    theirs = stock(layer, x, x, training=True)[0]
    bnorm.keras.enable()
    ours = outcome(layer, x, x, training=True)[0]
    assert (ours - exact).abs().max() < 2e-6
    assert not (theirs - exact).abs().max() < 1e-1  # or NaN, of a variance below zero


def test_stateless_call(calls):
    x = torch.randn(4, 5, 3, 6)
    layer = new_layer(x.shape)
    before = layer.get_weights()
    state = [[v.value.detach().clone() for v in some] for some in (layer.trainable_variables, layer.non_trainable_variables)]
    y, statistics = layer.stateless_call(*state, x, training=True)
    bnorm.keras.enable()
    z, ours = layer.stateless_call(*state, x, training=True)
    torch.testing.assert_close(z, y, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours, statistics, rtol=1e-5, atol=1e-5)
    for value, right in zip(layer.get_weights(), before):
        assert (value == right).all()
    assert len(calls) == 1


# ---- What is Keras's own ----


@pytest.mark.parametrize("x", [torch.randn(4, 5, 3, 6).double(), torch.randn(1, 1, 1, 6), torch.zeros(0, 5, 3, 6)],
                         ids=["double", "single", "empty"])
def test_values_of_keras(x, calls):
    layer = new_layer(x.shape, dtype=str(x.dtype).partition(".")[2])
    compare_fallback(layer, calls, x, training=True)


@pytest.mark.parametrize("training", [True, False])
def test_mask(training, calls):
    x = torch.randn(4, 5, 6)
    compare_fallback(new_layer(x.shape), calls, x, training=training, mask=torch.rand(4, 5) < 0.5)


def test_layers_of_keras(calls):
    x = torch.randn(4, 5, 6)
    compare_fallback(new_layer(x.shape, momentum=1.5), calls, x, training=True)
    if "renorm" in inspect.signature(Layer.__init__).parameters:
        compare_fallback(new_layer(x.shape, renorm=True), calls, x, training=True)
    compare_fallback(new_layer(x.shape, dtype="mixed_bfloat16", autocast=False), calls, x, training=True)  # x is float32

    class Shifted(Layer):
        def _moments(self, inputs, mask):
            mean, variance = super()._moments(inputs, mask)
            return mean + 1, variance

    assert Shifted()(x, training=True).mean() < -0.9 and not calls


def test_compiler(calls):
    x = torch.randn(4, 5, 6)
    layer = new_layer(x.shape)
    bnorm.keras.enable()
    torch.compiler.reset()
    y = torch.compile(lambda x: layer(x), backend="eager")(x)
    assert not calls
    torch.testing.assert_close(y, layer(x), rtol=1e-5, atol=1e-5)
    assert len(calls) == 1


# ---- Turning it on and off ----


def test_enabled_and_disabled():
    bnorm.keras.enable()
    ours = Layer.call
    bnorm.keras.enable()
    assert Layer.call is ours is not STOCK and inspect.signature(ours) == inspect.signature(STOCK)
    bnorm.keras.disable()
    bnorm.keras.disable()
    assert Layer.call is STOCK


def test_refusals(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(keras.backend, "backend", lambda: "jax")
        with pytest.raises(RuntimeError, match="this one is on jax: set KERAS_BACKEND=torch"):
            bnorm.keras.enable()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "keras", None)
        with pytest.raises(ImportError, match="needs Keras 3"):
            bnorm.keras.enable()
    assert Layer.call is STOCK


# ---- Whole models ----


def network(data_format):
    axis = -1 if data_format == "channels_last" else 1
    layers = [keras.Input((8, 8, 3) if axis == -1 else (3, 8, 8))]
    for _ in range(3):
        layers += [keras.layers.Conv2D(8, 3, padding="same", use_bias=False, data_format=data_format), Layer(axis=axis),
                   keras.layers.Activation("silu")]  # whose slope does not hang on a rounding
    layers += [keras.layers.GlobalAveragePooling2D(data_format=data_format), keras.layers.Dense(4)]
    x = layers[0]
    for layer in layers[1:]:
        x = layer(x)
    return keras.Model(layers[0], x)


def fit(data_format, enabled):
    keras.utils.set_random_seed(3)
    model = network(data_format)
    model.compile(keras.optimizers.SGD(0.2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    shape, losses = model.input_shape[1:], []
    (bnorm.keras.enable if enabled else bnorm.keras.disable)()
    log = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: losses.append(logs["loss"]))
    history = model.fit(numpy.random.randn(32, *shape), numpy.random.randint(0, 4, 32), 8, 6, verbose=0, callbacks=[log],
                        validation_data=(numpy.random.randn(8, *shape), numpy.random.randint(0, 4, 8)))
    return losses + history.history["val_loss"], model.get_weights()


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_fit(data_format, calls):
    theirs, right = fit(data_format, False)
    assert not calls and theirs[23] < theirs[0]
    ours, weights = fit(data_format, True)
    assert len(calls) == 3 * (24 + 6)
    numpy.testing.assert_allclose(ours, theirs, rtol=1e-4)
    for value, other in zip(weights, right):
        numpy.testing.assert_allclose(value, other, rtol=1e-3, atol=1e-4)


def test_application(calls):
    model = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3), classes=10)
    x = numpy.random.randn(4, 64, 64, 3).astype("float32")
    for _ in range(3):
        model(x, training=True)  # to have moving statistics
    theirs = model.predict(x, verbose=0)
    bnorm.keras.enable()
    ours = model.predict(x, verbose=0)
    assert len(calls) == sum(isinstance(layer, Layer) for layer in model.layers) == 52
    numpy.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
