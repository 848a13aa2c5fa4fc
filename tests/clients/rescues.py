"""The streams that break and are gone on with, and those that can't be: what every client is shown.

A policy's name says how its first target breaks or its second goes on; standin.yaml has them, with
`claude-` before their names once more for the Messages API.
"""

from formats import words
from story import is_prefilled, so_far, told

ASK = [{"role": "user", "content": "Tell me about standing in."}]

# A policy, and who is asked to go on, in order, and how.
RESCUES = [
    ("rescue-by-turn", [("tells", "turn")]),
    ("rescue-by-prefill", [("tells", "prefill")]),
    ("rescue-by-refused-prefill", [("no-prefill", "prefill"), ("no-prefill", "turn")]),
    ("rescue-from-the-beginning", [("restarts", "turn")]),
    ("rescue-with-a-run-up", [("repeats", "turn")]),
    ("rescue-of-a-rescue", [("breaks", "prefill"), ("tells", "turn")]),
    ("rescue-after-an-error", [("tells", "prefill")]),
    ("rescue-after-a-stall", [("tells", "prefill")]),
]


def asked(stage):
    """Who was asked to go on, in order, and how."""
    first, *others = stage.received()
    assert not so_far(first.json["messages"])
    return [(script(request.model), manner(request.json["messages"])) for request in others]


def manner(messages):
    if not so_far(messages):
        return "anew"
    return "prefill" if is_prefilled(messages) else "turn"


def models(stage):
    """The models that were asked, in order, each once."""
    return list(dict.fromkeys(request.model for request in stage.received()))


def tokens(stage):
    """What the last one asked says of the tokens of its answer."""
    last = stage.received()[-1]
    return len(words(told(script(last.model), last.json["messages"])))


def script(model):
    return model.partition("-")[2]
