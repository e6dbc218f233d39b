# SPDX-License-Identifier: MIT
"""bnorm.torch against PyTorch in float64."""

import copy
import pathlib
import runpy
import warnings

import pytest

torch = pytest.importorskip("torch")

import bnorm.torch  # noqa: E402
from bnorm.torch import _compile, _ops  # noqa: E402
from torch import nn  # noqa: E402

RANKS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
LASTS = {4: torch.channels_last, 5: torch.channels_last_3d}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(1)


def tensor(rank, last=False, offset=0.0, dtype=torch.float32, channels=6):
    x = (torch.randn([4, channels, 5, 3, 2][:rank]) + offset).to(dtype)
    return x.contiguous(memory_format=LASTS[rank]) if last else x


def network(rank, activation=None, **options):
    """A batch norm with parameters that are not those it begins with."""
    norm = RANKS[rank](6, **options)
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return nn.Sequential(norm, *([activation] if activation else []))


def outcome(model, x, dy):
    """y, gradients and buffers of a step."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = model(x)
    y.backward(dy.to(y.dtype))
    named = sorted(model.named_parameters()), sorted(model.named_buffers())
    return [y.detach(), x.grad, *(p.grad for _, p in named[0]), *(b for _, b in named[1])]


def compare(model, x, dy, bound=1e-5, change=bnorm.torch.convert):
    """What the changed model does beside what the model does in float64."""
    exact = outcome(copy.deepcopy(model).double(), x.double(), dy.double())
    ours = outcome(change(copy.deepcopy(model)), x, dy)
    assert len(ours) == len(exact)
    for value, right in zip(ours, exact):
        if value is not None:
            torch.testing.assert_close(value.double(), right.double(), rtol=bound, atol=bound)


@pytest.mark.parametrize("rank, last", [(2, False), (3, False), (4, False), (4, True), (5, False), (5, True)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", [
    None, nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.LeakyReLU(0.1), nn.Hardtanh(-0.5, 0.75), nn.Hardsigmoid(),
    nn.Hardswish(), nn.SiLU(), nn.GELU(), nn.GELU("tanh"), nn.ELU(0.5), nn.Mish(), nn.Sigmoid(), nn.Tanh()], ids=str)
def test_step(rank, last, training, activation):
    compare(network(rank, activation).train(training), tensor(rank, last, offset=3), tensor(rank, last))


@pytest.mark.parametrize("options", [{"momentum": None}, {"affine": False}, {"track_running_stats": False}, {"eps": 1e-3}])
def test_options(options):
    compare(network(4, **options), tensor(4), tensor(4))
    compare(network(4, **options).eval(), tensor(4), tensor(4))


@pytest.mark.parametrize("x", [tensor(4)[:, :, 1:], tensor(4)[::2], tensor(4).transpose(2, 3), tensor(4, True)[..., :2],
                               tensor(4, channels=12)[:, ::2], tensor(4)[:1].expand(4, -1, -1, -1)])
def test_slices(x):
    compare(network(4, nn.ReLU()), x, torch.randn(x.shape))


@pytest.mark.parametrize("cut", [lambda x: x[:, :, 1:], lambda x: x[::2], lambda x: x[:, ::2]])
def test_gaps(cut):
    """Of a slice that is not copied before."""
    whole, dy = tensor(4, channels=12), cut(tensor(4, channels=12))
    norm = nn.BatchNorm2d(dy.shape[1])
    def gradient(norm, dtype):
        x = whole.to(dtype).requires_grad_()
        norm(cut(x)).backward(dy.to(dtype))
        return x.grad
    right = gradient(copy.deepcopy(norm).double(), torch.float64)
    torch.testing.assert_close(gradient(bnorm.torch.convert(norm), torch.float32).double(), right, rtol=1e-5, atol=1e-5)


def test_offset():
    """Where PyTorch loses its digits."""
    x = tensor(4, True, offset=1e6)
    exact = nn.functional.batch_norm(x.double(), None, None, training=True)
    ours = bnorm.torch.batch_norm(x, None, None, training=True)
    theirs = nn.functional.batch_norm(x, None, None, training=True)
    assert (ours - exact).abs().max() < 2e-6 < (theirs - exact).abs().max()


def test_biased():
    """The running variance as Keras has it."""
    x, mean, var = tensor(4), torch.zeros(6), torch.zeros(6)
    _ops.apply(x, None, None, None, mean, var, True, 0.25, True, 1e-5, *_ops.IDENTITY)
    exact = x.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(var.double(), 0.25 * exact.var(1, correction=0), rtol=1e-6, atol=0)
    torch.testing.assert_close(mean.double(), 0.25 * exact.mean(1), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_types(dtype):
    x = tensor(4, dtype=dtype)
    y = bnorm.torch.batch_norm(x, None, None, training=True)
    assert y.dtype == dtype
    torch.testing.assert_close(y, bnorm.torch.batch_norm(x.float(), None, None, training=True).to(dtype), rtol=0, atol=0)


class Block(nn.Module):
    """A residual block whose shortcut is a batch norm, too, and one whose is not."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.bn3, self.bn4, self.relu = nn.BatchNorm2d(6), nn.BatchNorm2d(6), nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)) + self.bn3(x))
        z = self.bn4(self.conv1(y))
        z += y
        return self.relu(z)


