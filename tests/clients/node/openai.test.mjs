// The OpenAI Node SDK through the gateway.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';

import OpenAI from 'openai';

import { Stage } from './stage.mjs';

const MESSAGES = [{ role: 'user', content: 'Who is the most renowned French painter?' }];
const GPT = 'I am gpt-4o, served by openai.';
const MISTRAL = 'I am mistral-small-latest, served by mistral.';

const FAILING = [
  ['gpt-unavailable', 'openai/gpt-unavailable=503'],
  ['gpt-nowhere', 'nowhere/gpt-nowhere=refused'],
  ['gpt-slow', 'openai/gpt-slow=timeout'],
  ['invalid-model', 'mistral/invalid-model=400:invalid_model'],
];

let stage;
let client;

before(async () => {
  stage = await Stage.start();
  client = clientWith(stage.key);
});

beforeEach(() => stage.forget());

afterEach(async () => assert.deepEqual(await stage.strays(), []));

after(() => stage.stop());

function clientWith(apiKey) {
  return new OpenAI({ baseURL: `${stage.url}/v1`, apiKey, maxRetries: 0, timeout: 10_000 });
}

function ask(model, options = {}) {
  return client.chat.completions.create({ model, messages: MESSAGES, ...options });
}

/** A stream's text and how it finished. */
async function read(stream) {
  let text = '';
  let finished = null;
  for await (const chunk of stream) {
    text += chunk.choices[0].delta.content ?? '';
    finished = chunk.choices[0].finish_reason ?? finished;
  }
  return { text, finished };
}

async function models(upstream) {
  return (await stage.received())
    .filter((request) => request.upstream === upstream)
    .map((request) => request.model);
}

test('an answer', async () => {
  const { data, response } = await ask('gpt-4o').withResponse();
  assert.equal(data.choices[0].message.content, GPT);
  assert.equal(data.model, 'gpt-4o');
  assert.equal(response.headers.get('x-standin-endpoint'), 'openai');
  assert.equal(response.headers.get('x-standin-model'), 'gpt-4o');
  assert.equal(response.headers.get('x-standin-attempts'), '1');
  assert.equal(response.headers.get('x-standin-failover'), null);
  assert.ok(response.headers.get('x-request-id'));
  assert.deepEqual(await models('openai'), ['gpt-4o']);
});

test('a stream', async () => {
  assert.deepEqual(await read(await ask('gpt-4o', { stream: true })), { text: GPT, finished: 'stop' });
});

for (const [model, reason] of FAILING) {
  test(`failover of an answer: ${model}`, async () => {
    const { data, response } = await ask(model).withResponse();
    assert.equal(data.choices[0].message.content, MISTRAL);
    assert.equal(data.model, 'mistral-small-latest');
    assert.equal(response.headers.get('x-standin-endpoint'), 'mistral');
    assert.equal(response.headers.get('x-standin-attempts'), '2');
    assert.equal(response.headers.get('x-standin-failover'), reason);
    assert.equal((await models('mistral')).at(-1), 'mistral-small-latest');
  });

  test(`failover of a stream: ${model}`, async () => {
    const { data, response } = await ask(model, { stream: true }).withResponse();
    assert.equal(response.headers.get('x-standin-failover'), reason);
    assert.deepEqual(await read(data), { text: MISTRAL, finished: 'stop' });
    assert.equal((await models('mistral')).at(-1), 'mistral-small-latest');
  });
}

test('the chat stream helper', async () => {
  const stream = client.chat.completions.stream({ model: 'gpt-unavailable', messages: MESSAGES });
  const completion = await stream.finalChatCompletion();
  assert.equal(completion.choices[0].message.content, MISTRAL);
});

test('embeddings pass through', async () => {
  const answer = await client.embeddings.create({ model: 'text-embedding-3-small', input: 'a text' });
  assert.deepEqual(answer.data[0].embedding, [0.25, -0.5, 1]);
  assert.deepEqual(await models('openai'), ['text-embedding-3-small']);
});

test('embeddings fail over', async () => {
  const answer = await client.embeddings.create({ model: 'embedding-unavailable', input: 'a text' });
  assert.deepEqual(answer.data[0].embedding, [0.25, -0.5, 1]);
  assert.equal(answer.model, 'mistral-embed');
});

test('the list of models', async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.deepEqual(names, ['gpt-4o', 'gpt-4o-mini']);
});

test('a wrong key is an AuthenticationError', async () => {
  const stranger = clientWith('nobodys-key');
  const request = { model: 'gpt-4o', messages: MESSAGES };
  const error = await raised(stranger.chat.completions.create(request), OpenAI.AuthenticationError);
  assert.equal(error.code, 'invalid_api_key');
  assert.deepEqual(await stage.received(), []);
});

test("the caller's fault is the target's own error", async () => {
  const error = await raised(ask('gpt-refusing'), OpenAI.BadRequestError);
  assert.equal(error.error.message, 'openai answers 400 for gpt-refusing');
  assert.equal(error.type, 'invalid_request_error');
  assert.deepEqual(await models('mistral'), []);
});

test('a model that nobody serves is a NotFoundError', async () => {
  const error = await raised(ask('gpt-of-nobody'), OpenAI.NotFoundError);
  assert.equal(error.code, 'model_not_found');
});

for (const stream of [false, true]) {
  test(`a rate limit at the end of the chain is a RateLimitError, stream: ${stream}`, async () => {
    const error = await raised(ask('all-rate-limited', { stream }), OpenAI.RateLimitError);
    assert.equal(error.headers.get('retry-after'), '7');
    assertExhausted(error, [503, 429]);
  });

  test(`a chain that fails is an InternalServerError, stream: ${stream}`, async () => {
    const error = await raised(ask('all-unavailable', { stream }), OpenAI.InternalServerError);
    assert.equal(error.status, 502);
    assert.match(error.error.message, /mistral answers 503 for mistral-unavailable/);
    assertExhausted(error, [503, 503]);
  });
}

test('a chain that is too slow is a 504', async () => {
  const error = await raised(ask('all-slow'), OpenAI.InternalServerError);
  assert.equal(error.status, 504);
  assertExhausted(error, [null, null]);
});

async function raised(promise, kind) {
  const error = await promise.then(() => assert.fail('nothing was thrown'), (error) => error);
  assert.ok(error instanceof kind, `${error.constructor.name}: ${error}`);
  return error;
}

function assertExhausted(error, statuses) {
  assert.equal(error.type, 'failover_error');
  assert.deepEqual(error.error.attempts.map((attempt) => attempt.status), statuses);
  assert.ok(error.requestID);
}

test('a stream that breaks never looks whole', async () => {
  let text = '';
  let finished = null;
  await assert.rejects(async () => {
    for await (const chunk of await ask('gpt-cut', { stream: true })) {
      text += chunk.choices[0].delta.content ?? '';
      finished = chunk.choices[0].finish_reason ?? finished;
    }
  });
  assert.ok(text && 'I am gpt-cut, served by openai.'.startsWith(text), text);
  assert.equal(finished, null);
  assert.deepEqual(await models('mistral'), []);
});
