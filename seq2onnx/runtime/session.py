"""onnxruntime sessions: settings, execution providers, a cache of optimized graphs, and bindings of buffers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import onnxruntime

from seq2onnx.errors import MissingExtra, ModelFileError, SpecError, install_command
from seq2onnx.files import atomic_file
from seq2onnx.modelfile import CheckedFile
from seq2onnx.sequences import Array

Device = Literal["cpu", "cuda"]
Optimization = Literal["disabled", "basic", "extended", "all"]

_LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_BY_DEVICE = {"cpu": ["CPUExecutionProvider"], "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"]}
LIMITED_BYTES = 2**29
"""The memory for what limited sessions compute. A file of other operators does not say beforehand how much that is."""
# At the end of each entry of the cache: in a file of its own it could belong to another version of the entry.
_CHECKSUM_BYTES = hashlib.sha256().digest_size


@dataclasses.dataclass(frozen=True)
class SessionSettings:
    """The settings of a session; the attributes are arguments of `load`."""

    device: Device = "cpu"
    providers: Sequence[str] | None = None
    provider_options: Sequence[Mapping[str, Any]] | None = None
    optimization: Optimization = "all"
    cache: str | Path | None = None

    def open(self, file: CheckedFile, limited: bool = False) -> onnxruntime.InferenceSession:
        """Open a session, whose operators run in the thread that calls it.

        If `limited`, what it computes may take LIMITED_BYTES at most, its weights included, together with all such
        sessions. Files of more than half of this are never limited.
        """
        limited &= len(file.content) < LIMITED_BYTES // 2
        providers, options = self._providers()
        if self.optimization not in _LEVELS:
            raise SpecError(f"optimization: must be one of {', '.join(_LEVELS)}, got {self.optimization!r}")
        level = _LEVELS[self.optimization]
        if self.cache is None:
            return _session(file.path, file.content, level, providers, options, limited, file.is_ours)
        cached = Path(self.cache) / f"{_key(file.content, level, providers, options)}.onnx"
        optimized = _read_entry(cached)
        if optimized is None:
            cached.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(cached) as temporary:
                _session(file.path, file.content, level, providers, options, limited, file.is_ours, save_as=temporary)
                optimized = temporary.read_bytes()
                temporary.write_bytes(optimized + hashlib.sha256(optimized).digest())
        return _session(cached, optimized, "ORT_DISABLE_ALL", providers, options, limited)

    def _providers(self) -> tuple[list[str], list[dict[str, Any]]]:
        if _installed("onnxruntime") and _installed("onnxruntime-gpu"):
            warnings.warn(
                "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; "
                "uninstall both, then install one",
                RuntimeWarning,
                stacklevel=6,
            )
        if self.device not in _BY_DEVICE:
            raise SpecError(f"device: must be 'cpu' or 'cuda', got {self.device!r}")
        if self.providers is not None and (isinstance(self.providers, str) or not self.providers):
            raise SpecError(f"providers: expected a list of onnxruntime's names, got {self.providers!r}")
        providers = list(_BY_DEVICE[self.device] if self.providers is None else self.providers)
        if self.device == "cuda" and "CUDAExecutionProvider" not in providers:
            raise SpecError(f"device: 'cuda' needs CUDAExecutionProvider among the providers, got {providers}")
        options = [dict(given) for given in self.provider_options or [{} for _ in providers]]
        if len(options) != len(providers):
            raise SpecError(
                f"provider_options: expected a dict for each of {', '.join(providers)}, got {len(options)} of them"
            )
        available = onnxruntime.get_available_providers()
        for name in providers:
            if name not in available:
                where = f"device {self.device!r}" if self.providers is None else f"providers {name!r}"
                raise MissingExtra(
                    f"{where}: this onnxruntime has no {name}, only {', '.join(available)}; "
                    f"pip uninstall onnxruntime, then {install_command('gpu')}, or the build that has it"
                )
        return providers, options


def _read_entry(cached: Path) -> bytes | None:
    """Return an optimized graph of the cache, without its checksum; None if it is not there as it was written."""
    if not cached.is_file():
        return None
    content = cached.read_bytes()
    graph, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    return graph if checksum == hashlib.sha256(graph).digest() else None


def _session(
    path: Path,
    source: bytes,
    level: str,
    providers: list[str],
    provider_options: list[dict[str, Any]],
    limited: bool,
    is_ours: bool = False,
    save_as: Path | None = None,
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # all errors are raised; a log would print the names in the file as they are
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    # Bytes can be an ONNX file and a file in onnxruntime's own format, which nobody has checked, at the same time.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    if is_ours:  # no node is quantized, so these passes over the graph find nothing: 5 % of the time of loading
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.add_session_config_entry("session.disable_double_qdq_remover", "1")
    # For `placement`; it costs nothing.
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if limited:
        _limit_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
    if save_as is not None:
        options.optimized_model_filepath = str(save_as)
    try:
        # onnxruntime's own fallback would read the file again and continue with other providers.
        session = onnxruntime.InferenceSession(
            source, options, providers=providers, provider_options=provider_options, enable_fallback=0
        )
    except Exception as error:  # noqa: BLE001 (onnxruntime raises a dozen classes of errors)
        remedy = "; is it the exported file?" if "INVALID_PROTOBUF" in str(error) else ""
        raise ModelFileError(f"{path}: onnxruntime cannot open it: {error}{remedy}") from None
    for name in providers:
        if name not in session.get_providers():
            raise MissingExtra(
                f"{name}: onnxruntime could not start it; its libraries are missing or of another version"
            )
    return session


@cache
def _limit_memory() -> None:
    """Make the memory of this process that limited sessions share."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    keys = ("arena_extend_strategy", "initial_chunk_size_bytes", "max_dead_bytes_per_chunk")
    onnxruntime.create_and_register_allocator(
        memory, onnxruntime.OrtArenaCfg(dict.fromkeys(keys, -1) | {"max_mem": LIMITED_BYTES})
    )


