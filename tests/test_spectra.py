"""Features of raw signals: the numbers of other libraries, of float64, and of any chunks."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.layers.parts.spectra import halves
from seq2onnx.modelfile.shapes import BOOL, INT64, Known, divide, gather_elements, range_of, smaller
from tests import reference
from tests.comparison import SAME, close
from tests.small_networks import exported

LIBRARIES = np.load(Path(__file__).parent / "files" / "spectra" / "reference.npz")
SPEECH = (LIBRARIES["speech"].astype(np.float32) / 32768)[:, None]
FLOAT64 = 5e-4  # logarithms of energies from 1e-6: float32 rounds sums of 400 samples, and logarithms enlarge this
TORCH = 2e-5  # torch calculates the transform in float64: what is left is float32's rounding of 16 to 18
LIBRARY = 1e-3  # the libraries have float32, too; kaldi's own distance from float64 is 2.5e-4
DEFAULT = s2o.MelSpectrogram(16000, 400, 160, 80, 512)


def features(tmp_path, layer, x=SPEECH):
    model, _ = exported(tmp_path, s2o.Network([s2o.SequenceInput(1), layer]))
    return model.predict([x])[0]


def logarithm(energies):
    return np.log(np.maximum(energies, 1e-6))


def test_kaldi_gives_the_numbers_of_kaldi_native_fbank_from_samples_in_plus_minus_1(tmp_path):
    y = features(tmp_path, s2o.MelSpectrogram.kaldi())
    np.testing.assert_allclose(y, LIBRARIES["kaldi"], rtol=0, atol=LIBRARY)


def test_librosa_gives_the_numbers_of_librosa_without_and_with_center(tmp_path):
    layer = s2o.MelSpectrogram.librosa(16000, 512, 160, 64)
    y = features(tmp_path, layer)
    np.testing.assert_allclose(logarithm(y), logarithm(LIBRARIES["librosa"]), rtol=0, atol=LIBRARY)
    y = features(tmp_path, layer, np.pad(SPEECH, ((256, 256), (0, 0))))
    np.testing.assert_allclose(logarithm(y), logarithm(LIBRARIES["librosa_centered"]), rtol=0, atol=LIBRARY)


def test_torchaudio_gives_the_numbers_of_torchaudio(tmp_path):
    y = features(tmp_path, s2o.MelSpectrogram.torchaudio(16000, 400, 160, 40))
    np.testing.assert_allclose(logarithm(y), logarithm(LIBRARIES["torchaudio"]), rtol=0, atol=LIBRARY)


@pytest.mark.parametrize(
    "layer",
    [
        DEFAULT,
        s2o.MelSpectrogram.kaldi(padding="causal"),
        s2o.MelSpectrogram(16000, 1024, 512, 40, remove_mean=True, preemphasis=0.97),
        s2o.MelSpectrogram(16000, 1000, 500, 40, 1200),
        s2o.MelSpectrogram(16000, 4096, 2048, 40, padding="none"),
    ],
    ids=["default", "kaldi", "1024", "1200", "4096"],
)
def test_features_of_speech_are_those_of_float64_and_files_are_small(tmp_path, layer):
    x = SPEECH[:6000]
    expected, _ = reference.mel_spectrogram(layer, {}, (x.astype(float),), None)
    np.testing.assert_allclose(features(tmp_path, layer, x), expected, rtol=0, atol=FLOAT64)
    module = s2o.build(s2o.Network([s2o.SequenceInput(1), layer]))
    y = module(torch.from_numpy(x[None]), torch.tensor([len(x)]), return_state=False)[0][0].detach().numpy()
    np.testing.assert_allclose(y, expected, rtol=0, atol=TORCH)
    assert (tmp_path / "model.onnx").stat().st_size < 2e6


@pytest.mark.parametrize("padding", ["causal", "none"])
def test_chunks_of_0_to_1000_samples_give_the_features_of_the_whole_signal(tmp_path, padding):
    layer = s2o.MelSpectrogram.kaldi(padding=padding)
    model, _ = exported(tmp_path, s2o.Network([s2o.SequenceInput(1), layer]))
    whole, rng, start, found, stream = model.predict([SPEECH])[0], np.random.default_rng(0), 0, [], model.stream()
    while start < len(SPEECH):
        stop = start + int(rng.integers(0, 1001))
        found.append(stream.step(SPEECH[start:stop]))
        start = stop
    np.testing.assert_allclose(np.concatenate(found), whole, rtol=0, atol=FLOAT64)
    assert len(whole) == (50 if padding == "causal" else 48)


def test_each_10_ms_of_a_causal_stream_gives_one_frame_also_in_a_step_file(tmp_path):
    for form in ("dynamic", "step"):
        network = s2o.Network([s2o.SequenceInput(1), s2o.MelSpectrogram.kaldi(padding="causal")])
        model, _ = exported(tmp_path, network, form=form)
        stream = model.stream()
        for start in range(0, 800, 160):
            assert stream.step(SPEECH[start : start + 160]).shape == (1, 80)


def test_a_step_file_refuses_frames_that_must_be_full_and_says_what_to_do(tmp_path):
    module = s2o.build(s2o.Network([s2o.SequenceInput(1), s2o.MelSpectrogram.kaldi()]))
    with pytest.raises(s2o.NotStreamable, match='no result before step 400.*use padding="causal"'):
        s2o.export(module, tmp_path / "step.onnx", form="step")
    equal = s2o.build(s2o.Network([s2o.SequenceInput(1), s2o.Spectrogram(4, 4, padding="none")]))
    s2o.export(equal, tmp_path / "step.onnx", form="step")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: s2o.Spectrogram(400, 160, 256), "spectrogram: fft 256 must be at least the length 400"),
        (lambda: s2o.Spectrogram(400, 160, 65521), "spectrogram: fft 65521 has no two factors of similar size"),
        (lambda: s2o.MelSpectrogram(8000, 4, 2, 3, high=5000), "low 0 and high 5000 must be in order and at most"),
        (lambda: s2o.MelSpectrogram(8000, 4, 2, 3, low=300, high=200), "low 300 and high 200 must be in order"),
        (lambda: s2o.MFCC(8000, 4, 2, 12), "mfcc: coefficients 13 must be at most the bands, 12"),
        (lambda: s2o.MelSpectrogram(8000, 4, 2, 3, floor=0), "mel_spectrogram.floor: must be greater than 0; got 0"),
    ],
)
def test_fields_that_do_not_fit_are_named(make, message):
    with pytest.raises(s2o.SpecError, match=re.escape(message)):
        make()


def test_only_one_channel_of_samples_can_be_read():
    with pytest.raises(s2o.ShapeError, match=r"spectrogram_1: expected one channel of samples \[batch, time, 1\], got"):
        s2o.Network([s2o.SequenceInput(2), s2o.Spectrogram(4, 2)])


def test_files_have_the_sample_rate_and_layers_must_agree_on_it(tmp_path):
    network = s2o.Network([s2o.SequenceInput(1), s2o.Conv1d(1, 2, 2, padding="causal"), s2o.MFCC(8000, 4, 2, 20)])
    model, _ = exported(tmp_path, network)
    assert model.contract.sample_rate == 16000
    model, _ = exported(tmp_path, s2o.Network([s2o.SequenceInput(1), s2o.Spectrogram(4, 2)]))
    assert model.contract.sample_rate is None
    mel = [s2o.MelSpectrogram(rate, 4, 2, 3, name=name, inputs=["x"]) for rate, name in ((8000, "a"), (16000, "b"))]
    with pytest.raises(s2o.SpecError, match=r"rate: .* the same samples per second, got a 8000, b 16000"):
        s2o.Network([s2o.SequenceInput(1, name="x"), *mel, s2o.Concat(inputs=["a", "b"])])


def test_normalizing_samples_before_a_spectrogram_warns():
    data = s2o.SequenceDataset([SPEECH[:400]])
    with pytest.warns(UserWarning, match="sequence_input_1: its zscore changes the scale of the samples that mel"):
        s2o.build(s2o.Network([s2o.SequenceInput(1, "zscore"), DEFAULT]), data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        s2o.build(s2o.Network([s2o.SequenceInput(1), DEFAULT, s2o.BatchNorm()]), data)


def test_samples_that_are_no_fractions_warn_with_the_remedy(tmp_path):
    network = s2o.Network([s2o.SequenceInput(1), DEFAULT])
    model, _ = exported(tmp_path, network)
    integers = SPEECH[:800] * 32768
    stream, pool = model.stream(), model.pool()
    id = pool.open()
    for run in (
        lambda x: model.predict([SPEECH, x]),
        lambda x: stream.step(x),
        lambda x: pool.step([id], x[None]),
        lambda x: s2o.build(network, s2o.SequenceDataset([SPEECH[:400], x])),
    ):
        with pytest.warns(UserWarning, match="mel_spectrogram_1 takes samples in ±1, .* beyond ±2; divide integers of"):
            run(integers)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run(SPEECH[:800] * 1.2)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("default")
        for start in range(0, 800, 160):
            stream.step(integers[start : start + 160])
    assert len(found) == 1
    others = [s2o.SequenceInput(1, "rescale_symmetric", statistics={"min": [-9.0], "max": [9.0]}), DEFAULT]
    for network in (s2o.Network(others), s2o.Network([s2o.SequenceInput(1), s2o.LSTM(2)])):
        model, _ = exported(tmp_path, network)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.predict([integers])


@pytest.mark.parametrize("power", [1, 2])
def test_silence_has_finite_gradients(power):
    layer = s2o.MelSpectrogram(8000, 8, 4, 2, power=power)
    module = s2o.build(s2o.Network([s2o.SequenceInput(1), s2o.Conv1d(1, 1), layer]))
    y = module(torch.zeros(1, 40, 1), torch.tensor([40]), return_state=False)[0]
    y.sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in module.parameters())


@pytest.mark.parametrize("layer", [DEFAULT, s2o.MelSpectrogram.kaldi(), s2o.Spectrogram(1, 2), s2o.Spectrogram(3, 5)])
@pytest.mark.parametrize("signature", ["full", "sequence"])
def test_what_follows_the_end_of_a_row_has_no_effect_and_y_is_finite_there(tmp_path, layer, signature):
    model, _ = exported(tmp_path, s2o.Network([s2o.SequenceInput(1), layer]), signature=signature)
    x = np.full((3, 1000, 1), np.nan, np.float32)
    x[0], x[1, :700] = SPEECH[:1000], SPEECH[:700]
    names = ["y", "y_lengths"]
    states = {state.name: state.zeros(3) for state in model.states}
    y, lengths = model.session.run(names, {"x": x, "lengths": np.int32([1000, 700, 0]), **states})
    assert np.isfinite(y).all()
    assert lengths[2] == 0
    for row, samples in enumerate((1000, 700)):
        close(y[row, : lengths[row]], model.predict([SPEECH[:samples]])[0], SAME, "y")


def test_symmetric_transforms_are_cut_in_two_and_others_are_not(tmp_path):
    """Files are half as large; the numbers are tested above."""
    for layer, most in [
        (DEFAULT, 0.52e6),
        (s2o.MelSpectrogram.kaldi(), 1e6),
        (s2o.MelSpectrogram(16000, 400, 160, 80, 512, high=4000), 0.3e6),  # half of the bins
    ]:
        exported(tmp_path, s2o.Network([s2o.SequenceInput(1), layer]))
        assert most / 2 < (tmp_path / "model.onnx").stat().st_size < most
    for window, periodic, is_cut in [("hamming", False, True), ("hamming", True, False), ("none", True, True)]:
        spectrum = s2o.Spectrogram(20, 10, 32, window, periodic).spectrum
        assert (halves(spectrum) is not None) == is_cut
    assert halves(s2o.Spectrogram(20, 10, 32, preemphasis=0.5).spectrum) is None
    assert halves(s2o.Spectrogram(20, 10, 32, "hamming", False, remove_mean=True).spectrum) is not None


def test_a_bound_gives_the_size_of_a_range_only_and_never_of_a_divisor():
    unknown, bound, one = Known((1,), INT64), Known((1,), INT64, (3,)), Known((), INT64, (1,))
    (least,) = smaller({}, [unknown, bound])
    assert (least.value, least.bound) == (None, (3,))
    assert range_of({}, [Known((), INT64, (0,)), least, one]) == [Known((3,), INT64)]
    assert smaller({}, [unknown, Known((1,), BOOL)])[0].bound is None
    with pytest.raises(s2o.ModelFileError, match="depends on data"):
        range_of({}, [Known((), INT64, (0,)), unknown, one])
    with pytest.raises(s2o.ModelFileError, match="may be 0"):
        divide({}, [bound, least])


def test_elements_are_taken_along_one_axis_only():
    attributes = {b"axis": (1, 1)}
    assert gather_elements(attributes, [Known((2, 5), BOOL), Known((2, 9), INT64)]) == [Known((2, 9), BOOL)]
    for shape in [(3, 9), (2, 9, 1)]:
        with pytest.raises(s2o.ModelFileError, match="has places"):
            gather_elements(attributes, [Known((2, 5), BOOL), Known(shape, INT64)])
