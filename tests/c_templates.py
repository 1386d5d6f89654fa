"""The templates of emx-onnx-cgen, compiled once in a process."""

from __future__ import annotations

import functools
from typing import ClassVar


def keep_templates(patch):
    """Let emx-onnx-cgen keep what jinja2 compiles; `patch` is a MonkeyPatch.

    Raises:
        ImportError: it is not installed.
    """
    import jinja2
    from emx_onnx_cgen.codegen import c_emitter

    class Kept(jinja2.BytecodeCache):
        """The compiled templates by name and content."""

        compiled: ClassVar[dict] = {}

        def load_bytecode(self, bucket):
            if (bucket.key, bucket.checksum) in self.compiled:
                bucket.bytecode_from_string(self.compiled[bucket.key, bucket.checksum])

        def dump_bytecode(self, bucket):
            self.compiled[bucket.key, bucket.checksum] = bucket.bytecode_to_string()

    made = functools.partial(c_emitter.Environment, bytecode_cache=Kept())
    patch.setattr(c_emitter, "Environment", made)
