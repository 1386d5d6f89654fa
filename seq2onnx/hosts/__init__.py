"""Hosts: other runtimes, which run the same cases as onnxruntime here. A host is one function and its row in HOSTS."""

from seq2onnx.hosts.checking import HOSTS, check_host

__all__ = ["HOSTS", "check_host"]
