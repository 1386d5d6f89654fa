"""Make standards.npz: the voice of reference.npz in features of more libraries. README.md has the commands."""

import ctypes
import importlib.util
import logging
import os
import sys
import types
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import kaldi_native_fbank
import keras
import librosa
import numpy as np
import scipy.io.wavfile
import torch
import torchaudio.compliance.kaldi as torchaudio_kaldi
import whisper.audio
from transformers import ASTFeatureExtractor, SeamlessM4TFeatureExtractor

RATE = 16000
FOLDER = Path(__file__).parent
OPENSMILE = """
[componentInstances:cComponentManager]
instance[dataMemory].type=cDataMemory
instance[wave].type=cWaveSource
instance[frames].type=cFramer
instance[emphasis].type=cVectorPreemphasis
instance[window].type=cWindower
instance[fft].type=cTransformFFT
instance[magnitude].type=cFFTmagphase
instance[mel].type=cMelspec
instance[mfcc].type=cMfcc
instance[csv].type=cCsvSink
[wave:cWaveSource]
writer.dmLevel=wave
filename=speech.wav
[frames:cFramer]
reader.dmLevel=wave
writer.dmLevel=frames
frameSize=0.025
frameStep=0.01
frameCenterSpecial=left
[emphasis:cVectorPreemphasis]
reader.dmLevel=frames
writer.dmLevel=emphasis
k=0.97
[window:cWindower]
reader.dmLevel=emphasis
writer.dmLevel=window
winFunc=ham
[fft:cTransformFFT]
reader.dmLevel=window
writer.dmLevel=fft
[magnitude:cFFTmagphase]
reader.dmLevel=fft
writer.dmLevel=magnitude
[mel:cMelspec]
reader.dmLevel=magnitude
writer.dmLevel=mel
nBands=26
usePower=0
lofreq=0
hifreq=8000
htkcompatible=1
[mfcc:cMfcc]
reader.dmLevel=mel
writer.dmLevel=mfcc
firstMfcc=0
lastMfcc=12
cepLifter=22
htkcompatible=1
[csv:cCsvSink]
reader.dmLevel=mfcc
filename=mfcc.csv
number=0
timestamp=0
"""


