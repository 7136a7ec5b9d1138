// Open a graph in onnxruntime-web: the same way in a page that answers and in one that measures.

// `options` are those of edgeprune's session options: level, arena, and config. `weights` are the files of the graph's weights,
// as `path` and `data`.
export function openSession(ort, graph, weights, { level, arena, config }) {
  return ort.InferenceSession.create(graph, {
    executionProviders: ['wasm'],
    graphOptimizationLevel: level,
    enableCpuMemArena: arena,
    logSeverityLevel: 3,
    externalData: weights,
    extra: config,
  });
}

// The first session takes these over, and later ones can't change them.
export function prepare(ort, threads, wasm) {
  ort.env.logLevel = 'error';
  Object.assign(ort.env.wasm, { numThreads: threads, wasmPaths: { wasm } });
}
