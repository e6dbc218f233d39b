# SPDX-License-Identifier: MIT
"""The command: its arguments, its table and its JSON."""

import argparse
import ctypes
import json
import pathlib
import platform
import statistics
from typing import Any, Dict, Iterator, List, Optional, Sequence

import torch

import bnorm

from ._steps import COMPILED, LAYOUTS, VARIANTS, Bench, Quartiles, Setting, profile
from .models import MODELS

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def arguments(given: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bnorm.bench", description=(
        "Times steps of known models with PyTorch's batch norm (stock), after bnorm.torch.convert() and under "
        "bnorm.torch.enable(), in turns from the same weights. Ratios are stock over variant: above 1 bnorm is faster."))
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; all by default")
    parser.add_argument("--mode", choices=("train", "infer", "both"), default="both")
    parser.add_argument("--layout", choices=("contiguous", "channels_last", "both"), default="both",
                        help="models of Conv1d are contiguous only")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="bf16: by torch.autocast")
    parser.add_argument("--compile", action="store_true", help="also stock compiled by inductor, and by backend='bnorm'")
    parser.add_argument("--profile", action="store_true", help="also the time in batch norm and what is fused with it")
    parser.add_argument("--keep-memory", action="store_true",
                        help="have glibc keep freed memory, as by default page faults are a part of each step")
    parser.add_argument("--batch", type=int, default=0, help="other than a model's usual one")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=10, help="after one that is not counted")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where rows go, too")
    options = parser.parse_args(given)
    unknown = [name for name in options.models if name not in MODELS]
    if unknown:
        parser.error(f"no model {unknown[0]}: there are {', '.join(MODELS)}")
    if min(options.rounds, options.threads) < 1 or options.batch < 0 or options.batch == 1:
        parser.error("at least one round and thread, and two examples in a batch")
    return options


def settings(options: argparse.Namespace) -> Iterator[Setting]:
    for model in options.models or MODELS:
        for layout in ("contiguous", "channels_last") if options.layout == "both" else (options.layout,):
            if layout == "contiguous" or len(MODELS[model].shape) in LAYOUTS:
                for mode in ("train", "infer") if options.mode == "both" else (options.mode,):
                    yield Setting(model, layout, options.dtype, mode)


# ---- The machine ----


def keep_memory(wanted: bool) -> str:
    """Has malloc keep what is freed, if wanted; returns what it does."""
    if not wanted:
        return "the C library's default"
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return "the C library's default (--keep-memory is not available here)"
    libc = ctypes.CDLL(None)
    kept = libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30) and libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    return "kept (--keep-memory)" if kept else "the C library's default (mallopt refused --keep-memory)"


def cpu() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


# ---- Rows ----


def measure(setting: Setting, options: argparse.Namespace) -> Dict[str, Any]:
    bench = Bench(setting, VARIANTS + (COMPILED if options.compile else ()), options.batch)
    times, losses = bench.run(options.rounds)
    ratios = {name: [stock / ms for stock, ms in zip(times["stock"], values)] for name, values in times.items()}
    row = {**setting._asdict(), "shape": bench.shape,
           "ms": {name: Quartiles.of(values)._asdict() for name, values in times.items()},
           "ratio": {name: Quartiles.of(values)._asdict() for name, values in ratios.items() if name != "stock"},
           "loss": losses}
    if options.profile:
        row["batch_norm_ms"] = {name: ms._asdict() for name, ms in profile(bench, options.rounds).items()}
    return row


def spread(quartiles: Dict[str, float], digits: int) -> str:
    first, median, third = (f"{quartiles[name]:.{digits}f}" for name in Quartiles._fields)
    return f"{median} ({first} to {third})"


def line(*cells: str) -> None:
    print("|", " | ".join(cells), "|", flush=True)


def print_titles(columns: Sequence[str]) -> None:
    line(*Setting._fields, *columns)
    print("|---" * len(Setting._fields) + "|---:" * len(columns) + "|")


def setting_of(row: Dict[str, Any]) -> List[str]:
    return [row[name] for name in Setting._fields]


def print_row(row: Dict[str, Any]) -> None:
    line(*setting_of(row), spread(row["ms"]["stock"], 1), *(spread(ratio, 2) for ratio in row["ratio"].values()),
         " ".join(f"{loss:.4f}" for loss in row["loss"].values()))


def print_means(rows: List[Dict[str, Any]]) -> None:
    for mode in dict.fromkeys(row["mode"] for row in rows):
        ratios = [row["ratio"] for row in rows if row["mode"] == mode]
        means = (statistics.geometric_mean(ratio[name]["median"] for ratio in ratios) for name in ratios[0])
        line("geometric mean", "", "", mode, "", *(f"{mean:.2f}" for mean in means), "")


def print_profile(rows: List[Dict[str, Any]]) -> None:
    print("\nMilliseconds a step in batch norm, forward and backward, with activations and additions of the model:\n")
    print_titles(("stock", "converted", "ratio"))
    for row in rows:
        stock, converted = row["batch_norm_ms"]["stock"], row["batch_norm_ms"]["converted"]
        line(*setting_of(row), spread(stock, 1), spread(converted, 1), f"{stock['median'] / converted['median']:.2f}")


def main(given: Optional[Sequence[str]] = None) -> None:
    options = arguments(given)
    memory = keep_memory(options.keep_memory)
    torch.set_num_threads(options.threads)
    head = {"cpu": cpu(), "threads": options.threads, "torch": torch.__version__, "bnorm": bnorm.__version__, "isa": bnorm.isa(),
            "freed memory": memory, "rounds": options.rounds}
    print(*(f"- {name}: {value}" for name, value in head.items()), sep="\n")
    print("\nMilliseconds of stock, and the ratio stock / variant: medians (quartiles). Losses are those of the last step.\n")
    print_titles(("stock, ms", *VARIANTS[1:], *(COMPILED if options.compile else ()), "losses"))
    rows: List[Dict[str, Any]] = []
    for setting in settings(options):
        rows.append(measure(setting, options))
        print_row(rows[-1])
        if options.json:
            options.json.write_text(json.dumps({"head": head, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    if rows:
        print_means(rows)
        if options.profile:
            print_profile(rows)


if __name__ == "__main__":
    main()
