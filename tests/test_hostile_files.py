"""Files from strangers: no other file is read, no metadata is believed, and each error is one of ours."""

from __future__ import annotations

import io
import json
import re
import resource
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch

import seq2onnx as s2o
from seq2onnx import limits
from seq2onnx.data import read
from tests import data_mutants
from tests.clock import at_most
from tests.command import run
from tests.conftest import CLASSES, random_data, small_network

VALUES, LENGTHS = np.arange(20, dtype="f4").reshape(10, 2), np.array([4, 6])


def h5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in ({"values": VALUES, "lengths": LENGTHS} | arrays).items():
            if array is not None:
                file[name] = array
    return path


# HDF5 ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path):
    """A file that nobody has named."""
    path = tmp_path / "secret"
    path.write_bytes(bytes(range(20)))
    h5(tmp_path / "other.h5")
    return path


def external_storage(file, secret):
    file.create_dataset("values", (10, 2), "u1", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def external_link(file, secret):
    file["values"] = h5py.ExternalLink(secret.with_name("other.h5"), "/values")


def soft_link(file, secret):
    file["away"] = h5py.ExternalLink(secret.with_name("other.h5"), "/")
    file["values"] = h5py.SoftLink("/away/values")


def virtual(file, secret):
    layout = h5py.VirtualLayout((10, 2), "f4")
    layout[:] = h5py.VirtualSource(secret.with_name("other.h5"), "values", (10, 2))
    file.create_virtual_dataset("values", layout)


@pytest.mark.parametrize(
    ("store", "message"),
    [
        (external_storage, "/values is stored in other files; copy the data into this file"),
        (virtual, "/values is stored in other files; copy the data into this file"),
        (external_link, "'values' is a link to another file, '.*other.h5'; copy the data into this file"),
        (soft_link, "'values' is a link to '/away/values'; copy the data to its place"),
    ],
)
def test_an_hdf5_file_that_takes_values_from_another_file_is_refused(tmp_path, secret, store, message):
    path = h5(tmp_path / "data.h5", values=None)
    with h5py.File(path, "r+") as file:
        store(file, secret)
    _, errors = run("data", "convert", path, tmp_path / "out.npz", code=2)
    assert re.fullmatch(f"seq2onnx: {path}: {message}\n", errors)
    assert not (tmp_path / "out.npz").exists()


def test_a_mat_file_that_takes_values_from_another_file_is_refused(tmp_path, secret):
    from tests.mat_writer import cells, write_v73

    path = tmp_path / "data.mat"
    write_v73(path, {"X": cells([VALUES, VALUES])})
    with h5py.File(path, "r+") as file:
        place = next(name for name in file["#refs#"] if file["#refs#"][name].shape == (2, 10))
        attributes = dict(file["#refs#"][place].attrs)
        cell = np.array([file["X"][0, 0], file["X"][0, 1]])
        del file["#refs#"][place]
        new = file["#refs#"].create_dataset("evil", (2, 10), "u1", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
        for name, value in attributes.items():
            new.attrs[name] = value
        new.attrs["MATLAB_class"] = np.bytes_("uint8")
        cell[0] = new.ref
        file["X"][...] = cell.reshape(file["X"].shape)
    with pytest.raises(s2o.DataError, match=r"data.mat: /#refs#/evil is stored in other files"):
        read(path)


def test_a_link_within_an_hdf5_file_is_followed(tmp_path):
    path = h5(tmp_path / "data.h5", values=None, x=VALUES)
    with h5py.File(path, "r+") as file:
        file["values"] = h5py.SoftLink("/x")
    np.testing.assert_array_equal(np.concatenate(list(read(path).sequences)), VALUES)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"dtype": h5py.ref_dtype}, "/values has references; expected numbers or texts"),
        ({"dtype": h5py.regionref_dtype}, "/values: expected numbers or texts, got the type object"),
        ({"dtype": h5py.vlen_dtype(np.int32)}, "/values: expected numbers or texts, got the type object"),
        ({"dtype": "V8"}, "/values: expected numbers or texts, got the type |V8"),
        ({"dtype": "f4", "chunks": (5, 2), "scaleoffset": 2}, "/values has the filter 6; expected gzip, shuffle"),
    ],
)
def test_an_hdf5_file_with_other_content_than_arrays_is_refused(tmp_path, how, message):
    path = h5(tmp_path / "data.h5", values=None)
    with h5py.File(path, "r+") as file:
        file.create_dataset("values", (10, 2), **how)
    with pytest.raises(s2o.DataError, match=re.escape(message)):
        read(path)


