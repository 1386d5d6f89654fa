// Runs the cases of cases.txt in model.onnx, and writes the results.

#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <vector>

using Tensors = std::map<std::string, Ort::Value>;

static std::vector<char> content;  // of cases.bin
static const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
static const std::map<std::string, ONNXTensorElementDataType> types = {
    {"float32", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {"int32", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
    {"int64", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64},
};

static std::size_t width(ONNXTensorElementDataType type) { return type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 ? 8 : 4; }

// Reads the rest of a line: TYPE OFFSET DIMENSIONS…
static Ort::Value read(std::istringstream& line) {
  std::string type;
  std::size_t offset, count = 1;
  std::vector<std::int64_t> shape;
  line >> type >> offset;
  for (std::int64_t size; line >> size; count *= static_cast<std::size_t>(size)) shape.push_back(size);
  const auto kind = types.at(type);
  return Ort::Value::CreateTensor(memory, content.data() + offset, count * width(kind), shape.data(), shape.size(), kind);
}

struct Run {
  Tensors inputs;
  std::vector<std::string> names;
};

struct Case {
  Tensors states;
  std::vector<Run> runs;
};

int main() {
  try {
    std::ifstream binary("cases.bin", std::ios::binary), text("cases.txt");
    content.assign(std::istreambuf_iterator<char>(binary), {});
    content.push_back(0);  // so that there is an address even without numbers
    std::vector<Case> cases;
    for (std::string all, word, name; std::getline(text, all);) {
      std::istringstream line(all);
      line >> word >> name;
      if (word == "case") cases.emplace_back();
      if (word == "state") cases.back().states.emplace(name, read(line));
      if (word == "run") cases.back().runs.emplace_back();
      if (word == "in") cases.back().runs.back().inputs.emplace(name, read(line));
      if (word == "out") cases.back().runs.back().names.push_back(name);
    }
    Ort::Env environment(ORT_LOGGING_LEVEL_FATAL);
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    Ort::Session session(environment, "model.onnx", options);
    std::ofstream lines("results.txt"), bytes("results.bin", std::ios::binary);
    std::size_t size = 0;
    for (auto& [states, runs] : cases) {
      lines << "case\n";
      try {
        for (auto& run : runs) {
          std::vector<const char*> inputs, outputs;
          std::vector<OrtValue*> values, results(run.names.size());
          for (auto* tensors : {&run.inputs, &states}) {
            for (auto& [name, value] : *tensors) {
              inputs.push_back(name.c_str());
              values.push_back(value);
            }
          }
          for (const auto& name : run.names) outputs.push_back(name.c_str());
          Ort::ThrowOnError(Ort::GetApi().Run(session, nullptr, inputs.data(), values.data(), values.size(),
                                              outputs.data(), outputs.size(), results.data()));
          lines << "run\n";
          Tensors found;
          for (std::size_t i = 0; i < results.size(); ++i) {
            auto& value = found.emplace(run.names[i], Ort::Value(results[i])).first->second;
            const auto info = value.GetTensorTypeAndShapeInfo();
            const std::size_t length = info.GetElementCount() * width(info.GetElementType());
            std::string kind;
            for (const auto& [name, type] : types) kind = type == info.GetElementType() ? name : kind;
            lines << "out " << run.names[i] << ' ' << kind << ' ' << size;
            for (const auto dimension : info.GetShape()) lines << ' ' << dimension;
            lines << '\n';
            if (length) bytes.write(static_cast<const char*>(value.GetTensorRawData()), static_cast<std::streamsize>(length));
            size += length;
          }
          for (auto& [name, value] : states) value = std::move(found.at("new_" + name));
        }
      } catch (const std::exception& error) {
        std::string message = error.what();
        for (char& c : message) c = c == '\n' ? ' ' : c;
        lines << "error " << message << '\n';
      }
    }
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
