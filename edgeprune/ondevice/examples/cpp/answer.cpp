// Answer texts with this package: ONNX Runtime runs the model, and onnxruntime-extensions the tokenizer in front of it.
//
//   answer PACKAGE "A text." "Another one."   one JSON object a line
//   answer PACKAGE --check                    replay the goldens: is this device computing the right thing?
//
// Exit codes are 0 for success, 2 for what can't be used, and 5 for a golden that has another answer now.

#include <nlohmann/json.hpp>
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

Json read_json(const fs::path& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path.string() + " can't be read");
  return Json::parse(file);
}

// What edgeprune.json says of the session: the options that won the race on the target.
Ort::SessionOptions session_options(const Json& wanted) {
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(wanted["threads"]);
  const std::string level = wanted["level"];
  options.SetGraphOptimizationLevel(level == "all" ? ORT_ENABLE_ALL : level == "extended" ? ORT_ENABLE_EXTENDED : ORT_ENABLE_BASIC);
  if (!wanted["arena"].get<bool>()) options.DisableCpuMemArena();
  for (const auto& [key, value] : wanted["config"].items()) {
    options.AddConfigEntry(key.c_str(), value.get<std::string>().c_str());
  }
  const char* library = std::getenv("ORT_EXTENSIONS");
  options.RegisterCustomOpsLibrary(fs::path(library ? library : "libortextensions.so").c_str());
  return options;
}

class Model {
 public:
  explicit Model(const fs::path& package)
      : about_(read_json(package / "edgeprune.json")),
        session_(env_, (fs::path(package) += ".text.onnx").c_str(), session_options(about_["session"])) {
    if (about_["task"] != "text-classification") {
      outputs_ = {about_["outputs"][0]};
    } else if (about_["problem_type"] == "regression") {
      outputs_ = {"value"};
    } else if (about_["problem_type"] == "multi_label_classification") {
      outputs_ = {"scores", "labels"};
    } else {
      outputs_ = {"scores", "label"};
    }
  }

  // {"label", "scores"}, {"labels", "scores"}, {"value"} or {"embedding"}. A run takes one text, because dynamic quantization
  // chooses its scales over a whole batch.
  Json answer(const std::string& text) {
    const int64_t one = 1;
    auto input = Ort::Value::CreateTensor(allocator_, &one, 1, ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING);
    input.FillStringTensorElement(text.c_str(), 0);
    const char* inputs[] = {"text"};
    std::vector<const char*> outputs;
    for (const auto& name : outputs_) outputs.push_back(name.c_str());
    const auto found = session_.Run(Ort::RunOptions{nullptr}, inputs, &input, 1, outputs.data(), outputs.size());

    const float* numbers = found[0].GetTensorData<float>();
    const size_t count = found[0].GetTensorTypeAndShapeInfo().GetElementCount();
    if (outputs_[0] == "value") return {{"value", numbers[0]}};
    if (outputs_.size() == 1) return {{"embedding", std::vector<float>(numbers, numbers + count)}};
    Json scores = Json::object(), chosen = Json::array();
    for (size_t i = 0; i < count; ++i) scores[about_["labels"][i].get<std::string>()] = numbers[i];
    const size_t labels = found[1].GetTensorTypeAndShapeInfo().GetElementCount();
    for (size_t i = 0; i < labels; ++i) chosen.push_back(found[1].GetStringTensorElement(i));
    return {{outputs_[1], outputs_[1] == "labels" ? chosen : chosen[0]}, {"scores", scores}};
  }

  // Whether a golden's text has the same answer now, within the tolerance of the package's precision.
  bool agrees(const Json& golden, double tolerance) {
    const Json now = answer(golden["text"]);
    if (outputs_.size() == 2 && now[outputs_[1]] != golden["decision"]) return false;
    std::vector<double> found;
    if (now.contains("value")) found = {now["value"].get<double>()};
    else if (now.contains("embedding")) found = now["embedding"].get<std::vector<double>>();
    else for (const auto& [label, score] : now["scores"].items()) found.push_back(score);

    std::vector<double> expected = golden["outputs"];
    if (found.size() != expected.size()) return false;
    if (outputs_.size() == 2) expected = scores_of(expected);
    double largest = 1;
    for (double one : expected) largest = std::max(largest, std::abs(one));
    for (size_t i = 0; i < found.size(); ++i) {
      if (!(std::abs(found[i] - expected[i]) <= tolerance * largest)) return false;  // NaN is no agreement
    }
    return true;
  }

 private:
  // The scores of a golden's logits.
  std::vector<double> scores_of(std::vector<double> logits) const {
    if (outputs_[1] == "labels") {
      for (double& one : logits) one = 1 / (1 + std::exp(-one));
      return logits;
    }
    const double most = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (double& one : logits) sum += one = std::exp(one - most);
    for (double& one : logits) one /= sum;
    return logits;
  }

  Json about_;
  Ort::Env env_{ORT_LOGGING_LEVEL_ERROR, "answer"};
  Ort::Session session_;
  Ort::AllocatorWithDefaultOptions allocator_;
  std::vector<std::string> outputs_;
};

int check(Model& model, const Json& record) {
  int failed = 0;
  for (const auto& golden : record["goldens"]) {
    if (model.agrees(golden, record["tolerance"])) continue;
    std::cerr << golden["text"] << ": another answer than when the package was made\n";
    ++failed;
  }
  std::cout << "goldens: " << (failed ? std::to_string(failed) + " failed" : "ok") << '\n';
  return failed ? 5 : 0;
}

int main(int count, char** arguments) {
  if (count < 3) {
    std::cerr << "usage: answer PACKAGE --check | TEXT...\n";
    return 2;
  }
  try {
    const auto package = fs::canonical(arguments[1]);
    Model model(package);
    if (std::string(arguments[2]) == "--check") return check(model, read_json(package / "goldens.json"));
    for (int i = 2; i < count; ++i) {
      Json line = {{"text", arguments[i]}};
      line.update(model.answer(arguments[i]));
      std::cout << line << std::endl;
    }
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
