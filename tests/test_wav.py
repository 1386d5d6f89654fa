"""Sound: .wav files and folders as data, their sample rate, and streams of sound."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest

import seq2onnx as s2o
from tests.command import run
from tests.conftest import built

soundfile = pytest.importorskip("soundfile")

RATE = 8000


def sound(samples, channels=1, seed=0):
    return np.random.default_rng(seed).integers(-32768, 32768, (samples, channels)).astype(np.int16)


def network(alarm=False):
    layers = [s2o.SequenceInput(1), s2o.MelSpectrogram(RATE, 64, 40, 8), s2o.GRU(6), s2o.FullyConnected(2)]
    return s2o.Network([*layers, s2o.Softmax(), *[s2o.Alarm([None, 0.5])] * alarm])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("sounds")
    for number, name in enumerate(["yes/a.wav", "yes/b.WAV", "no/a.wav"]):
        (root / name).parent.mkdir(exist_ok=True)
        soundfile.write(root / name, sound(400 + number, seed=number), RATE, format="WAV")
    return root


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound model") / "model.onnx"
    s2o.export(built(network(), None), path, classes=["no", "yes"])
    return path


def test_samples_of_16_bits_are_divided_by_32768(tmp_path):
    given = sound(300, 2)
    soundfile.write(tmp_path / "a.wav", given, 44100)
    data = s2o.data.read(tmp_path / "a.wav", channels=["left", "right"])
    np.testing.assert_array_equal(data.sequences[0], given / np.float32(32768))
    assert (data.sample_rate, data.ids, data.channels) == (44100, ["a.wav"], ["left", "right"])


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_other_samples_are_in_the_same_unit(subtype, tmp_path):
    given = sound(300) / 40000
    soundfile.write(tmp_path / "a.wav", given, RATE, subtype)
    np.testing.assert_allclose(s2o.data.read(tmp_path / "a.wav").sequences[0], given, atol=0.02)


def test_subfolders_are_labels(folder):
    data = s2o.data.read(folder)
    assert data.ids == ["no/a.wav", "yes/a.wav", "yes/b.WAV"]
    assert data.labels.tolist() == ["no", "yes", "yes"]
    assert s2o.data.read(folder, targets="").targets is None
    assert (data.lengths.tolist(), data.sample_rate) == ([402, 400, 401], RATE)


def test_a_file_of_labels_names_wav_files(folder, tmp_path):
    (tmp_path / "labels.csv").write_text("file,label\nyes/a.wav,1.5\nno/a,2\nyes/b,3\n")
    data = s2o.data.read(folder, labels=tmp_path / "labels.csv", targets="label")
    np.testing.assert_array_equal(data.targets, [2, 1.5, 3])


@pytest.mark.parametrize("suffix", ["npz", "h5", "parquet"])
def test_saved_data_keeps_the_rate(folder, tmp_path, suffix):
    run("data", "convert", folder, tmp_path / f"data.{suffix}")
    assert s2o.data.read(tmp_path / f"data.{suffix}").sample_rate == RATE
    assert s2o.data.read(folder).subset([0]).sample_rate == RATE
    assert "8,000 a second" in run("data", "inspect", tmp_path / f"data.{suffix}")[0]


def test_files_of_other_rates_are_refused_and_never_resampled(folder, file, tmp_path):
    data = s2o.data.read(folder)
    other = s2o.SequenceDataset(data.sequences, data.labels, sample_rate=16000)
    message = (
        r"has 16,000 samples a second, the network takes 8,000. Resample all data .* soxr\.resample\(x, 16000, 8000"
    )
    pooled = s2o.Network([*network().layers[:2], s2o.GlobalAvgPool1d(), s2o.FullyConnected(2), s2o.Softmax()])
    for refused in (lambda: s2o.train(pooled, other), lambda: s2o.load(file).predict(other)):
        with pytest.raises(s2o.DataError, match=message):
            refused()
    assert len(s2o.load(file).predict(data)[0]) == 10
    soundfile.write(tmp_path / "a.wav", sound(90), 16000)
    assert re.search(message, run("stream", file, "--wav", tmp_path / "a.wav", code=2)[1])
    soundfile.write(tmp_path / "b.wav", sound(90), 8000)
    with pytest.raises(s2o.DataError, match=r"b\.wav: has 8,000 samples a second and 1 channels, .*a\.wav 16,000"):
        s2o.data.read(tmp_path)


def test_a_stream_of_sound_gives_the_numbers_of_predict(file, tmp_path):
    given = sound(9001)
    soundfile.write(tmp_path / "a.wav", given, RATE)
    expected = s2o.load(file).predict(s2o.data.read(tmp_path / "a.wav"))[0]
    from_file, _ = run("stream", file, "--wav", tmp_path / "a.wav")
    from_pcm, said = run("stream", file, "--pcm", "s16le", stdin=given.tobytes() + b"\0")
    assert from_file == from_pcm
    assert "expecting 16-bit samples (s16le) of 1 channel, 8000 samples a second" in said
    assert "1 bytes at the end" in said
    rows = [line.split(",") for line in from_file.splitlines()]
    np.testing.assert_allclose([[float(cell) for cell in row[2:]] for row in rows], expected, atol=1e-5)
    assert [row[1] for row in rows] == [["no", "yes"][best] for best in expected.argmax(1)]
    assert [row[0] for row in rows[:2]] == ["0.005", "0.010"]


def test_alarms_have_their_time_and_nothing_else_is_printed(tmp_path):
    module = built(network(alarm=True), None)
    s2o.export(module, tmp_path / "model.onnx", classes=["no", "yes"])
    given = sound(9000)
    soundfile.write(tmp_path / "a.wav", given, RATE)
    level = s2o.load(tmp_path / "model.onnx").predict([given / 32768])[0][:, 1]
    expected = [f"{(step + 1) * 40 / RATE:.3f},yes" for step in np.flatnonzero(level)]
    assert run("stream", tmp_path / "model.onnx", "--wav", tmp_path / "a.wav")[0].splitlines() == expected


def test_a_step_file_takes_sound(tmp_path):
    module = built(network(), None)
    s2o.export(module, tmp_path / "step.onnx", form="step")
    s2o.export(module, tmp_path / "full.onnx")
    soundfile.write(tmp_path / "a.wav", sound(4130), RATE)
    texts = [run("stream", tmp_path / f"{name}.onnx", "--wav", tmp_path / "a.wav") for name in ("step", "full")]
    found, expected = (np.loadtxt(text.splitlines(), delimiter=",") for text, _ in texts)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert "10 samples at the end have no result: this step file runs 40 at a time" in texts[0][1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a .wav file: expected RIFF … WAVE"),
        (b"OggS" + bytes(40), "is not a .wav file: expected RIFF … WAVE"),
        (b"RIFF\4\0\0\0WAVE", "is not a .wav file, or is incomplete"),
        (b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + bytes(28), "is not a .wav file, or is incomplete"),
    ],
)
def test_other_files_are_refused(content, message, tmp_path):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(s2o.DataError, match=f"a.wav: {message}"):
        s2o.data.read(tmp_path / "a.wav")


def test_compressed_samples_and_mixed_folders_are_refused(folder, file, tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(900), RATE, "IMA_ADPCM")
    with pytest.raises(s2o.DataError, match=r"a\.wav: its samples are stored as IMA ADPCM; expected PCM"):
        s2o.data.read(tmp_path / "a.wav")
    (tmp_path / "labels.csv").write_text("file,label\na.wav,x\n")
    with pytest.raises(s2o.DataError, match=r'if it has the labels, name it: labels="labels.csv"'):
        s2o.data.read(tmp_path)
    soundfile.write(tmp_path / "b.wav", sound(90, 2), RATE)
    assert "has 2 channels, the network takes 1" in run("stream", file, "--wav", tmp_path / "b.wav", code=2)[1]
    assert "use one of them" in run("stream", file, "--wav", tmp_path / "b.wav", "--pcm", "s16le", code=2)[1]
    with pytest.raises(s2o.DataError, match="targets and id are columns of a file of labels"):
        s2o.data.read(folder, targets="label")


def test_a_file_that_was_cut_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(100), RATE)
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[:-2])
    with pytest.raises(s2o.DataError, match=r"a\.wav: is incomplete: promises 244 bytes and has 242"):
        s2o.data.read(tmp_path / "a.wav")


def test_a_file_from_a_pipe_has_no_size_and_is_read_to_its_end(tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(100), RATE)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[4:8], content[40:44] = struct.pack("<I", 2**31 + 36), struct.pack("<I", 2**31)
    (tmp_path / "a.wav").write_bytes(content)
    assert s2o.data.read(tmp_path / "a.wav").lengths.tolist() == [100]
