// Runs an ONNX file that seq2onnx wrote. C++17; needs the C++ API of onnxruntime, 1.18 or newer.
//
//     auto model = seq2onnx::load("model.onnx");
//     auto stream = model.stream();
//     std::vector<float> scores = stream.step({0.1f, 0.2f});   // one step; its result
//     auto rows = model.predict({{0.1f, 0.2f}, {0.3f, 0.4f}});  // one whole sequence, a vector for each step
//
// Errors are exceptions below std::exception. A step that fails leaves the state as it was. A model may serve several
// threads; a stream belongs to one thread at a time.
#ifndef SEQ2ONNX_HPP
#define SEQ2ONNX_HPP

#include <onnxruntime_cxx_api.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace seq2onnx {

using Values = std::vector<float>;
using Rows = std::vector<Values>;

namespace detail {

inline Ort::Env& environment() {
  static Ort::Env found(ORT_LOGGING_LEVEL_ERROR, "seq2onnx");
  return found;
}

inline const Ort::MemoryInfo& memory() {
  static const Ort::MemoryInfo found = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  return found;
}

inline std::size_t product(const std::vector<std::int64_t>& shape, std::size_t first) {
  return std::accumulate(shape.begin() + static_cast<std::ptrdiff_t>(first), shape.end(), std::size_t{1},
                         [](std::size_t a, std::int64_t b) { return a * static_cast<std::size_t>(b); });
}

// Adds a code point to a text in UTF-8.
inline void append_utf8(std::string& text, unsigned code) {
  auto put = [&text](unsigned byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6), put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 0x3F)), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  }
}

// Reads a JSON list of strings and whole numbers: the key "classes" of the metadata.
inline std::vector<std::string> read_labels(const std::string& json) {
  std::vector<std::string> labels;
  auto hex = [&json](std::size_t at) { return static_cast<unsigned>(std::stoul(json.substr(at, 4), nullptr, 16)); };
  for (std::size_t i = 0; i < json.size(); ++i) {
    if (json[i] == '"') {
      std::string text;
      for (++i; i < json.size() && json[i] != '"'; ++i) {
        if (json[i] != '\\') {
          text += json[i];
        } else if (json[++i] == 'u') {
          unsigned code = hex(i + 1);
          i += 4;
          if (code >= 0xD800 && code < 0xDC00) {  // the first half of a surrogate pair
            code = 0x10000 + ((code - 0xD800) << 10) + (hex(i + 3) - 0xDC00);
            i += 6;
          }
          append_utf8(text, code);
        } else {
          const std::string from = "bfnrt", to = "\b\f\n\r\t";
          const std::size_t place = from.find(json[i]);
          text += place == std::string::npos ? json[i] : to[place];
        }
      }
      labels.push_back(text);
    } else if (json[i] == '-' || (json[i] >= '0' && json[i] <= '9')) {
      const std::size_t end = json.find_first_of(", ]", i);
      labels.push_back(json.substr(i, end - i));
      i = end - 1;
    }
  }
  return labels;
}

struct Tensor {
  std::string name;
  std::vector<std::int64_t> shape;
  ONNXTensorElementDataType type;
};

// An open file. Streams share it.
struct File {
  Ort::Session session;
  Tensor x{}, y{};
  std::vector<Tensor> states;
  std::vector<std::string> labels;
  bool takes_lengths = false, has_y_lengths = false;
  bool may_lack_values = false;  // NaN in x is a missing value

  explicit File(const std::string& path, const Ort::SessionOptions& options)
      : session(environment(), std::basic_string<ORTCHAR_T>(path.begin(), path.end()).c_str(), options) {
    Ort::AllocatorWithDefaultOptions allocator;
    auto tensor = [](auto name, Ort::TypeInfo info) {
      auto found = info.GetTensorTypeAndShapeInfo();
      return Tensor{name.get(), found.GetShape(), found.GetElementType()};
    };
    for (std::size_t i = 0; i < session.GetInputCount(); ++i) {
      Tensor found = tensor(session.GetInputNameAllocated(i, allocator), session.GetInputTypeInfo(i));
      if (found.name == "x") {
        x = found;
      } else if (found.name == "lengths") {
        takes_lengths = true;
      } else if (found.name.rfind("state_", 0) == 0) {
        states.push_back(found);
      } else {
        throw std::runtime_error(path + ": has the input " + found.name + "; expected x, lengths and states");
      }
    }
    for (std::size_t i = 0; i < session.GetOutputCount(); ++i) {
      Tensor found = tensor(session.GetOutputNameAllocated(i, allocator), session.GetOutputTypeInfo(i));
      if (found.name == "y") y = found;
      has_y_lengths = has_y_lengths || found.name == "y_lengths";
    }
    if (x.shape.size() < 2 || y.shape.size() < 2 || y.shape.size() > 3 ||
        (x.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT && x.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64)) {
      throw std::runtime_error(path + ": expected one input x of numbers, and one output y of vectors");
    }
    auto classes = session.GetModelMetadata().LookupCustomMetadataMapAllocated("classes", allocator);
    if (classes) labels = read_labels(classes.get());
    auto contract = session.GetModelMetadata().LookupCustomMetadataMapAllocated("seq2onnx", allocator);
    may_lack_values = contract && std::string(contract.get()).find("\"missing\": true") != std::string::npos;
  }

