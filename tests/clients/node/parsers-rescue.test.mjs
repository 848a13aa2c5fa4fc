// A parser that follows the standard to the letter reads rescued streams: eventsource-parser.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';

import { createParser } from 'eventsource-parser';

import { ASK, RESCUES, scripts } from './rescues.mjs';
import { Stage } from './stage.mjs';

let stage;

before(async () => {
  stage = await Stage.start();
});

beforeEach(() => stage.forget());

after(() => stage.stop());

/** What the parser tells of a stream; it throws where the parser objects, or the stream is cut. */
async function read(path, model, told = { events: [], comments: [] }) {
  const parser = createParser({
    onEvent: (event) => told.events.push(event),
    onComment: (comment) => told.comments.push(comment),
    onError: (error) => assert.fail(error),
  });
  const response = await fetch(stage.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${stage.key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, messages: ASK, max_tokens: 200, stream: true }),
  });
  const decoder = new TextDecoder('utf-8', { fatal: true });
  for await (const bytes of response.body) parser.feed(decoder.decode(bytes, { stream: true }));
  return told;
}

for (const [model, asked] of RESCUES) {
  test(`chat completions: ${model}`, async () => {
    const { events, comments } = await read('/v1/chat/completions', model);
    assert.equal(events.pop().data, '[DONE]');
    const chunks = events.map((event) => JSON.parse(event.data));
    const text = chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join('');
    assert.equal(text, stage.story);
    assert.match(comments.at(-1), /^ ?standin: continued by /);
    assert.deepEqual(await scripts(stage), asked);
  });

  test(`messages: ${model}`, async () => {
    const { events, comments } = await read('/v1/messages', `claude-${model}`);
    const data = events.map((event) => JSON.parse(event.data));
    assert.deepEqual(events.map((event) => event.event), data.map((value) => value.type));
    assert.equal(data.map((value) => value.delta?.text ?? '').join(''), stage.story);
    assert.equal(data.at(-1).type, 'message_stop');
    assert.match(comments.at(-1), /^ ?standin: continued by /);
    assert.deepEqual(await scripts(stage), asked);
  });
}

for (const [path, model] of [
  ['/v1/chat/completions', 'rescue-by-nobody'],
  ['/v1/messages', 'claude-rescue-by-nobody'],
]) {
  test(`what can't be rescued ends with an error and is cut: ${path}`, async () => {
    const told = { events: [], comments: [] };
    await assert.rejects(read(path, model, told), /terminated|aborted/);
    const { error } = JSON.parse(told.events.at(-1).data);
    assert.deepEqual([error.type, error.code], ['failover_error', 'stream_broken']);
  });
}