def alone(package, *path):
    """Load one file of a package, without the many packages that the others import."""
    folder = importlib.util.find_spec(package).submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location(path[-1], Path(folder, *path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kaldi_mfcc(speech):
    options = kaldi_native_fbank.MfccOptions()
    options.frame_opts.dither, options.use_energy = 0, False
    mfcc = kaldi_native_fbank.OnlineMfcc(options)
    mfcc.accept_waveform(RATE, speech.astype(float).tolist())
    mfcc.input_finished()
    return np.array([mfcc.get_frame(i) for i in range(mfcc.num_frames_ready)])


def nemo(x, guard):
    name = "nemo.collections.asr.parts.preprocessing"
    for module, attribute in (
        (f"{name}.perturb", "AudioAugmentor"),
        (f"{name}.segment", "AudioSegment"),
        ("nemo.utils", "logging"),
    ):
        sys.modules[module] = types.ModuleType(module)
        setattr(sys.modules[module], attribute, logging if attribute == "logging" else object)
    features = alone("nemo", "collections", "asr", "parts", "preprocessing", "features.py")
    bank = features.FilterbankFeatures(
        n_window_size=400, nfilt=80, normalize=None, pad_to=0, log_zero_guard_type=guard
    ).eval()
    y, lengths = bank(torch.from_numpy(x)[None], torch.tensor([len(x)]))
    return y[0, :, : int(lengths)].numpy().T


def htk(speech):
    """HTK's MFCC_0 by openSMILE: c1 … c12, c0."""
    scipy.io.wavfile.write("speech.wav", RATE, speech)
    Path("htk.conf").write_text(OPENSMILE)
    smile = alone("opensmile", "core", "lib.py").OpenSMILE()
    smile.initialize("htk.conf", {})
    smile.run()
    smile.free()
    return np.genfromtxt("mfcc.csv", delimiter=";", skip_header=1)


def cmsis(x):
    """arm_mfcc_f32, compiled as README.md says, with the tables of cmsisdsp.mfcc."""
    tables = {"dt": types.SimpleNamespace(convert=lambda numbers, _: np.array(numbers, np.float32)), "np": np}
    source = Path("cmsisdsp", "mfcc.py").read_text()
    exec(source.split("import cmsisdsp.datatype as dt")[1], tables)
    fft, bands, coefficients = 512, 26, 13
    lengths, places, weights = tables["melFilterMatrix"](0, 20, RATE / 2, bands, RATE, fft)
    arrays = [
        tables["dctMatrix"](0, coefficients, bands),
        np.array(places, np.uint32),
        np.array(lengths, np.uint32),
        weights,
        np.hamming(fft + 1)[:-1].astype(np.float32),
    ]
    run, found = ctypes.CDLL("./mfcc.so").run, []
    for start in range(0, len(x) - fft + 1, 160):
        frame, y, work = (
            x[start : start + fft].copy(),
            np.zeros(coefficients, np.float32),
            np.zeros(2 * fft, np.float32),
        )
        pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (*arrays, frame, y, work)]
        assert run(fft, bands, coefficients, *pointers) == 0
        found.append(y)
    return np.array(found)


def tensorflow(x):
    """Mel energies of magnitudes, and their MFCC, as its guide computes them."""
    import tensorflow as tf  # openSMILE crashes after this

    bank = tf.signal.linear_to_mel_weight_matrix(40, 257, RATE, 20.0, 7600.0)
    bands = tf.tensordot(tf.abs(tf.signal.stft(x, 400, 160, 512)), bank, 1)
    logarithm = tf.math.log(tf.maximum(bands, 1e-6))
    return logarithm, tf.signal.mfccs_from_log_mel_spectrograms(logarithm)[:, :13]


speech = np.load(FOLDER / "reference.npz")["speech"]
x = speech.astype(np.float32) / 32768
t = torch.from_numpy(x)[None]
by_librosa = librosa.feature.melspectrogram(y=x, sr=RATE, n_fft=512, hop_length=160, n_mels=64, center=False)
decibels = librosa.power_to_db(by_librosa, top_db=None)
melkwargs = {"n_fft": 400, "hop_length": 160, "n_mels": 40, "center": False}
by_torchaudio = torchaudio_kaldi.torchaudio.transforms.MFCC(RATE, 13, melkwargs=melkwargs)
by_torchaudio.amplitude_to_DB.top_db = None
by_keras = keras.layers.MelSpectrogram(512, 160, 400, sampling_rate=RATE, num_mel_bins=64, min_freq=20, max_freq=8000)
standards = {
    "kaldi_mfcc": kaldi_mfcc(speech),
    "torchaudio_kaldi": torchaudio_kaldi.fbank(t, num_mel_bins=80),
    "ast": ASTFeatureExtractor(do_normalize=False)._extract_fbank_features(x, 48),
    "seamless": SeamlessM4TFeatureExtractor()._extract_fbank_features(x),
    "librosa_decibels": decibels.T,
    "librosa_mfcc": librosa.feature.mfcc(S=decibels, n_mfcc=20).T,
    "torchaudio_mfcc": by_torchaudio(t)[0].T,
    "whisper": whisper.audio.log_mel_spectrogram(x).T,
    "nemo": nemo(x, "clamp"),
    "nemo_add": nemo(x, "add"),
    "keras": by_keras(x[None]).detach()[0].T,
    "htk_mfcc": htk(speech),
    "cmsis_mfcc": cmsis(x),
}
standards["tensorflow"], standards["tensorflow_mfcc"] = tensorflow(x)
np.savez_compressed(FOLDER / "standards.npz", **{name: np.float32(y) for name, y in standards.items()})
