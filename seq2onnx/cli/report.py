"""seq2onnx report: all that there is to know of a model, on one HTML page."""

from __future__ import annotations

import datetime
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seq2onnx.cli.options import Quiet, read_data, say
from seq2onnx.errors import DataError, ShapeError, SpecError
from seq2onnx.files import atomic_file
from seq2onnx.sequences import is_finite

if TYPE_CHECKING:
    from seq2onnx.cli.comparison import Comparison
    from seq2onnx.data import SequenceDataset
    from seq2onnx.runtime import Predictor
    from seq2onnx.training import SequenceModule

SECONDS = 0.5
STEPS = 100
MOST_FOR_PARITY = 100


def report(
    model: Annotated[
        Path, typer.Argument(metavar="RUN or FILE", help="A folder that `seq2onnx train` wrote, or an ONNX file.")
    ],
    data: Annotated[
        Path | None, typer.Argument(metavar="DATA", help="Sequences and targets: what `data inspect` reads.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="RUN/report.html, or FILE with the suffix .html.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write all that there is to know of a model to one HTML page.

    Network, what the file promises, training, what it reaches on DATA, parity of torch and onnxruntime, and latency on
    this machine. The page needs no other file and no network. Of a RUN the file is RUN/model.onnx, or where there is
    none what `seq2onnx export` would write. Exit code 1 where numbers differ, as in `seq2onnx verify`.
    """
    is_run = model.is_dir()
    out = out or (model / "report.html" if is_run else model.with_suffix(".html"))
    if out.suffix not in (".html", ".htm"):
        raise SpecError(f"{out}: a report is written as .html, got {out.suffix!r}")
    with atomic_file(out) as beside, tempfile.TemporaryDirectory() as folder:
        module = None
        file = model
        if is_run:
            from seq2onnx.training import load_run

            module, file = load_run(model), model / "model.onnx"
            if not file.is_file():
                from seq2onnx import export

                file = Path(folder) / "model.onnx"
                export(module, file)
        content, ok = _page(model, file, module, data)
        beside.write_bytes(content)
    say(f"{out}: {len(content):,} bytes", quiet)
    if not ok:
        raise typer.Exit(1)


def _page(given: Path, file: Path, module: SequenceModule | None, data: Path | None) -> tuple[bytes, bool]:
    """The page, and whether its checks hold."""
    import seq2onnx
    from seq2onnx.cli import sections
    from seq2onnx.cli.measurements import in_words, measure_alone
    from seq2onnx.cli.page import key_figures, page
    from seq2onnx.network import Network
    from seq2onnx.runtime import load

    model = load(file)
    net = Network.from_dict(model.metadata["network"], str(file))
    found, results, some = None, [], None
    if data is not None:
        read = read_data(data)
        found = _compared(model, read, data)
        results = [sections.results(found, f"{data.name}: {_described(read)}.")]
        some = _for_parity(read)
    checked = seq2onnx.verify(file, module, some)
    has_torch = any(row.check.startswith("torch") for row in checked.rows)
    beside = "Random sequences" + (f", and {data.name}, its first {len(some)} sequences" if data and some else "")
    if data and not some:
        beside += f" alone: each of the first {MOST_FOR_PARITY} sequences of {data.name} has NaN or infinity in it"
    beside += "." if has_torch else ". torch is not installed here: the file is compared with itself alone."
    steps = max(STEPS, model.metadata["min_length"])
    times = measure_alone(model, steps, SECONDS)
    size = file.stat().st_size
    figures = [
        *_reached(found),
        ("parameters", f"{sections.parameters(net):,}"),
        ("bytes of the file", f"{size:,}"),
        (f"{times[0].of}, p50", in_words(times[0].p50)),
        ("parity", "holds" if checked.ok else "FAILED"),
    ]
    name = given.resolve().name
    where = name if file in (given, given / "model.onnx") else f"{name}, exported for this report"
    lead = f"{where}; {model.metadata['writer']}; report of {datetime.date.today().isoformat()}"
    content = page(
        net.name or name,
        lead,
        [
            key_figures(figures),
            *results,
            sections.network(net),
            sections.contract(model),
            *([sections.training(given)] if module is not None else []),
            sections.parity(checked, beside),
            sections.latency(times, steps, model.closed_loop),
        ],
    )
    return content, checked.ok


def _compared(model: Predictor, data: SequenceDataset, path: Path) -> Comparison | str:
    """The comparison; errors name the data file."""
    from seq2onnx.cli.comparison import compare

    try:
        return compare(model, data)
    except (DataError, ShapeError) as error:
        raise type(error)(f"{path}: {error}") from None


def _for_parity(data: SequenceDataset) -> SequenceDataset | None:
    """The first sequences, of which `verify` takes those that are finite; None: there are none."""
    some = data.subset(slice(0, MOST_FOR_PARITY))
    floats = [part.take(range(len(some))) for part in some.parts.values() if part.dtype.kind == "f"]
    finite = [all(map(is_finite, arrays)) for arrays in zip(*floats, strict=True)]
    return some if any(finite) or not floats else None


def _described(data: SequenceDataset) -> str:
    low, high = data.lengths.min(), data.lengths.max()
    steps = f"{low:,} steps" if low == high else f"{low:,} to {high:,} steps"
    return f"{len(data):,} sequences of {steps}"


def _reached(found: Comparison | str | None) -> list[tuple[str, str]]:
    """The figure that matters most."""
    from seq2onnx.cli.comparison import ClassComparison, NumberComparison
    from seq2onnx.cli.sections import number

    if isinstance(found, ClassComparison):
        return [("accuracy", f"{found.accuracy:.4f}")]
    if isinstance(found, NumberComparison) and len(figures := found.figures()) == 1:
        ((r2, rmse, _),) = figures
        return [("R²", number(r2, ".4f")), ("RMSE", number(rmse, ".4g"))]
    return []