@pytest.mark.parametrize(
    "filters", [{"compression": "gzip", "shuffle": True, "fletcher32": True}, {"compression": "lzf"}]
)
def test_the_filters_of_hdf5_itself_are_read(tmp_path, filters):
    path = h5(tmp_path / "data.h5", values=None)
    with h5py.File(path, "r+") as file:
        file.create_dataset("values", data=VALUES, chunks=(5, 2), **filters)
    np.testing.assert_array_equal(np.concatenate(list(read(path).sequences)), VALUES)


def test_texts_are_stored_with_one_length_and_those_of_version_0_1_are_read(tmp_path):
    words = [np.array(["lang", "ürwald"], object), np.array(["", "x"], object)]
    data = s2o.SequenceDataset(words, ["a", "größer"], ids=["1", "zwei"])
    data.save(tmp_path / "new.h5")
    with h5py.File(tmp_path / "new.h5") as file:
        kinds = {name: h5py.check_string_dtype(file[name].dtype) for name in file}
        assert {name: kind.length for name, kind in kinds.items() if kind} == {
            "values": 7, "targets": 8, "classes": 8, "ids": 4,
        }  # fmt: skip
        old = {name: file[name][()] for name in file}
        texts = {name: file[name].asstr()[()] for name, kind in kinds.items() if kind}
    with h5py.File(tmp_path / "old.h5", "w") as file:
        for name, array in old.items():
            kind = h5py.string_dtype() if name in texts else None
            file.create_dataset(name, data=texts.get(name, array), dtype=kind)
    for name in ("new.h5", "old.h5"):
        found = read(tmp_path / name)
        assert [x.tolist() for x in found.sequences] == [x.tolist() for x in words]
        assert (found.labels.tolist(), found.classes, found.ids) == (["a", "größer"], ["a", "größer"], ["1", "zwei"])


# Bombs ---------------------------------------------------------------------------------------------------------------


def npz(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content if isinstance(content, bytes) else npy(content))
    return path


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def header(shape, kind="<f4"):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def npz_of_zeros(path):
    """9 MB that become 2 GB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("values.npy", "w", force_zip64=True) as member:
            member.write(header((500_000_000, 1)))
            for _ in range(200):
                member.write(bytes(10_000_000))
        archive.writestr("lengths.npy", npy(np.array([500_000_000])))


def h5_of_nothing(path):
    with h5py.File(path, "w") as file:
        file["values"] = VALUES
        file.create_dataset("lengths", (10**11,), "i4", chunks=(1000,))


def h5_of_one_chunk(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("values", (10, 2), "f4", chunks=(2**29, 2), maxshape=(None, 2), compression="gzip")
        file["lengths"] = LENGTHS


def parquet_of_zeros(path):
    """A million rows of a thousand zeros, in a kilobyte of runs."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    zeros = pa.array(np.zeros(10**8, np.float32))
    lists = pa.ListArray.from_arrays(pa.array(np.arange(0, 10**8 + 1, 10**3), pa.int32()), zeros)
    pq.write_table(pa.table({"x": lists}), path, compression="zstd", use_dictionary=True)


