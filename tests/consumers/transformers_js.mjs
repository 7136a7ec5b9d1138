// Answer texts or images with transformers.js, in Node or in a page, alone and in padded lists of 8.

// `transformers` is the module, `name` a class of it, `id` a folder that it finds, and `images` whether it reads images. The
// result has `alone`, the output of each input that is asked alone, `lists` those in lists, and `left`, what is said when a list of
// texts is padded on the left.
export async function answerAll(transformers, { name, id, images, device, contents }) {
  const read = await transformers[images ? 'AutoProcessor' : 'AutoTokenizer'].from_pretrained(id);
  const model = await transformers[name].from_pretrained(id, { device });

  // Each input's outputs; of a token's outputs, those that aren't padding's; of features, the mean of the tokens.
  async function outputs(some) {
    if (images) {
      const found = await model(await read(await Promise.all(some.map((one) => transformers.RawImage.read(one)))));
      return (found.logits ?? found.image_embeds).tolist();
    }
    const pairs = Array.isArray(some[0]);
    const first = pairs ? some.map(([one]) => one) : some;
    const inputs = read(first, { text_pair: pairs ? some.map(([, other]) => other) : null, padding: true, truncation: true });
    const found = await model(inputs);
    if (found.last_hidden_state) {
      return transformers.mean_pooling(found.last_hidden_state, inputs.attention_mask).normalize(2, -1).tolist();
    }
    const lengths = inputs.attention_mask.tolist().map((row) => row.filter(Boolean).length);
    if (found.start_logits) {
      const [start, end] = [found.start_logits.tolist(), found.end_logits.tolist()];
      return start.map((row, text) => row.slice(0, lengths[text]).map((one, token) => [one, end[text][token]]));
    }
    const rows = found.logits.tolist();
    return found.logits.dims.length === 2 ? rows : rows.map((row, text) => row.slice(0, lengths[text]));
  }

  const alone = [], lists = [];
  for (const content of contents) alone.push(...(await outputs([content])));
  for (let place = 0; place < contents.length; place += 8) lists.push(...(await outputs(contents.slice(place, place + 8))));
  if (images) return { alone, lists, left: null };
  read.padding_side = 'left';
  return { alone, lists, left: await outputs(contents.slice(0, 8)).then(() => 'answered', String) };
}