@pytest.mark.parametrize("last", [False, True])
def test_residuals(last):
    model = nn.Sequential(Block(), Block())
    compare(model, tensor(4, last), tensor(4, last), 1e-4)
    fused = bnorm.torch.convert(copy.deepcopy(model))
    assert not any(isinstance(module, nn.ReLU) for name, module in fused.named_modules()
                   if name in {node.target for node in fused.graph.nodes})
    assert set(fused.state_dict()) == set(model.state_dict())
    fused.load_state_dict(model.state_dict())


def test_untraceable():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm2d(6)

        def forward(self, x):
            return self.bn(x) if x.sum() > 1e9 else self.bn(x) + 1

    model = Loop()
    with pytest.warns(UserWarning, match="torch.fx cannot trace Loop"):
        converted = bnorm.torch.convert(model)
    assert converted is model and isinstance(model.bn, bnorm.torch.BatchNorm2d)
    model(tensor(4))


def test_what_is_pytorchs():
    model = bnorm.torch.convert(network(4))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(torch.randn(1, 6, 1, 1))
    compare(network(4, nn.ReLU()), torch.randn(0, 6, 5, 3), torch.randn(0, 6, 5, 3))
    assert bnorm.torch.batch_norm(torch.empty(2, 0, 3), torch.empty(0), torch.empty(0)).shape == (2, 0, 3)
    double = bnorm.torch.convert(network(4).double())
    assert double(tensor(4).double()).dtype == torch.float64
    meta = bnorm.torch.convert(network(4, nn.ReLU())).to("meta")
    assert meta(tensor(4).to("meta")).device.type == "meta"


def test_16_bit_parameters():
    """Of a model that is in bfloat16 as a whole."""
    model, x, dy = network(4, nn.ReLU()).bfloat16(), tensor(4, offset=2).bfloat16(), tensor(4).bfloat16()
    assert outcome(bnorm.torch.convert(copy.deepcopy(model)), x, dy)[2].dtype == torch.bfloat16
    compare(model, x, dy, bound=2e-2)