@pytest.mark.parametrize(
    ("name", "write"),
    [("d.npz", npz_of_zeros), ("d.h5", h5_of_nothing), ("d.h5", h5_of_one_chunk), ("d.parquet", parquet_of_zeros)],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_small_file_with_huge_arrays_is_refused(tmp_path, name, write):
    path = tmp_path / name
    write(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = r"and its arrays would take .*, more than the limit .* trusted=True, or"
    with at_most(10), pytest.raises(s2o.DataError, match=message):
        read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # kilobytes


def test_a_file_that_is_trusted_has_no_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "UNPACKED_BYTES", 0)
    monkeypatch.setattr(limits, "UNPACKED_PER_BYTE", 0)
    for name in ("d.npz", "d.h5", "d.parquet"):
        random_data(9).save(tmp_path / name)
        for load in (read, s2o.SequenceDataset.load):
            with pytest.raises(s2o.DataError, match="trusted=True"):
                load(tmp_path / name)
            assert len(load(tmp_path / name, trusted=True)) == 9
        run("data", "inspect", tmp_path / name, code=2)
        assert "sequences  9, " in run("data", "inspect", tmp_path / name, "--trusted")[0]


GOOD = {"values": VALUES, "lengths": LENGTHS}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"values": b"text"}, "'values.npy' is no array of numpy"),
        ({"values": header((10**13,))}, "values.npy is incomplete, or longer than its shape"),
        ({"values": header((-1, -20)) + bytes(80)}, "is not an .npz|values.npy is incomplete"),
        ({"values": np.array([[{}]])}, "values.npy contains Python objects, which are never loaded"),
        ({"lengths": np.array([2**63, 2**63, 10], "u8")}, "expected lengths"),
        ({"targets": np.array([1, 2**64 - 1], "u8")}, "got 18446744073709551615; integers are labels of at most"),
        ({"targets": np.array([0, 1]), "classes": np.ones((2, 2))}, "classes: expected strings or integers"),
        ({"targets": np.array([0, 1]), "ignore": np.ones(2)}, "ignore: expected one label or number"),
        ({"ids": np.array(5)}, "ids: expected a list of texts"),
        ({"channels": np.array([[1, 2]])}, "channels: expected a list of texts"),
    ],
)
def test_an_npz_file_that_is_no_data_set_is_refused(tmp_path, members, message):
    with pytest.raises(s2o.DataError, match=message):
        read(npz(tmp_path / "data.npz", **(GOOD | members)))


def test_arrays_that_the_layout_does_not_name_are_not_read(tmp_path):
    path = npz(tmp_path / "data.npz", **GOOD, more=np.array([{}]), other=b"text")
    assert len(read(path)) == 2


# YAML and JSON -------------------------------------------------------------------------------------------------------

HEAD = "layers:\n- sequence_input: {size: 4}\n"


def bomb(levels):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join([*lines, f"layers: [*a{levels - 1}]"])


def ladder(levels):
    return "\n".join(["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, levels))])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("n.yaml", bomb(12), "has more than 300,000 values; if you trust the file"),
        ("n.yaml", "layers: &a [*a]", "the alias 'a' stands before or within what it repeats"),
        ("n.yaml", ladder(200), "is nested deeper than 50 levels"),
        ("n.yaml", "[" * 100_000, "nest"),
        ("n.json", '{"layers": ' + "[" * 100_000, "is nested too deep"),
        ("n.yaml", HEAD + "- relu\n" * 100_000, "layers: expected at most 10,000, got 100,001"),
        ("n.yaml", HEAD + "- relu\n#" + "x" * 2**24, "bytes, more than 16,777,216"),
        ("n.yaml", HEAD + "- lstm: {hidden_size: 1000000000000}", "the network would have .* weights, more than"),
        ("n.yaml", HEAD + f"- lstm: {{hidden_size: 0x{'f' * 5000}}}", "is too large for a whole number"),
        ("n.yaml", HEAD + f"- lstm: {{hidden_size: {'9' * 5000}}}", "is not YAML"),
        ("n.json", '{"layers": [{"sequence_input": {"size": 1e400}}]}', "a number that is not finite: 1e400"),
        ("n.json", f'{{"layers": [{{"sequence_input": {{"size": {"9" * 5000}}}}}]}}', "too large for a whole number"),
        ("n.yaml", "? [1, 2]\n: 3", "a key must be text"),
        ("n.yaml", HEAD + "- relu: {1: 2}", "expected the layer's fields as a mapping"),
        ("n.yaml", HEAD + "- relu: {self: 2}", "self: is not a field of ReLU"),
        ("n.yaml", HEAD + "- relu: {__dataclass_self__: 2}", "expected the layer's fields as a mapping"),
        ("n.yaml", HEAD + "- relu\noutputs: 5", "outputs: expected a list of layer names, got 5"),
        ("n.yaml", HEAD + "- relu\noutputs: [[1]]", r"outputs: expected a list of layer names, got \[\[1\]\]"),
        ("n.yaml", HEAD.replace("4", "1, statistics: {mean: {a: 1}}"), "statistics must be numbers"),
        ("n.yaml", "layers: !!int ''", "is not YAML"),
        ("n.yaml", "layers: !!timestamp x", "is not YAML"),
        ("n.yaml", "layers: !!python/object/apply:os.system [true]", "is not YAML"),
        ("n.yaml", "layers: [" + "x" * 5000 + "]", "is not a kind of layer"),
        ("n.yaml", "layers: [\"\\e[31mred\"]", r"layers\[0\]\.\\x1b\[31mred: is not a kind of layer"),
    ],
)  # fmt: skip
def test_a_network_from_a_stranger_is_refused_in_one_short_message(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with at_most(10), pytest.raises(s2o.SpecError, match=message) as raised:
        s2o.Network.load(tmp_path / name)
    assert len(str(raised.value)) <= 2000


def test_a_large_network_that_is_trusted_is_read(tmp_path, monkeypatch):
    small_network().save(tmp_path / "n.yaml")
    for name, value in (("SPEC_BYTES", 10), ("SPEC_VALUES", 3), ("SPEC_DEPTH", 1), ("LAYERS", 2), ("PARAMETERS", 5)):
        with monkeypatch.context() as changed:
            changed.setattr(limits, name, value)
            with pytest.raises(s2o.SpecError, match="trusted=True, or --trusted"):
                s2o.Network.load(tmp_path / "n.yaml")
            assert s2o.Network.load(tmp_path / "n.yaml", trusted=True) == small_network()


# Texts ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "how", "message"),
    [
        ("d.ts", b"@classLabel true a b\n@data\n1,2:a\n3,4:c\n", [], "line 4: label 'c' is not among those"),
        ("d.ts", b"@classLabel true a b\n@data\n1,2:\xff\n", [], "is not UTF-8 text"),
        ("d.csv", b"a,label\n1,2\n\xff,3", [], "is not UTF-8 text"),
        ("d.csv", b"a,label\n1,2\n2,99999999999999999999\n", ["--targets", "label", "--per-step"], "labels of 64 bits"),
        ("d.csv", b"id,t,a\n1,0001-01-01T00:00:00+10:00,1\n", ["--id", "id", "--time", "t"], "expected a number or a"),
        ("d.csv", b"a,b\n\x1b[2J,3\n", [], r"expected a number, got '\\x1b\[2J'"),
    ],
)
def test_text_from_a_stranger_is_refused(tmp_path, name, content, how, message):
    (tmp_path / name).write_bytes(content)
    assert re.search(message, run("data", "inspect", tmp_path / name, *how, code=2)[1])


