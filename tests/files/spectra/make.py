"""Make reference.npz: real speech, and its features by three libraries. Run by hand; README.md has the commands."""

import sys
from pathlib import Path

import kaldi_native_fbank
import librosa
import numpy as np
import scipy.signal
import soundfile
import torch
import torchaudio

RATE, FROM, TO = 16000, 6400, 14400

samples, rate = soundfile.read(sys.argv[1], dtype="float64")
assert rate == 3 * RATE
speech = np.round(scipy.signal.resample_poly(samples, 1, 3)[FROM:TO] * 32768).clip(-32768, 32767).astype(np.int16)
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