def test_checkpoint_and_autocast():
    from torch.utils.checkpoint import checkpoint
    model, x = bnorm.torch.convert(network(4, nn.ReLU(), momentum=0.0)), tensor(4).requires_grad_()
    checkpoint(model, x, use_reentrant=False).pow(2).sum().backward()
    kept, x.grad = x.grad, None
    model(x).pow(2).sum().backward()
    torch.testing.assert_close(x.grad, kept, rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(nn.Conv2d(6, 6, 1)(tensor(4)))
    assert y.dtype == torch.bfloat16 and y.isfinite().all()


def test_operators_read_no_further():
    x, weight = tensor(4), torch.rand(6)
    y, saved, mask = _ops._forward(x, x, weight, None, None, None, True, 0.1, False, 1e-5, *_ops.activation_of("relu"), True)
    def backward(dy=x, weight=weight, saved=saved, mask=mask):
        return _ops._backward(dy, x, weight, None, saved, mask, True, 1e-5, *_ops.activation_of("relu"), True, True, True)
    backward()
    for wrong in ({"dy": x[:2]}, {"weight": weight[:5]}, {"saved": saved[:2]}, {"saved": saved.double()}, {"mask": mask[:-1]}):
        with pytest.raises(RuntimeError, match="bnorm: "):
            backward(**wrong)
    with pytest.raises(RuntimeError, match="epsilon"):
        _ops._forward(x, None, weight, None, None, None, True, 0.1, False, -1.0, *_ops.IDENTITY, True)


# ---- Derivatives ----


def second_derivatives(model, x, dy):
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    inputs = [x, *model.parameters()]
    first = torch.autograd.grad(model(x), inputs, dy, create_graph=True)
    return torch.autograd.grad(sum(g.pow(2).sum() for g in first), inputs, allow_unused=True)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", [None, nn.ReLU(), nn.LeakyReLU(0.1), nn.Hardswish(), nn.SiLU()], ids=str)
def test_double_backward(activation, training):
    model, x, dy = network(4, activation).train(training), tensor(4, True), tensor(4)
    exact = second_derivatives(copy.deepcopy(model).double(), x.double(), dy.double())
    for value, right in zip(second_derivatives(bnorm.torch.convert(model), x, dy), exact):
        if right is not None and value is not None:
            torch.testing.assert_close(value.double(), right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ["identity", "relu", ("clamp", -0.5, 0.5), ("leaky_relu", 0.1), ("hard_sigmoid", 0.2, 0.5)])
def test_double_backward_through_a_mask(activation):
    def second(x, residual, dy, how):
        x, residual, dy = (t.clone().requires_grad_() for t in (x, residual, dy))
        y = how(x, residual)
        first = torch.autograd.grad(y, (x, residual), dy, create_graph=True)
        return torch.autograd.grad(first[0].pow(2).sum() + first[1].pow(2).sum(), (x, dy))

    def by_torch(x, residual):
        z = nn.functional.batch_norm(x, None, None, training=True) + residual
        return _ops._FUNCTIONS[how.number](z, how)

    how = _ops.activation_of(activation)
    tensors = tensor(4), tensor(4), tensor(4)
    ours = second(*tensors, lambda x, r: bnorm.torch.batch_norm(x, None, None, training=True, activation=activation, residual=r))
    for value, right in zip(ours, second(*(t.double() for t in tensors), by_torch)):
        torch.testing.assert_close(value.double(), right, rtol=1e-4, atol=1e-4)


def test_transforms():
    """Those of torch.func and forward-mode gradients are PyTorch's."""
    def loss(norm):
        return lambda x: norm(x, None, None, training=True).pow(3).sum()
    ours, stock, x = loss(bnorm.torch.batch_norm), loss(nn.functional.batch_norm), tensor(4)
    torch.testing.assert_close(torch.func.grad(ours)(x), torch.func.grad(stock)(x))
    torch.testing.assert_close(torch.func.jvp(ours, (x,), (x,)), torch.func.jvp(stock, (x,), (x,)))
    many = torch.stack([x, x + 1])
    torch.testing.assert_close(torch.func.vmap(ours)(many), torch.func.vmap(stock)(many))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x)
        assert torch.autograd.forward_ad.unpack_dual(ours(dual)).tangent is not None


# ---- The compiler ----


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_opcheck(training, residual):
    x, mean, var = tensor(4).requires_grad_(), torch.zeros(6), torch.ones(6)
    weight, bias = torch.rand(6, requires_grad=True), torch.rand(6, requires_grad=True)
    r = tensor(4).requires_grad_() if residual else None
    torch.library.opcheck(torch.ops.bnorm.batch_norm.default,
                          (x, r, weight, bias, mean, var, training, 0.1, False, 1e-5, *_ops.activation_of("relu")))


def compiled(model, backend):
    torch.compiler.reset()
    return torch.compile(model, backend=backend)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("converted, backend", [(False, "bnorm"), (True, "bnorm"), (True, "aot_eager"), (True, "inductor")])
def test_compiled(converted, backend, last):
    def change(model):
        return compiled(bnorm.torch.convert(model) if converted else model, backend)
    compare(nn.Sequential(Block(), Block()), tensor(4, last), tensor(4, last), 1e-4, change)


def test_what_the_backend_rewrites():
    graphs = []

    def backend(module, inputs):
        _compile.rewrite(module.graph)
        graphs.append([node.target for node in module.graph.nodes if node.op == "call_function"])
        return module

    compiled(Block(), backend)(tensor(4))
    ours = torch.ops.bnorm.batch_norm.default
    assert graphs[0].count(ours) == 4 and nn.functional.batch_norm not in graphs[0] and nn.functional.relu not in graphs[0]


