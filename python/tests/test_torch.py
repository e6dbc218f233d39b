# SPDX-License-Identifier: MIT
"""bnorm.torch against PyTorch in float64."""

import copy
import warnings

import pytest

torch = pytest.importorskip("torch")

import bnorm.torch  # noqa: E402
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


def compare(model, x, dy, bound=1e-5):
    """What the converted model does beside what the model does in float64."""
    exact = outcome(copy.deepcopy(model).double(), x.double(), dy.double())
    ours = outcome(bnorm.torch.convert(copy.deepcopy(model)), x, dy)
    assert len(ours) == len(exact)
    for value, right in zip(ours, exact):
        if value is not None:
            torch.testing.assert_close(value.double(), right.double(), rtol=bound, atol=bound)


@pytest.mark.parametrize("rank, last", [(2, False), (3, False), (4, False), (4, True), (5, False), (5, True)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", [None, nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.LeakyReLU(0.1), nn.Hardswish()])
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


def test_offset():
    """Where PyTorch loses its digits."""
    x = tensor(4, True, offset=1e6)
    exact = nn.functional.batch_norm(x.double(), None, None, training=True)
    ours = bnorm.torch.batch_norm(x, None, None, training=True)
    theirs = nn.functional.batch_norm(x, None, None, training=True)
    assert (ours - exact).abs().max() < 2e-6 < (theirs - exact).abs().max()


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
    assert model(torch.randn(0, 6, 5, 3)).shape == (0, 6, 5, 3)
    double = bnorm.torch.convert(network(4).double())
    assert double(tensor(4).double()).dtype == torch.float64
    stock = network(4)
    exported = torch.export.export(bnorm.torch.convert(copy.deepcopy(stock)).eval(), (tensor(4),)).module()
    torch.testing.assert_close(exported(tensor(4) * 0 + 1), stock.eval()(tensor(4) * 0 + 1))
    grads = torch.func.grad(lambda x: bnorm.torch.batch_norm(x, None, None, training=True).pow(3).sum())(tensor(4))
    assert grads.isfinite().all()


def test_checkpoint_and_autocast():
    from torch.utils.checkpoint import checkpoint
    model, x = bnorm.torch.convert(network(4, nn.ReLU(), momentum=0.0)), tensor(4).requires_grad_()
    checkpoint(model, x, use_reentrant=False).pow(2).sum().backward()
    kept, x.grad = x.grad, None
    model(x).pow(2).sum().backward()
    torch.testing.assert_close(x.grad, kept, rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(nn.Conv2d(6, 6, 1)(tensor(4))).isfinite().all()


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
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(stock), rtol=1e-2, atol=1e-3)


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
