# SPDX-License-Identifier: MIT
"""bnorm.torch.SyncBatchNorm over gloo: several processes, each with a part of a batch."""

import functools

import pytest

torch = pytest.importorskip("torch")

import bnorm.torch  # noqa: E402
from torch import nn  # noqa: E402

SHARES = {2: [3, 5], 3: [4, 0, 1], 4: [1, 1, 1, 1]}


def batch(count, offset, dtype=torch.float32, last=False):
    torch.manual_seed(4)
    x, dy = torch.randn(count, 6, 5, 3) + offset, torch.randn(count, 6, 5, 3)
    layout = torch.channels_last if last else torch.contiguous_format
    return x.to(dtype).contiguous(memory_format=layout), dy.to(dtype).contiguous(memory_format=layout)


def network():
    torch.manual_seed(5)
    norm = nn.BatchNorm2d(6)
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return norm


def step(norm, x, dy):
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = norm(x)
    y.backward(dy)
    return y.detach(), x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var


CASES = {"plain": {"offset": 3.0}, "far": {"offset": 1e4, "last": True}, "low": {"offset": 0.0, "dtype": torch.bfloat16}}


def process(rank, shares, name, results):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{name}", rank=rank, world_size=len(shares))
    first = sum(shares[:rank])
    part = slice(first, first + shares[rank])
    for case, options in CASES.items():
        x, dy = batch(sum(shares), **options)
        norm = bnorm.torch.convert(nn.SyncBatchNorm.convert_sync_batchnorm(network()), fuse=False)
        results[case, rank] = step(norm, x[part], dy[part])
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module", params=SHARES)
def shared(request, tmp_path_factory):
    """Shares, and what each process had in each case."""
    shares = SHARES[request.param]
    with torch.multiprocessing.Manager() as manager:
        results = manager.dict()
        name = str(tmp_path_factory.mktemp("sync") / "group")
        torch.multiprocessing.spawn(process, (shares, name, results), nprocs=len(shares))
        return shares, {case: [results[case, rank] for rank in range(len(shares))] for case in CASES}


@pytest.mark.parametrize("case, bound", [("plain", 2e-5), ("far", 2e-5), ("low", 2e-2)])
def test_as_one_batch(shared, case, bound):
    shares, parts = shared[0], shared[1][case]
    x, dy = batch(sum(shares), **CASES[case])
    y, dx, dweight, dbias, mean, var = step(network().double(), x.double(), dy.double())
    close = functools.partial(torch.testing.assert_close, rtol=bound, atol=bound)
    close(torch.cat([part[0] for part in parts]).double(), y)
    close(torch.cat([part[1] for part in parts]).double(), dx)
    close(sum(part[2] for part in parts).double(), dweight)
    close(sum(part[3] for part in parts).double(), dbias)
    for part in parts:
        close(part[4].double(), mean)
        close(part[5].double(), var)
        assert torch.equal(part[4], parts[0][4]) and torch.equal(part[5], parts[0][5])


def test_the_bits_of_one_process(shared):
    """Which takes the same parts one after the other."""
    shares, parts = shared[0], shared[1]["plain"]
    norm, ops = network(), torch.ops.bnorm
    weight, bias = norm.weight.detach(), norm.bias.detach()
    xs, dys = (tensor.split(shares) for tensor in batch(sum(shares), 3.0))
    moments = torch.stack([ops.train_collect(part) for part in xs])
    counts = torch.tensor([part.numel() // 6 for part in xs])
    saved = ops.train_finish(moments, counts, None, None, 0.1, 1e-5)
    sums = sum(ops.backward_reduce(dy, x, saved) for dy, x in zip(dys, xs))
    for part, x, dy in zip(parts, xs, dys):
        assert torch.equal(part[0], ops.train_apply(x, weight, bias, saved, 1e-5))
        assert torch.equal(part[1], ops.backward_apply(dy, x, weight, saved, sums, int(counts.sum())))


def test_alone():
    """Without other processes it is a batch norm."""
    x, dy = batch(4, 3.0)
    norm = nn.SyncBatchNorm.convert_sync_batchnorm(network())
    for ours, right in zip(step(bnorm.torch.convert(norm, fuse=False), x, dy), step(network().double(), x.double(), dy.double())):
        torch.testing.assert_close(ours.double(), right, rtol=1e-5, atol=1e-5)
