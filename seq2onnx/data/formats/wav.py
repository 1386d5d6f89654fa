""".wav files: samples in ±1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seq2onnx.data.contents import Contents
from seq2onnx.data.formats.parsing import parsing
from seq2onnx.errors import DataError, require
from seq2onnx.files import check_regular_file
from seq2onnx.limits import check_unpacked
from seq2onnx.sequences import Array

KIND = "a .wav file"
SUBTYPES = {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
"""The allowed types of samples. Compressed ones need decoders, which are no code to run on files of strangers."""
MOST_CHANNELS = 1024
UNKNOWN_SIZE = 0x7FFF0000
"""Programs that write to a pipe give a size from here on, because they do not know it yet."""


def read(path: str | Path, *, channels: Sequence[str] | None = None, trusted: bool = False) -> Contents:
    """Read one file as one sequence [samples, channels]."""
    samples, rate = read_samples(path, trusted)
    return Contents([samples], channels=channels, ids=[Path(path).name], sample_rate=rate)


def read_samples(path: str | Path, trusted: bool = False) -> tuple[Array, float]:
    """Return the samples [samples, channels], float32, and how many there are in a second.

    Whole numbers become numbers in ±1: those of 16 bits are divided by 32,768.
    """
    require("soundfile", extra="audio")
    check_regular_file(path)
    with Path(path).open("rb") as stream:
        begin = stream.read(12)
        # The library would also open MP3, Ogg and others, whatever the name of the file.
        if begin[:4] not in (b"RIFF", b"RIFX", b"RF64") or begin[8:] != b"WAVE":
            raise DataError(f"{path}: is not {KIND}: expected RIFF … WAVE at its beginning, got {begin!r}")
        promised = int.from_bytes(begin[4:8], "big" if begin[:4] == b"RIFX" else "little") + 8
        if (size := Path(path).stat().st_size) < promised < UNKNOWN_SIZE:
            raise DataError(f"{path}: is incomplete: promises {promised:,} bytes and has {size:,}; copy it again")
        stream.seek(0)
        with parsing(path, KIND):
            import soundfile

            with soundfile.SoundFile(stream) as file:
                if file.subtype not in SUBTYPES:
                    raise DataError(
                        f"{path}: its samples are stored as {file.subtype_info}; expected PCM, floats, u-law or A-law. "
                        "Convert it, such as with: ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav"
                    )
                if file.samplerate < 1 or not 0 < file.channels <= MOST_CHANNELS:
                    raise DataError(f"{path}: has {file.channels} channels and {file.samplerate} samples a second")
                check_unpacked(path, 4 * file.frames * file.channels, size, trusted)
                expected = file.frames
                samples: Any = file.read(dtype="float32", always_2d=True)
                if len(samples) != expected:
                    raise DataError(f"{path}: is incomplete: promises {expected:,} samples and has {len(samples):,}")
                return np.ascontiguousarray(samples), float(file.samplerate)
