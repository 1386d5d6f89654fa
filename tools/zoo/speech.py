"""Streams of speech with a key word: of synthesizers, and of recordings; with noise, and by telephone."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import io
import re
import shutil
import subprocess
import wave
from typing import Any

import numpy as np
from numpy.typing import NDArray
from real_data import prompts, snippets
from scipy.signal import resample_poly

import seq2onnx as s2o
from seq2onnx.data import event_targets

WORD, NONE, SOMEWHERE = "conference", "none", "somewhere"
SYNTHESIZED, RECORDED = "synthesized", "recorded"  # how the names of the streams begin
RATE, HOP = 8000, 160  # samples a second, and samples for each label
LONGEST_PROMPT = 8  # seconds of a recording with the key word
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-029", "en-us-nyc")
SIMILAR = (
    "confidence conferring reference preference inference circumference difference confess confirm convergence "
    "coherence conversion occurrence consequence continents comforts confluence deference concurrence fence con"
)
SYLLABLES = "[[k'A:nf3r@ns]]"  # the key word in three syllables, which espeak-ng says in two: its phonemes
Samples = NDArray[np.float32]
Span = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Voice:
    """A voice of espeak-ng, an accent and a variant, or one of flite, which has no accent."""

    accent: str
    variant: str

    def say(self, text: str, speed: float, pitch: float) -> Samples:
        """Return the samples without the silence at both ends; speed 1 is usual, pitch is from 0 to 1."""
        if self.accent:
            options = ["-v", f"{self.accent}+{self.variant}", "-s", f"{170 * speed:.0f}", "-p", f"{99 * pitch:.0f}"]
            command = ["espeak-ng", "--stdout", *options, "--", text]
        else:
            options = ["-voice", self.variant, "--setf", f"duration_stretch={1 / speed:.3f}"]
            options += ["--setf", f"int_f0_target_mean={90 + 110 * pitch:.0f}"]
            command = ["flite", *options, "-t", text, "-o", "/dev/stdout"]
        content = subprocess.run(command, check=True, capture_output=True).stdout
        with wave.open(io.BytesIO(content)) as file:
            rate, read = file.getframerate(), np.frombuffer(file.readframes(10**9), "<i2") / 32768
        x: Samples = np.asarray(resample_poly(read, RATE, rate), np.float32)
        loud = np.flatnonzero(np.abs(x) > 0.01 * np.abs(x).max(initial=1e-9))
        return x[loud[0] : loud[-1] + 1] if len(loud) else x[:0]


@dataclasses.dataclass(frozen=True)
class Cast:
    """Who speaks in streams, and what; `training`: also words like the key word, and longer and shorter throats."""

    voices: list[Voice]
    texts: list[list[str]]
    training: bool = False

    def utterance(self, rng: np.random.Generator) -> tuple[Samples, Span | None]:
        """Return a part of a sentence, in two of five cases with the key word in it, and where that is, in seconds."""
        voice = self.voices[rng.integers(len(self.voices))]
        speed, pitch = rng.uniform(0.75, 1.3), rng.uniform(0.1, 0.9)
        words = self.texts[rng.integers(len(self.texts))][: rng.integers(1, 13)]
        rate = np.exp(rng.uniform(-0.22, 0.22)) if self.training else 1.0
        if rng.random() < 0.4:
            cut = int(rng.integers(0, min(len(words), 5) + 1))
            spelled = SYLLABLES if voice.accent and rng.random() < 0.5 else WORD
            before = voice.say(" ".join([*words[:cut], spelled]), speed, pitch)
            word = voice.say(spelled, speed, pitch)
            after = voice.say(" ".join(words[cut:]), speed, pitch) if cut < len(words) else before[:0]
            x, span = np.concatenate([before, after]), (max(0, len(before) - len(word)), len(before))
            return _faster(x, rate), (span[0] / rate / RATE, span[1] / rate / RATE)
        if self.training and rng.random() < 0.5:
            similar = SIMILAR.split()
            words = [*words[:4], similar[rng.integers(len(similar))], *words[4:8]]
        return _faster(voice.say(" ".join(words), speed, pitch), rate), None

    def stream(self, seconds: float, rng: np.random.Generator) -> tuple[Samples, list[tuple[float, float, str]]]:
        """Return utterances with pauses and noise, and the times of the key words."""
        parts: list[Samples] = []
        events, at = [], 0
        while True:
            pause = int(rng.uniform(0.1, 0.8) * RATE)
            x, span = self.utterance(rng)
            if at + pause + len(x) > (seconds - 0.5) * RATE:
                break
            parts += [np.zeros(pause, np.float32), _leveled(x, rng)]
            at += pause
            if span:
                events.append((at / RATE + span[0], at / RATE + span[1], WORD))
            at += len(x)
        parts.append(np.zeros(int(seconds * RATE) - at, np.float32))
        return _heard(np.concatenate(parts), rng), events


def streams(part: str, count: int, seconds: float, seed: int) -> s2o.SequenceDataset:
    """Make streams of the voices of a part; a label is for the second half of a key word and 0.1 s more.

    Raises:
        SystemExit: espeak-ng or flite is not installed.
    """
    cast = _casts()[part]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # each of them waits for the synthesizers
        made = list(pool.map(lambda rng: cast.stream(seconds, rng), np.random.default_rng(seed).spawn(count)))
    halves = [[((start + end) / 2, end + 0.1, name) for start, end, name in events] for _, events in made]
    targets = event_targets(halves, [len(x) // HOP for x, _ in made], rate=RATE / HOP, background=NONE)
    ids = [f"{SYNTHESIZED} {index}" for index in range(count)]
    return s2o.SequenceDataset([x for x, _ in made], targets, classes=[NONE, WORD], per_step=True, ids=ids)


def prompt_streams() -> s2o.SequenceDataset:
    """Join the recordings to streams of about a minute, with noise.

    Where a recording has the key word is not known, so all of it has a label that training and metrics leave out.
    Longer recordings with the key word, and recordings of silence, are not used.
    """
    rng, found = np.random.default_rng(0), prompts()
    has_word = {name: WORD in text.lower() for name, (_, text) in found.items()}
    limits = {name: LONGEST_PROMPT * RATE if has_word[name] else np.inf for name in found}
    names = [name for name in found if len(found[name][0]) <= limits[name] and not name.startswith("silence/")]
    streams: list[tuple[list[Samples], list[NDArray[np.str_]]]] = []
    for name in rng.permutation(names):
        if not streams or sum(map(len, streams[-1][0])) > 60 * RATE:
            streams.append(([], []))
        pause, x = int(rng.integers(15, 40)), _leveled((found[name][0] / 32768).astype(np.float32), rng)
        steps = -(-len(x) // HOP)
        streams[-1][0].append(np.pad(x, (pause * HOP, steps * HOP - len(x))))
        streams[-1][1].append(np.repeat([NONE, SOMEWHERE if has_word[name] else NONE], [pause, steps]))
    return s2o.SequenceDataset(
        [_heard(np.concatenate(parts), rng) for parts, _ in streams],
        [np.concatenate(labels) for _, labels in streams],
        classes=[NONE, WORD],
        ignore=SOMEWHERE,
        ids=[f"{RECORDED} {index}" for index in range(len(streams))],
    )


@functools.cache
def _casts() -> dict[str, Cast]:
    """The voices and sentences of each part. No variant and no sentence is in two of them."""
    if not all(map(shutil.which, ("espeak-ng", "flite"))):
        raise SystemExit("espeak-ng and flite synthesize the speech. Run: apt-get install espeak-ng flite")
    listed = subprocess.run(["espeak-ng", "--voices=variant"], check=True, capture_output=True, text=True).stdout
    families: dict[str, list[str]] = {}  # variants whose names differ only in a number stay together
    for name in sorted(re.findall(r"!v/(\w+)  ", listed)):
        families.setdefault(name.rstrip("0123456789").lower(), []).append(name)
    rng = np.random.default_rng(0)
    order = [families[name] for name in rng.permutation(list(families))]
    sentences = [re.findall("[a-z']+", text.lower()) for text in snippets()[0]]
    sentences = [words for words in sentences if words and not any("conferenc" in word for word in words)]
    rng.shuffle(sentences)

    def voices(families: list[list[str]]) -> list[Voice]:
        return [Voice(accent, name) for family in families for name in family for accent in ACCENTS]

    flite = [Voice("", name) for name in ("awb", "kal16", "slt")]
    return {
        "training": Cast(voices(order[:45]) + 130 * flite, sentences[:6000], training=True),  # of flite: two in five
        "tuning": Cast(voices(order[45:55]) + 60 * [Voice("", "rms")], sentences[6000:8000]),  # of flite: one in three
        "test": Cast(voices(order[55:]), sentences[8000:]),
    }


def _faster(x: Samples, rate: float) -> Samples:
    """Higher and shorter by a factor, as from a shorter throat."""
    places = np.arange(0, len(x) - 1, rate)
    return np.asarray(np.interp(places, np.arange(len(x)), x), np.float32)


def _leveled(x: Samples, rng: np.random.Generator) -> Samples:
    """By another microphone, with a peak of 0.05 to 0.7; each octave is up to 9 dB louder or quieter."""
    if not len(x):
        return x
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(x), 1 / RATE), 62.5) / 62.5)
    gains = 10 ** (np.interp(octaves, np.arange(7), rng.uniform(-9, 9, 7)) / 20)
    changed = np.fft.irfft(np.fft.rfft(x) * gains, len(x))
    peak = np.exp(rng.uniform(np.log(0.05), np.log(0.7)))
    return np.asarray(changed * peak / np.abs(changed).max(), np.float32)


def _heard(x: Samples, rng: np.random.Generator) -> Samples:
    """With noise, 5 to 40 dB below the speech and falling by 0 to 6 dB an octave, by telephone: [samples, 1]."""
    spectrum = np.fft.rfft(rng.normal(size=len(x)))
    spectrum *= np.maximum(np.arange(len(spectrum)) * RATE / len(x), 50.0) ** -rng.uniform(0, 1)
    noise = np.fft.irfft(spectrum, len(x))
    level = np.sqrt(np.mean(x**2) / np.mean(noise**2)) * 10 ** (-rng.uniform(5, 40) / 20)
    return _coded(x + level * noise)[:, None]


def _coded(x: Any) -> Samples:
    """The values that the 8-bit codec of a telephone leaves of samples in ±1: mu-law, with mu = 255."""
    level = np.round(127 * np.log1p(255 * np.minimum(np.abs(x), 1)) / np.log(256)) / 127
    return np.asarray(np.sign(x) * np.expm1(level * np.log(256)) / 255, np.float32)
