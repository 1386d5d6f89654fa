"""Stream a sequence through an exported file with only numpy and onnxruntime.

Usage: python plain_onnxruntime.py MODEL.onnx SEQUENCE.npy

The file must have states, and the sequence is an array [time, features].
"""

import json
import sys

import numpy as np
import onnxruntime

cpu = ["CPUExecutionProvider"]
session = onnxruntime.InferenceSession(sys.argv[1], providers=cpu)
about = json.loads(session.get_modelmeta().custom_metadata_map["seq2onnx"])
states = about["states"]
state = {s["in"]: np.zeros([1, *s["shape"][1:]], s["dtype"]) for s in states}
names = ["y", *(s["out"] for s in states)]
for x in np.load(sys.argv[2]).astype(np.float32):
    feeds = {"x": x[None, None], **state}
    if about["signature"] == "full":
        feeds["lengths"] = np.array([1], np.int32)
    y, *new = session.run(names, feeds)
    state = dict(zip(state, new, strict=True))
    label = about["classes"][y.argmax()] if about["classes"] else ""
    print(json.dumps({"label": label, "scores": y.ravel().tolist()}))
