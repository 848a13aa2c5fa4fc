// The OpenAI Node SDK reads streams that break: as one that didn't, or with an exception.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';

import OpenAI from 'openai';

import { ASK, RESCUES, scripts } from './rescues.mjs';
import { Stage } from './stage.mjs';

const TOOL = { type: 'function', function: { name: 'tell', parameters: { type: 'object' } } };
const WITH_USAGE = { stream: true, stream_options: { include_usage: true } };

/** Why a stream can't be gone on with. */
const HOPELESS = {
  'several choices': { n: 2 },
  'a tool call': { tools: [TOOL] },
  'structured output': { response_format: { type: 'json_object' } },
  'log probabilities': { logprobs: true },
  'nobody left': { model: 'rescue-by-nobody' },
  'stream_rescue: off': { model: 'rescue-off' },
};

let stage;
let client;

before(async () => {
  stage = await Stage.start();
  client = new OpenAI({ baseURL: `${stage.url}/v1`, apiKey: stage.key, maxRetries: 0, timeout: 10_000 });
});

beforeEach(() => stage.forget());

after(() => stage.stop());

for (const [model, asked] of RESCUES) {
  test(`the chunks of a rescued stream: ${model}`, async () => {
    const chunks = [];
    const stream = await client.chat.completions.create({ model, messages: ASK, ...WITH_USAGE });
    for await (const chunk of stream) chunks.push(chunk);
    const choices = chunks.flatMap((chunk) => chunk.choices);
    assert.equal(choices.map((choice) => choice.delta.content ?? '').join(''), stage.story);
    assert.deepEqual(choices.flatMap((choice) => choice.delta.role ?? []), ['assistant']);
    assert.deepEqual(choices.flatMap((choice) => choice.finish_reason ?? []), ['stop']);
    assert.deepEqual(distinct(chunks.map((chunk) => chunk.id)), ['chatcmpl-openai']);
    assert.deepEqual(distinct(chunks.map((chunk) => chunk.created)), [1700000000]);
    assert.deepEqual(distinct(chunks.map((chunk) => chunk.model)), distinct(await stage.models()));
    assert.equal(chunks.filter((chunk) => chunk.usage).length, 1);
    assert.deepEqual(await scripts(stage), asked);
  });

  test(`the completion of a rescued stream: ${model}`, async () => {
    const completion = await client.chat.completions.stream({ model, messages: ASK }).finalChatCompletion();
    assert.equal(completion.choices.length, 1);
    assert.equal(completion.choices[0].message.content, stage.story);
    assert.equal(completion.choices[0].finish_reason, 'stop');
    assert.equal(completion.id, 'chatcmpl-openai');
    assert.deepEqual(await scripts(stage), asked);
  });
}

for (const [why, options] of Object.entries(HOPELESS)) {
  const request = { model: 'rescue-by-prefill', messages: ASK, ...options };

  test(`what can't be rescued throws: ${why}`, async () => {
    let said = '';
    const finished = [];
    const reading = async () => {
      for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
        for (const choice of chunk.choices) {
          said += choice.delta.content ?? '';
          finished.push(...(choice.finish_reason ? [choice.finish_reason] : []));
        }
      }
    };
    await assert.rejects(reading, isBroken);
    assert.ok(stage.story.startsWith(said) && said !== stage.story, said);
    assert.deepEqual(finished, []);
    assert.equal((await stage.received()).length, why === 'nobody left' ? 2 : 1);
  });

  test(`what can't be rescued is no completion: ${why}`, async () => {
    await assert.rejects(client.chat.completions.stream(request).finalChatCompletion(), isBroken);
  });
}

function isBroken(error) {
  assert.ok(error instanceof OpenAI.APIError, `${error.constructor.name}: ${error}`);
  assert.match(error.message, /broke off/);
  return true;
}

function distinct(values) {
  return [...new Set(values)];
}