def test_a_ts_file_without_a_list_of_labels_takes_any(tmp_path):
    (tmp_path / "d.ts").write_text("@classLabel true\n@data\n1,2:a\n3,4:c\n")
    assert read(tmp_path / "d.ts").classes == ["a", "c"]


ESCAPES = "\x1b]0;owned\x07\x9b31m\u202eevil"


def test_labels_and_names_of_a_file_send_no_control_sequences_to_a_terminal(tmp_path, model_file):
    hidden = "\u202eevil"  # labels and channels may have it; control characters they may not
    data = s2o.SequenceDataset(
        [np.ones((3, 4))] * 2, [hidden, "b"], channels=["a", "b", "c", hidden], ids=[ESCAPES] * 2
    )
    data.save(tmp_path / "d.npz")
    outputs = [run("data", "inspect", tmp_path / "d.npz")[0]]
    network = small_network()
    module = s2o.build(s2o.Network(network.layers, name=ESCAPES), random_data())
    s2o.export(module, tmp_path / "m.onnx", classes=[*CLASSES[:2], hidden])
    outputs.append(run("inspect", tmp_path / "m.onnx")[0])
    outputs.append(run("evaluate", tmp_path / "m.onnx", tmp_path / "d.npz", code=2)[1])
    np.savez(tmp_path / "e.npz", sequences=np.ones((2, 3, 4)), targets=np.array([ESCAPES, "b"]))
    outputs.append(run("data", "inspect", tmp_path / "e.npz", code=2)[1])
    (tmp_path / "n.yaml").write_text('layers: ["\\e]0;owned\\a"]')
    outputs.append(run("train", tmp_path / "n.yaml", tmp_path / "d.npz", "--out", tmp_path / "run", code=2)[1])
    for output in outputs:
        assert output
        assert output.replace("\n", "").isprintable()


