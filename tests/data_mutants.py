"""Mutants of data files, networks, run folders and checkpoints, each opened and read to its end."""

from __future__ import annotations

import io
import random
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import seq2onnx as s2o
from tests.conftest import CLASSES, random_data, small_network

MOST_CHARACTERS = 2000
NASTY = [
    *re.findall(
        r"\S+", "0 -1 1e400 nan NaN inf 9223372036854775807 18446744073709551615 1e-400 0x1p9999 1000000000000"
    ),
    *re.findall(r"\S+", "\" ' , ; : \\ [ ] { } [[[[[[[[ &a *a !!int !!python/object:os.system null true ? @data 1_0"),
    *("...", "---", "<<:", "9" * 20, "1" * 12, "\0", "\x1b[31m", "\ud800", "é", "\u202e", "\u2028", "sequence_length"),
]
WORDS = re.compile(rb"[\w.+-]+|[^\w\s]")


def npz(path: Path) -> None:
    random_data(4).save(path)


def vlen(path: Path) -> None:
    """As version 0.1 wrote it."""
    import h5py

    data = random_data(4)
    with h5py.File(path, "w") as file:
        file["values"], file["lengths"] = np.concatenate(data.sequences), data.lengths
        for name, values in (("targets", data.labels), ("classes", np.array(CLASSES))):
            file.create_dataset(name, data=values.astype(object), dtype=h5py.string_dtype())


