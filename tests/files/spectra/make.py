"""Make reference.npz: a synthesized voice, and its features by three libraries. README.md has the commands."""

from pathlib import Path

import kaldi_native_fbank
import librosa
import numpy as np
import scipy.signal
import torch
import torchaudio

RATE, SAMPLES = 16000, 8000
VOWELS = ((730, 1090, 2440, 3500), (270, 2290, 3010, 3700), (300, 870, 2240, 3300))  # formants of a, i, u in hertz
BANDWIDTHS = (80, 90, 120, 200)


def voice() -> np.ndarray:
    """Return half a second like speech: pulses of a falling pitch through formants, hisses, a noise floor."""
    rng = np.random.default_rng(0)
    time = np.arange(SAMPLES) / RATE
    phase = np.cumsum(140 - 40 * time + 4 * np.sin(2 * np.pi * 5 * time)) / RATE
    pulses = np.diff(np.floor(phase), prepend=0) + 0.05 * rng.normal(size=SAMPLES)
    sound = np.zeros(SAMPLES)
    for number, formants in enumerate(VOWELS):
        begin = number * SAMPLES // 3
        part = pulses[begin : begin + SAMPLES // 3 - 600]
        for formant, bandwidth in zip(formants, BANDWIDTHS, strict=True):
            radius = np.exp(-np.pi * bandwidth / RATE)
            poles = [1, -2 * radius * np.cos(2 * np.pi * formant / RATE), radius**2]
            part = scipy.signal.lfilter([sum(poles)], poles, part)
        sound[begin : begin + len(part)] = part * np.hanning(len(part)) ** 0.3
    for begin in (SAMPLES // 3 - 700, 2 * SAMPLES // 3 - 700):
        hiss = np.diff(rng.normal(size=801)) * np.hanning(800)
        sound[begin : begin + 800] += 0.15 * np.abs(sound).max() * hiss
    sound = 0.5 * sound / np.abs(sound).max() + 0.002 * rng.normal(size=SAMPLES)
    return np.round(sound * 32768).clip(-32768, 32767).astype(np.int16)


speech = voice()
x = speech.astype(np.float32) / 32768

options = kaldi_native_fbank.FbankOptions()
options.frame_opts.dither = 0
options.mel_opts.num_bins = 80
fbank = kaldi_native_fbank.OnlineFbank(options)
fbank.accept_waveform(RATE, speech.astype(float).tolist())
fbank.input_finished()
kaldi = np.array([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])

arguments = {"y": x, "sr": RATE, "n_fft": 512, "hop_length": 160, "n_mels": 64}
by_librosa = librosa.feature.melspectrogram(**arguments, center=False).T
by_torchaudio = torchaudio.transforms.MelSpectrogram(RATE, 400, hop_length=160, n_mels=40, center=False)
np.savez_compressed(
    Path(__file__).parent / "reference.npz",
    speech=speech,
    kaldi=kaldi.astype(np.float32),
    librosa=by_librosa.astype(np.float32),
    librosa_centered=librosa.feature.melspectrogram(**arguments, pad_mode="constant").T.astype(np.float32),
    torchaudio=by_torchaudio(torch.from_numpy(x)).numpy().T,
)
