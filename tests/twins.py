"""A pool compared with a separate Stream for each of its streams; test_pool.py and tools/soak.py use it."""

from __future__ import annotations

import numpy as np
import pytest

import seq2onnx as s2o
from seq2onnx.runtime.slots import MAX_SLOTS
from tests.comparison import FLOAT32, close

ACTIONS = {"open": 2, "step": 6, "chunk": 2, "ragged": 6, "reset": 1, "close": 1, "finish": 1, "move": 1, "stale": 1}


class Twins:
    """Each call to a stream of the pool is repeated on a Stream, which must give the same answer.

    Args:
        model: the model.
        seed: of the random actions.
        most: streams that are open at the same time.
        capacity: of the pool at first.
        spoil: the share of steps in which some rows have a NaN. It is drawn for each step and not for each row: among
            thousands of rows one would always have a NaN, and no step would take the fast path.
    """

    def __init__(self, model: s2o.Predictor, seed: int, most: int = 8, capacity: int = 2, spoil: float = 0.3) -> None:
        self.model, self.rng, self.most, self.spoil = model, np.random.default_rng(seed), most, spoil
        self.pool = model.pool(capacity)
        self.alone: dict[int, s2o.Stream] = {}
        self.newest: dict[int, int] = {}  # the last id of each slot
        self.closed: int | None = None
        self.spoiling = False
        self.answers = self.clean_steps = 0

    def act(self) -> str:
        """Do a random action and return its name."""
        self.spoiling = bool(self.rng.random() < self.spoil)
        names = [name for name in ACTIONS if name != "finish" or self.model.lookahead]
        weights = np.array([ACTIONS[name] for name in names])
        name = str(self.rng.choice(names, p=weights / weights.sum()))
        if not self.alone or (name == "open" and len(self.alone) < self.most):
            name = "open"
            for _ in range(self.rng.integers(1, self.most - len(self.alone) + 1)):
                self.open()
        elif name != "open":
            getattr(self, name)(self.some())
        return name

    def some(self) -> np.ndarray:
        """Ids of some open streams in random order."""
        ids = np.array(list(self.alone))
        return self.rng.permutation(ids)[: self.rng.integers(1, len(ids) + 1)]

    def open(self) -> int:
        id = self.pool.open()
        assert self.newest.get(id % MAX_SLOTS, -1) < id, f"id {id} was there before"
        self.newest[id % MAX_SLOTS] = id
        self.alone[id] = self.model.stream()
        return id

    def close(self, ids) -> None:
        for id in ids[: max(1, len(ids) // 4)].tolist():
            self.pool.close(id)
            del self.alone[id]
            self.closed = id

    def stale(self, ids) -> None:
        """A step with a closed stream is refused for all streams in it."""
        if self.closed is not None:
            given = [self.data(None) for _ in range(len(ids) + 1)]
            x = {name: np.stack([row[name] for row in given]) for name in given[0]}
            with pytest.raises(s2o.StreamError, match=f"stream {self.closed}: is closed"):
                self.pool.step([*ids.tolist(), self.closed], x)

    def reset(self, ids) -> None:
        self.pool.reset(ids)
        for id in ids.tolist():
            self.alone[id].reset()

    def move(self, ids) -> None:
        """Continue a stream in another slot of the pool."""
        id = int(ids[0])
        new = self.open()
        self.pool.set_state(new, self.pool.state(id))
        self.alone[new] = self.alone[id].clone()
        self.close(ids[:1])

    def step(self, ids) -> None:
        self.clean_steps += not self.spoiling
        self.compare(ids, [self.data(None) for _ in ids], np.stack)

    def chunk(self, ids) -> None:
        steps = int(self.rng.integers(0, 5))
        self.compare(ids, [self.data(steps) for _ in ids], np.stack)

    def ragged(self, ids) -> None:
        self.compare(ids, [self.data(int(self.rng.integers(0, 6))) for _ in ids], list)

    def finish(self, ids) -> None:
        found = self.pool.finish(ids)
        self.same(found, [self.alone[id].finish() for id in ids.tolist()], "finish")

    def data(self, steps: int | None) -> dict[str, np.ndarray]:
        """One step (None) or a chunk for every input, sometimes with a NaN in it."""
        found = {}
        for entry in self.model.inputs:
            shape = (steps, *entry.shape) if entry.has_time and steps is not None else entry.shape
            tokens = entry.is_tokens
            x = self.rng.integers(-1, 8, shape) if tokens else self.rng.normal(size=shape).clip(-2, 2).astype("f")
            if not tokens and x.size and self.spoiling and self.rng.random() < 0.2:
                x.reshape(-1)[self.rng.integers(x.size)] = self.rng.choice([np.nan, np.inf, -np.inf])
            found[entry.layer] = entry.spell(x) if entry.takes_words else x
        return found

    def compare(self, ids, rows, join) -> None:
        """Step the streams in the pool and one at a time."""
        given = {name: join([row[name] for row in rows]) for name in rows[0]}
        found = self.pool.step(ids, given if len(given) > 1 else next(iter(given.values())))
        expected = []
        for id, row in zip(ids.tolist(), rows, strict=True):
            try:
                expected.append(self.alone[id].step(row))
            except s2o.DataError:
                expected.append(None)
        self.same(found, expected, "ragged" if join is list else "step")

    def same(self, found, expected, what) -> None:
        """Compare answers of the pool and of the streams; None stands for a refused step, answered with NaN."""
        outputs = self.model.model.outputs
        for output in outputs:
            name = output.layer
            together = found[name] if len(outputs) > 1 else found
            assert len(together) == len(expected)
            for y, own in zip(together, expected, strict=True):
                if own is None:
                    if y.dtype.kind == "f":  # tokens cannot be NaN
                        assert np.isnan(y).all(), f"{what} {name}: a number for what was refused"
                        assert len(y) == 1 or output.lengths_tensor is None
                else:
                    close(y, own[name] if len(outputs) > 1 else own, FLOAT32, f"{what} {name}", "pool")
        self.answers += len(expected)

    def check_states(self) -> None:
        """Compare the states in the pool with those of the streams."""
        assert sorted(self.pool.ids.tolist()) == sorted(self.alone)
        for id, stream in self.alone.items():
            found = self.pool.state(id)
            for name, own in stream.state.items():
                close(found[name], own, FLOAT32, f"{name} of {id}")