def _key(content: bytes, level: str, providers: list[str], options: list[dict[str, Any]]) -> str:
    """Hash all that the optimized graph depends on; with level "all" it depends on the processor, too."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    flags = [line for line in lines if line.startswith(("flags", "Features"))]
    about = {
        "onnxruntime": [onnxruntime.__version__, onnxruntime.get_build_info()],
        "level": level,
        "providers": [providers, options],
        "processor": [platform.machine(), platform.processor(), *flags[:1]],
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode() + content).hexdigest()


def _installed(distribution: str) -> bool:
    """Whether a distribution is installed beside this onnxruntime; importing importlib.metadata would take 12 ms."""
    return distribution.replace("-", "_") in _distributions(onnxruntime.__file__)


@cache
def _distributions(package: str) -> set[str]:
    return {path.name.partition("-")[0] for path in Path(package).parent.parent.glob("*.dist-info")}


def cannot_run(path: Path, error: Exception) -> ModelFileError:
    """Return the error for a run that failed: onnxruntime raises a dozen classes of errors, also for too much data."""
    remedy = ""
    if "Available memory" in str(error):
        remedy = (
            f"; files of add_states may use {LIMITED_BYTES >> 20} MiB at a time: give shorter sequences, or stream "
            "them in chunks. If you trust the file, allow_changed=True, or --allow-changed, lifts the limit"
        )
    return ModelFileError(f"{path}: onnxruntime cannot run it with these sequences: {error!s:.1000}{remedy}")


def bind(session: onnxruntime.InferenceSession, reads: Mapping[str, Array], writes: Mapping[str, Array]) -> Any:
    """Bind inputs and outputs to arrays. The binding holds only their addresses: the caller must keep the arrays."""
    binding = session.io_binding()
    assert all(array.flags.c_contiguous for array in (*reads.values(), *writes.values()))
    for name, array in reads.items():
        binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    for name, array in writes.items():
        binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    return binding
