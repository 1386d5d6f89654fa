// Reads one step per line from standard input, as numbers with commas between, and writes its result: the label, if
// there are classes, and the scores. The first line may be a header. A line that is no step gives nan and exit code 2.
// A model that cannot stream gets all lines as one sequence.
//
//     ./example [model.onnx] < sample_input.csv

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>

#include "seq2onnx.hpp"

namespace {

const std::vector<std::string> channels = {@CHANNELS@};  // names of the features; empty if they have none

std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  std::string cell;
  std::istringstream text(line);
  while (std::getline(text, cell, ',')) {
    const auto first = cell.find_first_not_of(" \t\r"), last = cell.find_last_not_of(" \t\r");
    cells.push_back(first == std::string::npos ? "" : cell.substr(first, last - first + 1));
  }
  if (!line.empty() && line.back() == ',') cells.emplace_back();
  return cells;
}

bool is_number(const std::string& cell, float& value) {
  char* end = nullptr;
  value = std::strtof(cell.c_str(), &end);
  return end != cell.c_str() && *end == '\0';
}

std::string quoted(const std::string& label) {
  if (label.find_first_of(",\"\r\n") == std::string::npos) return label;
  std::string text = "\"";
  for (char c : label) text += c == '"' ? std::string("\"\"") : std::string(1, c);
  return text + "\"";
}

// The column of each feature, if the line is a header. Throws std::invalid_argument if a channel lacks.
bool read_header(const std::vector<std::string>& cells, std::vector<std::size_t>& columns) {
  float value;
  bool is_empty = true;
  for (const auto& cell : cells) {
    if (is_number(cell, value)) return false;
    is_empty = is_empty && cell.empty();
  }
  if (is_empty) return false;
  for (std::size_t i = 0; i < channels.size(); ++i) {
    std::size_t place = 0;
    while (place < cells.size() && cells[place] != channels[i]) ++place;
    if (place == cells.size()) throw std::invalid_argument("line 1: has no column " + channels[i]);
    columns[i] = place;
  }
  return true;
}

void write(const seq2onnx::Model& model, const seq2onnx::Values& y) {
  const std::size_t size = model.outputs();
  if (y.empty()) std::puts("");  // a stride: no result at this step
  for (std::size_t row = 0; row + size <= y.size(); row += size) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < size; ++i) best = y[row + i] > y[row + best] ? i : best;
    if (!model.labels().empty()) std::printf("%s,", std::isnan(y[row]) ? "" : quoted(model.labels()[best]).c_str());
    for (std::size_t i = 0; i < size; ++i) std::printf("%.7g%s", static_cast<double>(y[row + i]), i + 1 < size ? "," : "\n");
  }
  std::fflush(stdout);
}

}  // namespace

int main(int count, char** arguments) {
  try {
    const auto model = seq2onnx::load(count > 1 ? arguments[1] : MODEL);
    std::unique_ptr<seq2onnx::Stream> stream(model.has_stream() ? new seq2onnx::Stream(model.stream()) : nullptr);
    seq2onnx::Rows sequence;
    std::vector<std::size_t> columns(model.features());
    std::iota(columns.begin(), columns.end(), std::size_t{0});
    std::string line;
    std::size_t number = 0, width = model.features();
    int code = 0;
    while (std::getline(std::cin, line)) {
      const auto cells = cells_of(line);
      ++number;
      if (cells.empty() || (cells.size() == 1 && cells[0].empty())) continue;
      if (number == 1 && read_header(cells, columns)) {
        width = cells.size();
        continue;
      }
      try {
        if (cells.size() != width) throw std::invalid_argument("expected " + std::to_string(width) + " numbers, got " + std::to_string(cells.size()));
        seq2onnx::Values x(model.features());
        for (std::size_t i = 0; i < x.size(); ++i) {
          const bool is_missing = model.may_lack_values() && cells[columns[i]].empty();
          if (is_missing) x[i] = NAN;
          if (!is_missing && !is_number(cells[columns[i]], x[i])) throw std::invalid_argument("expected a number, got " + cells[columns[i]]);
        }
        if (stream) {
          write(model, stream->step(x));
        } else {
          sequence.push_back(x);
        }
      } catch (const std::exception& error) {
        std::fprintf(stderr, "line %zu: %s\n", number, error.what());
        write(model, seq2onnx::Values(model.outputs(), NAN));
        code = 2;
      }
    }
    if (!stream) {
      for (const auto& row : model.predict(sequence)) write(model, row);
    }
    return code;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
