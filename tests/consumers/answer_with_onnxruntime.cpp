// Run a package's graph with ONNX Runtime in C++: GRAPH OUTPUTS THREADS LEVEL ARENA [KEY=VALUE ...], and batches on standard input.
//
// OUTPUTS are names with commas between them; what follows is what edgeprune.json has under `session`. The first line of the input has
// the names of the inputs. For each batch, a line has its size (texts, tokens), and then each input has a line. For each
// batch, each output gets a line with its size and one with its numbers; a batch that fails gets one line.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

template <typename T>
std::vector<T> read_all(std::istream& stream) {
  std::vector<T> found;
  for (T one; stream >> one;) found.push_back(one);
  return found;
}

std::vector<std::string> split(std::string text, char separator) {
  std::replace(text.begin(), text.end(), separator, ' ');
  std::istringstream stream(text);
  return read_all<std::string>(stream);
}

std::vector<const char*> pointers(const std::vector<std::string>& texts) {
  std::vector<const char*> found;
  for (const auto& text : texts) found.push_back(text.c_str());
  return found;
}

template <typename T>
void print(const std::vector<T>& numbers) {
  for (size_t i = 0; i < numbers.size(); ++i) std::cout << (i ? " " : "") << numbers[i];
  std::cout << '\n';
}

int main(int count, char** arguments) {
  Ort::Env env(ORT_LOGGING_LEVEL_FATAL, "consumer");
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(std::stoi(arguments[3]));
  const std::string level = arguments[4];
  options.SetGraphOptimizationLevel(level == "all" ? ORT_ENABLE_ALL : level == "extended" ? ORT_ENABLE_EXTENDED : ORT_ENABLE_BASIC);
  if (std::string(arguments[5]) == "false") options.DisableCpuMemArena();
  for (int i = 6; i < count; ++i) {
    const std::string entry = arguments[i];
    options.AddConfigEntry(entry.substr(0, entry.find('=')).c_str(), entry.substr(entry.find('=') + 1).c_str());
  }
  Ort::Session session(env, arguments[1], options);
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const auto outputs = split(arguments[2], ',');
  std::cout.precision(std::numeric_limits<float>::max_digits10);

  std::string line;
  std::getline(std::cin, line);
  const auto inputs = split(line, ' ');
  while (std::getline(std::cin, line)) {
    std::istringstream size(line);
    const auto shape = read_all<int64_t>(size);
    std::vector<std::vector<int64_t>> values;
    std::vector<Ort::Value> tensors;
    for (size_t i = 0; i < inputs.size(); ++i) {
      std::getline(std::cin, line);
      std::istringstream numbers(line);
      values.push_back(read_all<int64_t>(numbers));
      tensors.push_back(Ort::Value::CreateTensor<int64_t>(memory, values.back().data(), values.back().size(), shape.data(), shape.size()));
    }
    try {
      const auto found = session.Run(
          Ort::RunOptions{nullptr}, pointers(inputs).data(), tensors.data(), tensors.size(), pointers(outputs).data(), outputs.size());
      for (const auto& output : found) {
        const auto info = output.GetTensorTypeAndShapeInfo();
        const float* data = output.GetTensorData<float>();
        print(info.GetShape());
        print(std::vector<float>(data, data + info.GetElementCount()));
      }
    } catch (const Ort::Exception& error) {
      std::string said = error.what();
      std::replace(said.begin(), said.end(), '\n', ' ');
      std::cout << said << '\n';
    }
  }
}
