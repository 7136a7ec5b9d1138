import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import ai.onnxruntime.OrtSession.SessionOptions;
import ai.onnxruntime.OrtSession.SessionOptions.OptLevel;
import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/**
 * Answers texts with this package: ONNX Runtime runs the model, and onnxruntime-extensions the tokenizer in front of it.
 *
 * <pre>
 * Answer PACKAGE "A text." "Another one."   one JSON object a line
 * Answer PACKAGE --check                    replay the goldens: is this device computing the right thing?
 * </pre>
 *
 * Exit codes are 0 for success, 2 for what can't be used, and 5 for a golden that has another answer now.
 */
public final class Answer implements AutoCloseable {
  private static final Gson GSON = new Gson();

  private final JsonObject about;
  private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
  private final OrtSession session;

  /** What is asked of the graph: what the label is called (null where there is none), and the numbers. */
  private final String label;

  private final String numbers;

  public Answer(Path folder) throws IOException, OrtException {
    about = readJson(folder.resolve("edgeprune.json"));
    String kind = about.get("problem_type").isJsonNull() ? "" : about.get("problem_type").getAsString();
    boolean classes = about.get("task").getAsString().equals("text-classification") && !kind.equals("regression");
    label = !classes ? null : kind.equals("multi_label_classification") ? "labels" : "label";
    numbers = classes ? "scores" : kind.equals("regression") ? "value" : about.getAsJsonArray("outputs").get(0).getAsString();
    String graph = folder.resolveSibling(folder.getFileName() + ".text.onnx").toString();
    try (SessionOptions options = sessionOptions(about.getAsJsonObject("session"))) {
      session = environment.createSession(graph, options);
    }
  }

  /** What edgeprune.json says of the session: the options that won the race on the target. */
  private static SessionOptions sessionOptions(JsonObject wanted) throws OrtException {
    SessionOptions options = new SessionOptions();
    options.setIntraOpNumThreads(wanted.get("threads").getAsInt());
    options.setOptimizationLevel(OptLevel.valueOf(wanted.get("level").getAsString().toUpperCase(Locale.ROOT) + "_OPT"));
    options.setCPUArenaAllocator(wanted.get("arena").getAsBoolean());
    for (Map.Entry<String, JsonElement> entry : wanted.getAsJsonObject("config").entrySet()) {
      options.addConfigEntry(entry.getKey(), entry.getValue().getAsString());
    }
    String library = System.getenv("ORT_EXTENSIONS"); // on Android: OrtxPackage.getLibraryPath()
    options.registerCustomOpLibrary(library != null ? library : "libortextensions.so");
    return options;
  }

  /** The labels (null where the task has none), and the scores, the value or the embedding. */
  public record Reading(List<String> labels, float[] numbers) {}

  /** Reads one text: a run takes one, because dynamic quantization chooses its scales over a whole batch. */
  public Reading read(String text) throws OrtException {
    Set<String> wanted = label == null ? Set.of(numbers) : Set.of(numbers, label);
    try (OnnxTensor input = OnnxTensor.createTensor(environment, new String[] {text}, new long[] {1});
        OrtSession.Result found = session.run(Map.of("text", input), wanted)) {
      float[] values = ((OnnxTensor) found.get(numbers).orElseThrow()).getFloatBuffer().array();
      List<String> labels = label == null ? null : List.of((String[]) found.get(label).orElseThrow().getValue());
      return new Reading(labels, values);
    }
  }

  /** The answer as run.py has it: {label, scores}, {labels, scores}, {value} or {embedding}. */
  public Map<String, Object> answer(String text) throws OrtException {
    Reading reading = read(text);
    Map<String, Object> answer = new LinkedHashMap<>();
    answer.put("text", text);
    if (label == null) {
      answer.put(numbers.equals("value") ? "value" : "embedding", numbers.equals("value") ? reading.numbers[0] : reading.numbers);
      return answer;
    }
    Map<String, Float> scores = new LinkedHashMap<>();
    for (int i = 0; i < reading.numbers.length; i++) {
      scores.put(about.getAsJsonArray("labels").get(i).getAsString(), reading.numbers[i]);
    }
    answer.put(label, label.equals("label") ? reading.labels.get(0) : reading.labels);
    answer.put("scores", scores);
    return answer;
  }

  /** Whether a golden's text has the same answer now, within the tolerance of the package's precision. */
  public boolean agrees(JsonObject golden, double tolerance) throws OrtException {
    Reading now = read(golden.get("text").getAsString());
    if (label != null) {
      JsonElement said = GSON.toJsonTree(label.equals("label") ? now.labels.get(0) : now.labels);
      if (!said.equals(golden.get("decision"))) {
        return false;
      }
    }
    double[] expected = GSON.fromJson(golden.get("outputs"), double[].class);
    if (label != null) {
      expected = scores(expected);
    }
    double largest = 1;
    for (double one : expected) {
      largest = Math.max(largest, Math.abs(one));
    }
    if (now.numbers.length != expected.length) {
      return false;
    }
    for (int i = 0; i < expected.length; i++) {
      if (!(Math.abs(now.numbers[i] - expected[i]) <= tolerance * largest)) { // NaN is no agreement
        return false;
      }
    }
    return true;
  }

  /** The scores of a golden's logits. */
  private double[] scores(double[] logits) {
    double most = Double.NEGATIVE_INFINITY;
    for (double one : logits) {
      most = Math.max(most, one);
    }
    double[] found = new double[logits.length];
    double sum = 0;
    for (int i = 0; i < logits.length; i++) {
      found[i] = label.equals("labels") ? 1 / (1 + Math.exp(-logits[i])) : Math.exp(logits[i] - most);
      sum += found[i];
    }
    for (int i = 0; i < logits.length && label.equals("label"); i++) {
      found[i] /= sum;
    }
    return found;
  }

  @Override
  public void close() throws OrtException {
    session.close();
  }

  private static JsonObject readJson(Path path) throws IOException {
    return GSON.fromJson(Files.readString(path, StandardCharsets.UTF_8), JsonObject.class);
  }

  private static int check(Answer model, JsonObject record) throws OrtException {
    List<String> failed = new ArrayList<>();
    for (JsonElement golden : record.getAsJsonArray("goldens")) {
      if (!model.agrees(golden.getAsJsonObject(), record.get("tolerance").getAsDouble())) {
        failed.add(golden.getAsJsonObject().get("text").toString());
      }
    }
    for (String text : failed) {
      System.err.println(text + ": another answer than when the package was made");
    }
    System.out.println("goldens: " + (failed.isEmpty() ? "ok" : failed.size() + " failed"));
    return failed.isEmpty() ? 0 : 5;
  }

  private static int run(String[] arguments) throws IOException, OrtException {
    if (arguments.length < 2) {
      System.err.println("usage: Answer PACKAGE --check | TEXT...");
      return 2;
    }
    Path folder = Path.of(arguments[0]).toRealPath();
    try (Answer model = new Answer(folder)) {
      if (arguments[1].equals("--check")) {
        return check(model, readJson(folder.resolve("goldens.json")));
      }
      for (int i = 1; i < arguments.length; i++) {
        System.out.println(GSON.toJson(model.answer(arguments[i])));
      }
      return 0;
    }
  }

  public static void main(String[] arguments) {
    int code = 2;
    try {
      code = run(arguments);
    } catch (IOException | OrtException error) {
      System.err.println(error.getMessage());
    }
    System.exit(code);
  }
}
