// Answer typed texts with this folder's model. page.json says how: its keys are those of the package's edgeprune.json, and
// `graph`, `weights` and `facts`.
//
// `answer` gives what the package's run.py gives: {label, score, scores}, {labels, scores} or {value}; and `inputs`, the model's
// inputs for the text, a list of numbers each.

import * as ort from './ort.wasm.bundle.min.mjs';
import { openSession, prepare } from './session.mjs';
import { Tokenizer } from './tokenizers.min.mjs';

const MOST_SHOWN = 12;

const element = (id) => document.getElementById(id);
const here = (file) => new URL(file, import.meta.url).href;

async function fetched(file) {
  const response = await fetch(here(file));
  if (!response.ok) throw new Error(`${file} can't be fetched (${response.status})`);
  return response;
}

const json = async (file) => (await fetched(file)).json();
const bytes = async (file) => new Uint8Array(await (await fetched(file)).arrayBuffer());

async function load() {
  const config = await json('page.json');
  const [tokenizerJson, settings, graph, ...weights] = await Promise.all([
    json('tokenizer.json'), json('tokenizer_config.json'), bytes(config.graph), ...config.weights.map(bytes),
  ]);
  // Threads take a page that is isolated: its server sends Cross-Origin-Opener-Policy and Cross-Origin-Embedder-Policy.
  prepare(ort, crossOriginIsolated ? config.session.threads : 1, here('ort-wasm-simd-threaded.wasm'));
  const beside = config.weights.map((file, place) => ({ path: file, data: weights[place] }));
  const session = await openSession(ort, graph, beside, config.session);
  return { config, session, tokenizer: new Tokenizer(tokenizerJson, settings) };
}

// How many tokens of each text stay where `room` is left, as the package's tokenizer cuts them.
function lengths(tokens, room, strategy) {
  const [first, second = []] = tokens.map((one) => one.length);
  const over = first + second - room;
  if (tokens.length === 1) return [Math.min(first, room)];
  if (over <= 0) return [first, second];
  if (strategy === 'only_first') return [Math.max(0, first - over), second];
  if (strategy === 'only_second') return [first, Math.max(0, second - over)];
  let [short, long] = first > second ? [second, first] : [first, second];
  long = short > room ? short : Math.max(short, room - short);
  if (short + long > room) [short, long] = [Math.floor(room / 2), Math.ceil(room / 2)];
  return first > second ? [long, short] : [short, long];
}

function encode({ config, tokenizer }, texts) {
  const all = texts.map((text) => tokenizer.tokenize(text));
  const finish = ([first, second = null]) =>
    tokenizer.post_processor?.(first, second, true) ?? { tokens: [...first, ...(second ?? [])] };
  const special = finish(all).tokens.length - all.flat().length;
  const left = lengths(all, config.max_length - special, config.truncation);
  const cut = all.map((tokens, place) =>
    config.truncation_side === 'left' ? tokens.slice(tokens.length - left[place]) : tokens.slice(0, left[place]));
  const { tokens, token_type_ids } = finish(cut);
  return {
    input_ids: tokens.map((token) => tokenizer.token_to_id(token) ?? tokenizer.model.unk_token_id),
    attention_mask: tokens.map(() => 1),
    token_type_ids: token_type_ids ?? tokens.map(() => 0),
  };
}

export function read(logits, { labels, problem_type: kind }) {
  if (kind === 'regression') return { value: logits[0] };
  const byLabel = (scores) => Object.fromEntries(labels.map((label, place) => [label, scores[place]]));
  if (kind === 'multi_label_classification') {
    const scores = logits.map((one) => 1 / (1 + Math.exp(-one)));
    return { labels: labels.filter((_, place) => scores[place] > 0.5), scores: byLabel(scores) };
  }
  const largest = Math.max(...logits);
  const powers = logits.map((one) => Math.exp(one - largest));
  const sum = powers.reduce((one, other) => one + other);
  const scores = powers.map((one) => one / sum);
  const best = scores.indexOf(Math.max(...scores));
  return { label: labels[best], score: scores[best], scores: byLabel(scores) };
}

async function answer(model, texts) {
  const began = performance.now();
  const encoded = encode(model, texts);
  const inputs = Object.fromEntries(model.config.inputs.map((name) => [name, encoded[name]]));
  const feed = Object.fromEntries(Object.entries(inputs).map(([name, values]) =>
    [name, new ort.Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length])]));
  const found = await model.session.run(feed);
  const logits = Array.from(found[model.config.outputs[0]].data, Number);
  return { ...read(logits, model.config), inputs, ms: performance.now() - began };
}

const percent = (score) => `${(100 * score).toFixed(1)} %`;

function show(found) {
  const { label, labels, scores = {}, value } = found;
  element('label').textContent = label ?? (labels ? labels.join(', ') || 'None of the labels' : value.toPrecision(4));
  const ranked = Object.entries(scores).sort(([, one], [, other]) => other - one).slice(0, MOST_SHOWN);
  element('scores').replaceChildren(...ranked.map(([name, score]) => {
    const [item, named, bar, filled, number] = ['li', 'span', 'span', 'span', 'span'].map((tag) => document.createElement(tag));
    [named.className, bar.className, number.className] = ['name', 'bar', 'score'];
    named.textContent = name;
    number.textContent = percent(score);
    filled.style.width = `${100 * score}%`;
    bar.append(filled);
    bar.ariaHidden = 'true';
    item.append(named, bar, number);
    return item;
  }));
  const left = Object.keys(scores).length - ranked.length;
  const more = left > 0 ? `${left} more labels have lower scores. ` : '';
  element('time').textContent = `${more}${found.inputs.input_ids.length} tokens, answered in ${found.ms.toFixed(1)} ms.`;
  element('answer').hidden = false;
}

function say(words, isFault = false) {
  element('status').textContent = words;
  element('status').classList.toggle('fault', isFault);
}

async function start() {
  say('Loading the model…');
  const model = await load();
  const { config } = model;
  await answer(model, config.pair ? ['a', 'a'] : ['a']); // the first run compiles what later ones need
  const texts = () => [element('first').value, ...(config.pair ? [element('second').value] : [])];
  document.title = config.name;
  element('name').textContent = config.name;
  element('first-label').textContent = config.pair ? 'First text' : 'Text';
  element('pair').hidden = !config.pair;
  element('facts').textContent = `${config.facts} Loaded in ${(performance.now() / 1000).toFixed(1)} s.`;
  element('ask').disabled = false;
  say('');
  element('form').addEventListener('submit', async (event) => {
    event.preventDefault();
    if (!texts().every((text) => text.trim())) {
      element('answer').hidden = true;
      say(config.pair ? 'Type both texts first.' : 'Type a text first.', true);
      return;
    }
    say('');
    try {
      show(await answer(model, texts()));
    } catch (fault) {
      element('answer').hidden = true;
      say(`This can't be answered: ${fault?.message ?? fault}`, true);
    }
  });
  element('form').addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) element('form').requestSubmit();
  });
  return (...given) => answer(model, given);
}

// The build asks it the package's own test texts.
globalThis.ready = start();
globalThis.ready.catch((fault) => say(`The model can't be loaded: ${fault?.message ?? fault}`, true));