  std::size_t features() const { return product(x.shape, 2); }
  std::size_t outputs() const { return static_cast<std::size_t>(y.shape.back()); }
  bool per_step() const { return y.shape.size() == 3; }
  // How many steps each run takes; 0: any number.
  std::size_t fixed_steps() const { return x.shape[1] > 0 ? static_cast<std::size_t>(x.shape[1]) : 0; }

  void check(const float* from, std::size_t count) const {
    if (count % features() != 0) {
      throw std::invalid_argument("x: expected " + std::to_string(features()) + " numbers for each step, got " +
                                  std::to_string(count));
    }
    for (std::size_t i = 0; i < count && !may_lack_values; ++i) {
      if (!std::isfinite(from[i])) throw std::invalid_argument("x: contains NaN or infinity");
    }
  }
};

}  // namespace detail

// One sequence that arrives step by step, with its state.
class Stream {
 public:
  explicit Stream(std::shared_ptr<detail::File> file) : file_(std::move(file)) {
    if (file_->states.empty()) throw std::runtime_error("the file keeps no states; export it with signature full");
    for (auto& half : states_) {
      for (const auto& state : file_->states) half.emplace_back(detail::product(state.shape, 1));
    }
    for (int turn = 0; turn < 2; ++turn) {
      bindings_.emplace_back(file_->session);
      for (std::size_t i = 0; i < file_->states.size(); ++i) {
        bindings_[turn].BindInput(file_->states[i].name.c_str(), tensor(turn, i));
        bindings_[turn].BindOutput(("new_" + file_->states[i].name).c_str(), tensor(1 - turn, i));
      }
      bindings_[turn].BindOutput("y", detail::memory());
      if (file_->has_y_lengths) bindings_[turn].BindOutput("y_lengths", detail::memory());
    }
  }

  // Run one step [features], or a chunk of steps [steps · features]. Returns the results of the steps that have one,
  // [results · outputs]; of a network that answers for the sequence, the answer so far.
  Values step(const Values& x) {
    file_->check(x.data(), x.size());
    const std::size_t features = file_->features(), steps = x.size() / features, fixed = file_->fixed_steps();
    if (fixed == 0 || steps == 0) return steps == 0 ? Values() : run(x.data(), steps);
    if (steps % fixed != 0) {
      throw std::invalid_argument("x: expected a multiple of " + std::to_string(fixed) + " steps, got " +
                                  std::to_string(steps));
    }
    Values all;
    for (std::size_t first = 0; first < steps; first += fixed) {
      Values y = run(x.data() + first * features, fixed);
      if (!file_->per_step()) all.clear();
      all.insert(all.end(), y.begin(), y.end());
    }
    return all;
  }

  // Forget all steps.
  void reset() {
    for (auto& state : states_[turn_]) std::fill(state.begin(), state.end(), 0);
  }

 private:
  // A state, as floats or as counters: both have four bytes.
  Ort::Value tensor(int half, std::size_t i) {
    const auto& info = file_->states[i];
    shapes_.assign(info.shape.begin(), info.shape.end());
    shapes_[0] = 1;
    auto& memory = states_[half][i];
    return Ort::Value::CreateTensor(detail::memory(), memory.data(), memory.size() * sizeof(std::int32_t),
                                    shapes_.data(), shapes_.size(), info.type);
  }

