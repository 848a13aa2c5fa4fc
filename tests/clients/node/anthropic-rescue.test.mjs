// The Anthropic Node SDK reads streams that break: as one that didn't, or with an exception.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import { ASK, RESCUES, scripts } from './rescues.mjs';
import { Stage } from './stage.mjs';

const TOOL = { name: 'tell', input_schema: { type: 'object' } };
const SCHEMA = { type: 'json_schema', schema: { type: 'object' } };
const QUESTION = { messages: ASK, max_tokens: 200 };

/** Why a stream can't be gone on with. */
const HOPELESS = {
  'a tool call': { tools: [TOOL] },
  'structured output': { output_config: { format: SCHEMA } },
  'nobody left': { model: 'claude-rescue-by-nobody' },
  'stream_rescue: off': { model: 'claude-rescue-off' },
};

let stage;
let client;

before(async () => {
  stage = await Stage.start();
  client = new Anthropic({ baseURL: stage.url, apiKey: stage.key, maxRetries: 0, timeout: 10_000 });
});

beforeEach(() => stage.forget());

after(() => stage.stop());

for (const [policy, asked] of RESCUES) {
  const request = { model: `claude-${policy}`, ...QUESTION };

  test(`the events of a rescued stream: ${policy}`, async () => {
    const events = [];
    for await (const event of await client.messages.create({ ...request, stream: true })) events.push(event);
    const kinds = events.map((event) => event.type);
    assert.deepEqual(kinds.filter((kind) => kind !== 'content_block_delta'), [
      'message_start',
      'content_block_start',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ]);
    assert.equal(events.map((event) => event.delta?.text ?? '').join(''), stage.story);
    assert.equal(events[0].message.id, 'msg_anthropic');
    assert.equal(events.at(-2).delta.stop_reason, 'end_turn');
    assert.deepEqual(await scripts(stage), asked);
  });

  test(`the message of a rescued stream: ${policy}`, async () => {
    const message = await client.messages.stream(request).finalMessage();
    assert.deepEqual(message.content.map((block) => block.text), [stage.story]);
    assert.equal(message.id, 'msg_anthropic');
    assert.equal(message.stop_reason, 'end_turn');
    assert.deepEqual(await scripts(stage), asked);
  });
}

for (const [why, options] of Object.entries(HOPELESS)) {
  const request = { model: 'claude-rescue-by-prefill', ...QUESTION, ...options };

  test(`what can't be rescued throws: ${why}`, async () => {
    let said = '';
    const kinds = [];
    const reading = async () => {
      for await (const event of await client.messages.create({ ...request, stream: true })) {
        kinds.push(event.type);
        said += event.delta?.text ?? '';
      }
    };
    await assert.rejects(reading, isBroken);
    assert.ok(stage.story.startsWith(said) && said !== stage.story, said);
    assert.ok(!kinds.includes('message_delta') && !kinds.includes('message_stop'), `${kinds}`);
    assert.equal((await stage.received()).length, why === 'nobody left' ? 2 : 1);
  });

  test(`what can't be rescued is no message: ${why}`, async () => {
    await assert.rejects(client.messages.stream(request).finalMessage(), isBroken);
  });
}

function isBroken(error) {
  assert.ok(error instanceof Anthropic.APIError, `${error.constructor.name}: ${error}`);
  assert.match(error.message, /broke off/);
  return true;
}
