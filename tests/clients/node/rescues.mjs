// The streams that break and are gone on with, as ../rescues.py has them.

export const ASK = [{ role: 'user', content: 'Tell me about standing in.' }];

/** A policy, and the scripts of the models that are asked, in order. */
export const RESCUES = [
  ['rescue-by-turn', ['breaks', 'tells']],
  ['rescue-by-prefill', ['breaks', 'tells']],
  ['rescue-by-refused-prefill', ['breaks', 'no-prefill', 'no-prefill']],
  ['rescue-from-the-beginning', ['breaks', 'restarts']],
  ['rescue-with-a-run-up', ['breaks', 'repeats']],
  ['rescue-of-a-rescue', ['breaks', 'breaks', 'tells']],
  ['rescue-after-an-error', ['errs', 'tells']],
  ['rescue-after-a-stall', ['stalls', 'tells']],
];

/** What the models do that were asked. */
export async function scripts(stage) {
  return (await stage.models()).map((model) => model.slice(model.indexOf('-') + 1));
}