  Values run(const float* x, std::size_t steps) {
    auto& binding = bindings_[turn_];
    std::vector<std::int64_t> shape = file_->x.shape;
    shape[0] = 1;
    shape[1] = static_cast<std::int64_t>(steps);
    const std::size_t count = steps * file_->features();
    if (file_->x.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64) {
      tokens_.assign(x, x + count);
      binding.BindInput("x", Ort::Value::CreateTensor<std::int64_t>(detail::memory(), tokens_.data(), count,
                                                                    shape.data(), shape.size()));
    } else {
      binding.BindInput("x", Ort::Value::CreateTensor<float>(detail::memory(), const_cast<float*>(x), count,
                                                             shape.data(), shape.size()));
    }
    if (file_->takes_lengths) {
      length_ = static_cast<std::int32_t>(steps);
      const std::int64_t one = 1;
      binding.BindInput("lengths",
                        Ort::Value::CreateTensor<std::int32_t>(detail::memory(), &length_, 1, &one, 1));
    }
    file_->session.Run(Ort::RunOptions{nullptr}, binding);
    for (std::size_t i = 0; i < file_->states.size(); ++i) {
      if (file_->states[i].type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) continue;
      const float* values = reinterpret_cast<const float*>(states_[1 - turn_][i].data());
      for (std::size_t j = 0; j < states_[1 - turn_][i].size(); ++j) {
        if (!std::isfinite(values[j])) throw std::range_error("x: makes the state infinite");
      }
    }
    turn_ = 1 - turn_;
    auto results = binding.GetOutputValues();  // in the order in which they were bound
    const std::size_t y_place = file_->states.size();
    const float* y = results[y_place].GetTensorData<float>();
    std::size_t rows = file_->per_step() ? static_cast<std::size_t>(results[y_place].GetTensorTypeAndShapeInfo().GetShape()[1]) : 1;
    if (file_->has_y_lengths) rows = static_cast<std::size_t>(*results[y_place + 1].GetTensorData<std::int32_t>());
    return Values(y, y + rows * file_->outputs());
  }

  std::shared_ptr<detail::File> file_;
  std::vector<std::vector<std::int32_t>> states_[2];  // read and written in turn
  std::vector<Ort::IoBinding> bindings_;
  std::vector<std::int64_t> shapes_, tokens_;
  std::int32_t length_ = 1;
  int turn_ = 0;
};

// An open file.
class Model {
 public:
  explicit Model(std::shared_ptr<detail::File> file) : file_(std::move(file)) {}

  std::size_t features() const { return file_->features(); }                   // numbers of a step
  std::size_t outputs() const { return file_->outputs(); }                     // numbers of a result
  const std::vector<std::string>& labels() const { return file_->labels; }     // of the scores; empty without classes

  bool may_lack_values() const { return file_->may_lack_values; }              // NaN in x is then a missing value

  bool has_stream() const { return !file_->states.empty(); }                   // whether the file keeps states

  // A new stream, at its start.
  Stream stream() const { return Stream(file_); }

  // Run one whole sequence, a vector for each step. Returns a row for each result; one row where the network answers
  // for the sequence.
  Rows predict(const Rows& sequence) const {
    Values x;
    for (const auto& step : sequence) {
      if (step.size() != features()) {
        throw std::invalid_argument("sequence: expected " + std::to_string(features()) + " numbers in a step, got " +
                                    std::to_string(step.size()));
      }
      x.insert(x.end(), step.begin(), step.end());
    }
    if (sequence.empty()) throw std::invalid_argument("sequence: expected at least one step");
    const Values y = file_->states.empty() ? whole(x, sequence.size()) : stream().step(x);
    Rows rows;
    for (std::size_t i = 0; i < y.size(); i += outputs()) rows.emplace_back(y.begin() + i, y.begin() + i + outputs());
    return rows;
  }

 private:
  // Run a file without states.
  Values whole(Values& x, std::size_t steps) const {
    file_->check(x.data(), x.size());
    std::vector<std::int64_t> shape = file_->x.shape;
    shape[0] = 1;
    shape[1] = static_cast<std::int64_t>(steps);
    std::int32_t length = static_cast<std::int32_t>(steps);
    const std::int64_t one = 1;
    std::vector<std::int64_t> tokens(x.begin(), x.end());
    Ort::Value inputs[] = {
        file_->x.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64
            ? Ort::Value::CreateTensor<std::int64_t>(detail::memory(), tokens.data(), tokens.size(), shape.data(),
                                                     shape.size())
            : Ort::Value::CreateTensor<float>(detail::memory(), x.data(), x.size(), shape.data(), shape.size()),
        Ort::Value::CreateTensor<std::int32_t>(detail::memory(), &length, 1, &one, 1)};
    const char* names[] = {"x", "lengths"};
    const char* results[] = {"y", "y_lengths"};
    auto found = file_->session.Run(Ort::RunOptions{nullptr}, names, inputs, file_->takes_lengths ? 2 : 1, results,
                                    file_->has_y_lengths ? 2 : 1);
    const std::size_t rows = file_->has_y_lengths ? static_cast<std::size_t>(*found[1].GetTensorData<std::int32_t>())
                             : file_->per_step()  ? static_cast<std::size_t>(found[0].GetTensorTypeAndShapeInfo().GetShape()[1])
                                                  : 1;
    const float* y = found[0].GetTensorData<float>();
    return Values(y, y + rows * file_->outputs());
  }

  std::shared_ptr<detail::File> file_;
};

// Open a file. `options` are those of onnxruntime; without them, one thread.
inline Model load(const std::string& path, const Ort::SessionOptions& options) {
  return Model(std::make_shared<detail::File>(path, options));
}

inline Model load(const std::string& path) {
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  options.SetInterOpNumThreads(1);
  return load(path, options);
}

}  // namespace seq2onnx

#endif
