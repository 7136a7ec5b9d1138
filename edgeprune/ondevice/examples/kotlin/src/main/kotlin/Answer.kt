import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import ai.onnxruntime.OrtSession.SessionOptions
import com.google.gson.Gson
import com.google.gson.JsonObject
import java.io.File
import java.io.IOException
import kotlin.math.abs
import kotlin.math.exp
import kotlin.system.exitProcess

// Answer texts with this package: ONNX Runtime runs the model, and onnxruntime-extensions the tokenizer in front of it.
//
//   answer PACKAGE "A text." "Another one."   one JSON object a line
//   answer PACKAGE --check                    replay the goldens: is this device computing the right thing?
//
// Exit codes are 0 for success, 2 for what can't be used, and 5 for a golden that has another answer now.

private val gson = Gson()

private fun readJson(file: File): JsonObject = gson.fromJson(file.readText(), JsonObject::class.java)

/** What edgeprune.json says of the session: the options that won the race on the target. */
private fun sessionOptions(wanted: JsonObject) = SessionOptions().apply {
    setIntraOpNumThreads(wanted["threads"].asInt)
    setOptimizationLevel(SessionOptions.OptLevel.valueOf(wanted["level"].asString.uppercase() + "_OPT"))
    setCPUArenaAllocator(wanted["arena"].asBoolean)
    for ((key, value) in wanted.getAsJsonObject("config").entrySet()) addConfigEntry(key, value.asString)
    // On Android: OrtxPackage.getLibraryPath()
    registerCustomOpLibrary(System.getenv("ORT_EXTENSIONS") ?: "libortextensions.so")
}

class Model(folder: File) : AutoCloseable {
    private val about = readJson(folder.resolve("edgeprune.json"))
    private val kind = about["problem_type"].takeUnless { it.isJsonNull }?.asString
    private val labels = about.getAsJsonArray("labels").map { it.asString }

    /** What is asked of the graph: the label, where the task has one, and the numbers. */
    private val label = when {
        about["task"].asString != "text-classification" || kind == "regression" -> null
        kind == "multi_label_classification" -> "labels"
        else -> "label"
    }
    private val numbers = when {
        label != null -> "scores"
        kind == "regression" -> "value"
        else -> about.getAsJsonArray("outputs")[0].asString
    }
    private val environment = OrtEnvironment.getEnvironment()
    private val session = sessionOptions(about.getAsJsonObject("session")).use {
        environment.createSession("${folder.path}.text.onnx", it)
    }

    /** The labels, where the task has some, and the scores, the value or the embedding. */
    class Reading(val labels: List<String>, val numbers: List<Float>)

    /** Reads one text: a run takes one, because dynamic quantization chooses its scales over a whole batch. */
    fun read(text: String): Reading =
        OnnxTensor.createTensor(environment, arrayOf(text), longArrayOf(1)).use { input ->
            session.run(mapOf("text" to input), setOfNotNull(numbers, label)).use { found ->
                val values = (found[numbers].get() as OnnxTensor).floatBuffer
                val said = label?.let { (found[it].get().value as Array<*>).filterIsInstance<String>() }
                Reading(said.orEmpty(), List(values.remaining()) { values[it] })
            }
        }

    /** The answer as run.py has it: {label, scores}, {labels, scores}, {value} or {embedding}. */
    fun answer(text: String): Map<String, Any> {
        val reading = read(text)
        val found: Map<String, Any> = when {
            label != null -> mapOf(
                label to if (label == "label") reading.labels.single() else reading.labels,
                "scores" to labels.zip(reading.numbers).toMap(),
            )
            numbers == "value" -> mapOf("value" to reading.numbers.single())
            else -> mapOf("embedding" to reading.numbers)
        }
        return mapOf("text" to text) + found
    }

    /** Whether a golden's text has the same answer now, within the tolerance of the package's precision. */
    fun agrees(golden: JsonObject, tolerance: Double): Boolean {
        val now = read(golden["text"].asString)
        if (label != null) {
            val said = gson.toJsonTree(if (label == "label") now.labels.single() else now.labels)
            if (said != golden["decision"]) return false
        }
        val outputs = golden.getAsJsonArray("outputs").map { it.asDouble }
        val expected = if (label == null) outputs else scores(outputs)
        val largest = maxOf(1.0, expected.maxOf { abs(it) })
        // Written so that a number that is NaN is no agreement.
        return now.numbers.size == expected.size &&
            now.numbers.zip(expected).all { (one, other) -> abs(one - other) <= tolerance * largest }
    }

    /** The scores of a golden's logits. */
    private fun scores(logits: List<Double>): List<Double> {
        if (label == "labels") return logits.map { 1 / (1 + exp(-it)) }
        val powers = logits.map { exp(it - logits.max()) }
        return powers.map { it / powers.sum() }
    }

    override fun close() = session.close()
}

private fun check(model: Model, record: JsonObject): Int {
    val tolerance = record["tolerance"].asDouble
    val failed = record.getAsJsonArray("goldens").map { it.asJsonObject }.filterNot { model.agrees(it, tolerance) }
    for (golden in failed) System.err.println("${golden["text"]}: another answer than when the package was made")
    println("goldens: " + if (failed.isEmpty()) "ok" else "${failed.size} failed")
    return if (failed.isEmpty()) 0 else 5
}

private fun run(arguments: Array<String>): Int {
    if (arguments.size < 2) {
        System.err.println("usage: answer PACKAGE --check | TEXT...")
        return 2
    }
    val folder = File(arguments[0]).canonicalFile
    Model(folder).use { model ->
        if (arguments[1] == "--check") return check(model, readJson(folder.resolve("goldens.json")))
        for (text in arguments.drop(1)) println(gson.toJson(model.answer(text)))
    }
    return 0
}

fun main(arguments: Array<String>) {
    val code = try {
        run(arguments)
    } catch (error: IOException) {
        System.err.println(error.message)
        2
    } catch (error: OrtException) {
        System.err.println(error.message)
        2
    }
    exitProcess(code)
}