def chunked(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        values = np.random.default_rng(0).normal(size=(60, 3)).astype("f4")
        file.create_dataset("values", data=values, chunks=(8, 2), compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("lengths", data=np.full(6, 10), chunks=(2,))
        file["targets"] = np.arange(60) % 3


def mat(path: Path) -> None:
    from tests.mat_writer import cells, write_v5

    write_v5(path, {"X": cells([np.ones((3, 2)), np.zeros((2, 2))]), "T": cells(["a", "b"])})


def mat73(path: Path) -> None:
    from tests.mat_writer import cells, write_v73

    write_v73(path, {"X": cells([np.ones((3, 2)), np.zeros((2, 2))]), "T": cells(["a", "b"])})


def ts(path: Path) -> None:
    path.write_text("@problemName toy\n@timeStamps false\n@classLabel true a b\n@data\n1,2,3:4,5,6:a\n7,8:9,?:b\n")


def wav(path: Path) -> None:
    import soundfile

    samples = np.random.default_rng(0).normal(size=(60, 2)).clip(-1, 1)
    soundfile.write(path, samples, 8000, "PCM_16")


def wav_float(path: Path) -> None:
    import soundfile

    soundfile.write(path, np.random.default_rng(0).normal(size=300), 16000, "FLOAT")


def csv(path: Path) -> None:
    path.write_text("id,time,a,b,label\np,1,0.5,1,x\np,2,0.25,2,x\nq,7,3,4,y\n")


def csv_plain(path: Path) -> None:
    path.write_text('"a";"b"\n0,5;1\n0,25;2\n')


def parquet(path: Path) -> None:
    random_data(6).save(path)


def parquet_foreign(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = {"x": [[1.0, 2.0], [3.0]], "y": [[0.5, 1.5], [2.5]], "label": ["a", "b"]}
    pq.write_table(pa.table(table), path, compression="zstd")


def parquet_words(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["good film", "bad"], "label": [1, 0]}), path)


def network(path: Path) -> None:
    small_network().save(path)


def run_folder(path: Path) -> None:
    import torch

    torch.manual_seed(0)
    options = s2o.TrainingOptions(epochs=1, progress=False, device="cpu", threads=1)
    s2o.train(small_network(), random_data(), options=options, run_dir=path, logger=False)


def read_data(path: Path, **how) -> None:
    """Read everything that a data file has."""
    data = s2o.data.read(path, **how)
    for part in data.parts.values():
        list(part)
        part.checksum()
    if data.targets is not None:
        _ = data.labels if data.classes is not None else list(data.targets)
    if list(data.parts) == [""]:
        data.save(path.with_name("again.npz"))


def read_table(path: Path) -> None:
    read_data(path, id="id", time="time", targets="label")


def load_network(path: Path) -> None:
    s2o.Network.load(path).summary()


def load_run(path: Path) -> None:
    s2o.training.load_run(path)


def resume(path: Path) -> None:
    options = s2o.TrainingOptions(epochs=2, progress=False, device="cpu", threads=1)
    s2o.train(small_network(), random_data(), options=options, run_dir=path, resume=True, logger=False)


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Change a few bytes or words; of an archive mostly those of a member."""
    if content[:2] == b"PK" and rng.random() < 0.7:
        return mutate_member(content, rng)
    if b"\0" not in content[:200] or rng.random() < 0.2:
        return mutate_words(content, rng)
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        # Headers are at the beginning or at the end.
        at = rng.choice([rng.randrange(len(changed)), rng.randrange(min(len(changed), 1000))])
        at = len(changed) - 1 - at if rng.random() < 0.3 else at
        kind = rng.randrange(6)
        if kind < 2:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            changed[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif kind == 3:
            changed[at : at + 8] = rng.choice([0, 2**31, 2**40, 2**63 - 1, 2**64 - 1]).to_bytes(8, "little")
        elif kind == 4:
            del changed[at : at + rng.randint(1, 9)]
        else:
            changed[at:at] = changed[at : at + rng.randint(1, 40)]
        if not changed:
            break
    if rng.random() < 0.05:
        del changed[rng.randrange(len(changed) + 1) :]
    return bytes(changed)


def mutate_words(content: bytes, rng: random.Random) -> bytes:
    """Replace, repeat, or delete a word of a text."""
    words = list(WORDS.finditer(content))
    for _ in range(rng.randint(1, 2)):
        word = rng.choice(words)
        kind = rng.randrange(4)
        new = (
            rng.choice(NASTY).encode(errors="surrogatepass") if kind < 2 else b"" if kind == 2 else rng.choice(words)[0]
        )
        content = content[: word.start()] + new * rng.choice([1, 1, 1, 3, 3000]) + content[word.end() :]
    return content


def mutate_member(content: bytes, rng: random.Random) -> bytes:
    """Change an array of an .npz, or its name."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as changed:
        chosen = rng.choice(archive.namelist())
        for name in archive.namelist():
            member = archive.read(name)
            if name == chosen:
                if rng.random() < 0.3:
                    values = np.load(io.BytesIO(member), allow_pickle=False)
                    new = [values.astype(object), values.astype("U"), values[None], values[:0], np.array(7)]
                    new += [-values[:1], values + 0j] if values.dtype.kind in "fi" else []
                    new += [values.astype("u8") * 2**63] if values.dtype.kind == "i" else []
                    buffer = io.BytesIO()
                    np.save(buffer, rng.choice(new), allow_pickle=True)
                    member = buffer.getvalue()
                else:
                    member = mutate(member, rng)
            changed.writestr(name, member)
    return out.getvalue()


def check_message(error: Exception) -> None:
    text = str(error)
    assert len(text) <= MOST_CHARACTERS, "the message is too long"
    assert text.replace("\n", "").isprintable(), f"control characters in {text!r:.200}"


class Kind(NamedTuple):
    """A kind of files.

    Attributes:
        name: of the file, or folder; "": `write` fills a folder with several, of which each mutant is one.
        write: writes it.
        open: opens a mutant, and returns the outcome; None is "opened".
        part: of a folder, the file that is changed.
        mutate: changes the content of the file.
    """

    name: str
    write: Callable[[Path], None]
    open: Callable[[Path], str | None]
    part: str = ""
    mutate: Callable[[bytes, random.Random], bytes] = mutate


KINDS = {
    "npz": Kind("data.npz", npz, read_data),
    "h5": Kind("data.h5", npz, read_data),
    "h5 of 0.1": Kind("data.h5", vlen, read_data),
    "h5, chunks": Kind("data.h5", chunked, read_data),
    "mat 5": Kind("data.mat", mat, read_data),
    "mat 7.3": Kind("data.mat", mat73, read_data),
    "ts": Kind("data.ts", ts, read_data),
    "wav": Kind("data.wav", wav, read_data),
    "wav, floats": Kind("data.wav", wav_float, read_data),
    "csv": Kind("data.csv", csv, read_table),
    "csv, plain": Kind("data.csv", csv_plain, read_data),
    "parquet": Kind("data.parquet", parquet, read_data),
    "parquet, foreign": Kind("data.parquet", parquet_foreign, read_data),
    "parquet, words": Kind("data.parquet", parquet_words, read_data),
    "yaml": Kind("network.yaml", network, load_network),
    "json": Kind("network.json", network, load_network),
    "weights": Kind("run", run_folder, load_run, "weights.safetensors"),
    "run network": Kind("run", run_folder, load_run, "network.yaml"),
    "run options": Kind("run", run_folder, load_run, "options.yaml"),
    "checkpoint": Kind("run", run_folder, resume, "checkpoint.safetensors"),
}