def test_predictions_have_control_characters_in_files_and_not_on_a_terminal(tmp_path):
    pty = pytest.importorskip("pty")
    import os

    data = random_data(3)
    s2o.SequenceDataset(list(data.sequences), ids=["b\x1b[31m"] * 3).save(tmp_path / "d.npz")
    s2o.export(s2o.build(small_network(), data), tmp_path / "m.onnx", classes=CLASSES)
    command = [sys.executable, "-m", "tests.command", "predict", str(tmp_path / "m.onnx"), str(tmp_path / "d.npz")]
    assert b"\x1b[31m" in subprocess.run(command, capture_output=True, check=True).stdout
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the other end is closed
            pass
    assert process.returncode == 0
    assert rb"b\x1b[31m" in shown
    assert b"\x1b" not in shown


# Run folders ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    data_mutants.run_folder(folder)
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    import shutil

    return shutil.copytree(trained, tmp_path / "run")


def change_tensors(path, change):
    with safetensors.safe_open(path, "pt") as file:
        about, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(tensors)
    path.write_bytes(safetensors.torch.save(tensors, about))


def set_first(kind, value):
    def change(tensors):
        name = next(name for name in tensors if kind in name)
        tensors[name] = value(tensors[name])

    return change


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda t: t.fill_(torch.nan), "weights.safetensors: .* has NaN or infinity"),
        (lambda t: t.fill_(torch.inf), "weights.safetensors: .* has NaN or infinity"),
        (lambda t: t.double(), "expected torch.float32, got torch.float64"),
        (lambda t: t.flatten(), "does not fit network.yaml"),
        (lambda t: t[:1], "does not fit network.yaml"),
    ],
)
def test_weights_of_a_run_folder_are_checked(folder, tmp_path, value, message):
    change_tensors(folder / "weights.safetensors", set_first("recurrent_weights", value))
    assert re.search(message, run("export", folder, "--out", tmp_path / "m.onnx", code=2)[1])


def test_a_network_larger_than_its_weights_is_not_built(folder):
    text = (folder / "network.yaml").read_text()
    (folder / "network.yaml").write_text(text.replace("hidden_size: 8", "hidden_size: 20000"))
    message = r"it has [0-9]+ numbers, the network 1,600,460,003"
    with at_most(10), pytest.raises(s2o.ModelFileError, match=message):
        s2o.training.load_run(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("- left", "- [left]", "classes: expected different names"),
        ("- left", "- right", "classes: expected different names"),
        ("epochs: 1", "epochs: x", "options.epochs: must be a whole number"),
        ("options:", "? [1]\n:", "options.yaml: is not YAML"),
        ("options:", "other:", "options.yaml: is not what a training run writes"),
    ],
)
def test_options_of_a_run_folder_are_checked(folder, old, new, message):
    text = (folder / "options.yaml").read_text()
    assert old in text
    (folder / "options.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(
        s2o.ModelFileError | s2o.SpecError if False else (s2o.ModelFileError, s2o.SpecError), match=message
    ):
        s2o.training.load_run(folder)


def change_run(**changes):
    def change(path):
        with safetensors.safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        path.write_bytes(safetensors.torch.save(tensors, {"run": json.dumps(about | changes)}))

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda path: change_tensors(path, set_first("last.", lambda t: t.fill_(torch.nan))),
        lambda path: change_tensors(path, set_first("last.", lambda t: t.fill_(torch.inf))),
        lambda path: change_tensors(path, set_first("last.", lambda t: t[:1])),
        lambda path: change_tensors(path, set_first("exp_avg", lambda t: t[:1])),
        lambda path: change_tensors(path, set_first("exp_avg", lambda t: t.fill_(torch.nan))),
        lambda path: change_tensors(path, set_first("generator", lambda t: t[:5])),
        lambda path: change_tensors(path, lambda tensors: tensors.pop("generator")),
        lambda path: change_tensors(path, lambda tensors: tensors.update({"optimizer.99.step": torch.ones(3)})),
        change_run(order=[]),
        change_run(order={"bit_generator": "PCG64"}),
        change_run(history=[{"loss": "x"}]),
        change_run(history=5),
        change_run(same={"network": 5}),
        change_run(options=None),
    ],
)
def test_checkpoints_are_checked(folder, change):
    change(folder / "checkpoint.safetensors")
    with pytest.raises((s2o.ModelFileError, s2o.SpecError), match="checkpoint.safetensors: ") as raised:
        data_mutants.resume(folder)
    assert len(str(raised.value)) <= 2000
