// Answer with transformers.js in a page: asked.json has what `answerAll` takes, and `answered` is the promise of its answer.

import * as transformers from './transformers.mjs';
import { answerAll } from './transformers_js.mjs';

Object.assign(transformers.env, { allowRemoteModels: false, allowLocalModels: true, localModelPath: '/', useBrowserCache: false });
transformers.env.useWasmCache = false;  // it would import its own code from a blob, which the page's policy forbids
transformers.env.backends.onnx.wasm.wasmPaths = '/wasm/';
transformers.env.backends.onnx.wasm.numThreads = 1;
globalThis.answered = fetch('asked.json').then((asked) => asked.json()).then((asked) => answerAll(transformers, asked));
