"""The public names and the module of each: read by type checkers, and by __init__.py when it resolves a name."""

from seq2onnx import (
    data as data,
    datasets as datasets,
    errors as errors,
    layers as layers,
    plots as plots,
    runtime as runtime,
    templates as templates,
    training as training,
)
from seq2onnx.building import SequenceModule as SequenceModule, append as append, build as build, without as without
from seq2onnx.data import SequenceDataset as SequenceDataset, Vocabulary as Vocabulary, padding_report as padding_report
from seq2onnx.errors import (
    DataError as DataError,
    ImportRefused as ImportRefused,
    MissingExtra as MissingExtra,
    ModelFileError as ModelFileError,
    NotStreamable as NotStreamable,
    Seq2OnnxError as Seq2OnnxError,
    Seq2OnnxWarning as Seq2OnnxWarning,
    ShapeError as ShapeError,
    SpecError as SpecError,
    StateError as StateError,
    StreamError as StreamError,
    WriteFailed as WriteFailed,
)
from seq2onnx.estimators import SequenceClassifier as SequenceClassifier, SequenceRegressor as SequenceRegressor
from seq2onnx.evaluation.alarm_tuning import AlarmTuning as AlarmTuning, tune_alarm as tune_alarm
from seq2onnx.evaluation.backtesting import Backtest as Backtest, backtest as backtest
from seq2onnx.evaluation.comparison import compare_files as compare_files
from seq2onnx.evaluation.importance import importance as importance
from seq2onnx.evaluation.scores import evaluate as evaluate
from seq2onnx.exporting import export as export, restore as restore
from seq2onnx.importing import (
    add_states as add_states,
    from_keras as from_keras,
    from_onnx as from_onnx,
    from_torch as from_torch,
)
from seq2onnx.layers import *  # noqa: F403
from seq2onnx.network import Network as Network
from seq2onnx.packaging import package as package
from seq2onnx.parity import verify as verify
from seq2onnx.runtime import (
    Predictor as Predictor,
    Stream as Stream,
    StreamPool as StreamPool,
    load as load,
    scores_to_labels as scores_to_labels,
)
from seq2onnx.sequences import PaddingPolicy as PaddingPolicy, tokenize as tokenize
from seq2onnx.training import (
    TrainingOptions as TrainingOptions,
    TrainingResult as TrainingResult,
    calibrate_quantiles as calibrate_quantiles,
    train as train,
)

__version__: str
__all__: list[str]
