"""The story that some models tell, so that one can go on where another broke off.

What is asked of them shows how much of it was told: nothing, or the text of an assistant's message,
which comes last (a prefill) or before the user's request to go on (a turn).
"""

STORY = (
    "Standing in is an old trade. The understudy — äöü, 字 and 😀 included — learns\nevery line,"
    " waits in the wings, and is never named on the posters; yet when the voice on the stage"
    " breaks off in the middle of a word, the play goes on, and nobody in the house knows."
)
RUN_UP = 24  # characters that `repeats` says once more

TELLERS = {"tells", "breaks", "stalls", "errs", "no-prefill", "restarts", "repeats"}


def told(script, messages):
    """What a model says that is asked for the story, or for the rest of it."""
    begun = so_far(messages)
    assert STORY.startswith(begun), f"this is not how the story begins: {begun!r}"
    if script == "restarts":
        return STORY
    if script == "repeats":
        return STORY[max(0, len(begun) - RUN_UP) :]
    return STORY[len(begun) :]


def so_far(messages):
    """How much of the story a conversation shows."""
    answers = [message["content"] for message in messages if message["role"] == "assistant"]
    return answers[-1] if answers else ""


def is_prefilled(messages):
    return messages[-1]["role"] == "assistant"