def test_export():
    model, x = bnorm.torch.convert(network(4, nn.ReLU())).eval(), tensor(4)
    exported = torch.export.export(model, (x,))
    assert "bnorm.batch_norm" in exported.graph_module.code
    assert torch.equal(exported.module()(x), model(x))
    assert torch.equal(exported.run_decompositions().module()(x), model(x))


# ---- Every batch norm of a process ----


@pytest.fixture
def enabled():
    bnorm.torch.enable()
    bnorm.torch.enable()  # of which the second changes nothing
    yield
    bnorm.torch.disable()


def same(model):
    return model


@pytest.mark.parametrize("rank, last", [(2, False), (3, False), (4, False), (4, True), (5, False), (5, True)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"track_running_stats": False}, {"momentum": None}], ids=str)
def test_enabled(enabled, rank, last, training, options):
    compare(network(rank, **options).train(training), tensor(rank, last, offset=3), tensor(rank, last), change=same)


@pytest.mark.parametrize("x", [tensor(4)[:, :, 1:], tensor(4).transpose(2, 3), tensor(4)[:1].expand(4, -1, -1, -1),
                               tensor(4).double(), tensor(4)[:, :, :0]], ids=lambda x: str(x.stride()))
def test_enabled_falls_back(enabled, x):
    compare(network(4).to(x.dtype), x, torch.randn(x.shape).to(x.dtype), change=same)


@pytest.mark.parametrize("last", [False, True])
def test_enabled_is_exact_backward(enabled, last):
    """The low part of the mean goes along with it."""
    offset, dy = 1e5, tensor(4, last)
    x = tensor(4, last, offset=offset)
    compare(network(4, momentum=0.0), x, dy, bound=1e-5, change=same)


def test_enabled_second_derivatives(enabled):
    model, x, dy = network(4), tensor(4), tensor(4)
    exact = second_derivatives(copy.deepcopy(model).double(), x.double(), dy.double())
    for value, right in zip(second_derivatives(model, x, dy), exact):
        assert (value is None) == (right is None)
        if right is not None:
            torch.testing.assert_close(value.double(), right, rtol=1e-4, atol=1e-4)


def test_enabled_and_disabled():
    x = tensor(4, offset=1e6)
    exact = nn.functional.batch_norm(x.double(), None, None, training=True)
    def error():
        return (nn.functional.batch_norm(x, None, None, training=True) - exact).abs().max()
    before = error()
    bnorm.torch.enable()
    assert error() < 2e-6 < before
    bnorm.torch.disable()
    assert error() == before


# ---- Whole models ----


def test_example(capsys):
    """The one that the README shows."""
    runpy.run_path(str(pathlib.Path(__file__).parents[2] / "examples/pytorch.py"))
    assert "step 2 on " + bnorm.isa() in capsys.readouterr().out


def train(model, threads):
    torch.manual_seed(3)
    torch.set_num_threads(threads)
    optimizer = torch.optim.SGD(model.parameters(), 0.2)
    x, target = torch.randn(16, 3, 8, 8), torch.randint(0, 4, (16,))
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_learning():
    layers = [layer for i in range(3) for layer in (nn.Conv2d(3 if i == 0 else 16, 16, 3, padding=1, bias=False),
                                                    nn.BatchNorm2d(16), nn.ReLU())]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
    threads = torch.get_num_threads()
    stock = train(copy.deepcopy(model), threads)
    ours = train(bnorm.torch.convert(copy.deepcopy(model)), threads)
    assert stock[-1] < 0.7 * stock[0]
    torch.testing.assert_close(ours[:5], stock[:5], rtol=1e-4, atol=1e-5)
    assert ours[-1] == pytest.approx(stock[-1], rel=0.1)  # a rounding may turn a ReLU on, and the rest follows


def test_threads_change_no_bit():
    x, dy = torch.randn(8, 64, 28, 28), torch.randn(8, 64, 28, 28)
    threads, results = torch.get_num_threads(), []
    for count in (1, 2, 4):
        torch.set_num_threads(count)
        model = bnorm.torch.convert(nn.Sequential(nn.BatchNorm2d(64), nn.ReLU()))
        results.append(outcome(model, x, dy))
    torch.set_num_threads(threads)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            assert torch.equal(a, b)


def test_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bnorm.torch.convert(network(4, nn.ReLU()))(tensor(4))
