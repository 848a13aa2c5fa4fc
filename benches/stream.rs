//! What one chunk of a stream costs: cutting it into events, and reading what they mean.
//!
//! `cargo bench --bench stream`

use std::fmt;

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use standin::gateway::sse::Splitter;
use standin::policy::Format;
use standin::provider::stream::{StreamState, read};

fn main() {
    divan::main();
}

const CHAT: &str = "data: {\"id\":\"chatcmpl-AbCdEfGhIjKlMnOp\",\"object\":\"chat.completion.chunk\",\
    \"created\":1735689600,\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\
    \"finish_reason\":null}]}\n\n";
const CHAT_ALL: &str = "data: {\"id\":\"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz012\",\"object\":\"chat.completion.chunk\",\
    \"created\":1735689600,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_44709d6fcb\",\
    \"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"logprobs\":null,\"finish_reason\":null}],\
    \"usage\":null,\"obfuscation\":\"kLrJ2QYq\"}\n\n";
const MESSAGES: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\
    \"delta\":{\"type\":\"text_delta\",\"text\":\"Hello there\"}}\n\n";
const RESPONSES: &str = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\
    \"sequence_number\":17,\"item_id\":\"msg_685ce4b2a8\",\"output_index\":0,\"content_index\":0,\"delta\":\" word\",\"logprobs\":[]}\n\n";

#[derive(Debug)]
struct Chunk {
    name: &'static str,
    text: &'static str,
    format: Format,
}

impl fmt::Display for Chunk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, {} bytes", self.name, self.text.len())
    }
}

const CHUNKS: [Chunk; 4] = [
    Chunk {
        name: "chat",
        text: CHAT,
        format: Format::ChatCompletions,
    },
    Chunk {
        name: "chat, all members",
        text: CHAT_ALL,
        format: Format::ChatCompletions,
    },
    Chunk {
        name: "Messages",
        text: MESSAGES,
        format: Format::Messages,
    },
    Chunk {
        name: "Responses",
        text: RESPONSES,
        format: Format::Responses,
    },
];

/// Split alone, one event a read.
#[divan::bench(args = CHUNKS)]
fn split(bencher: Bencher<'_, '_>, chunk: &Chunk) {
    let mut splitter = Splitter::new();
    bencher
        .counter(BytesCount::of_str(chunk.text))
        .bench_local(|| {
            let batch = splitter.push(Bytes::from_static(chunk.text.as_bytes()));
            batch.events().count()
        });
}

/// Reading alone.
#[divan::bench(args = CHUNKS)]
fn meaning(bencher: Bencher<'_, '_>, chunk: &Chunk) {
    let batch = Splitter::new().push(Bytes::from_static(chunk.text.as_bytes()));
    let Some(event) = batch.events().next() else {
        return;
    };
    bencher
        .counter(BytesCount::of_str(chunk.text))
        .bench_local(|| read(chunk.format, black_box(event.name), black_box(&event.data)).meaning);
}

/// All that a relay does with a chunk: split, read, keep the text.
#[divan::bench(args = CHUNKS)]
fn relay(bencher: Bencher<'_, '_>, chunk: &Chunk) {
    let mut splitter = Splitter::new();
    let mut state = StreamState::new(chunk.format);
    bencher
        .counter(BytesCount::of_str(chunk.text))
        .bench_local(|| {
            let batch = splitter.push(Bytes::from_static(chunk.text.as_bytes()));
            for event in batch.events() {
                black_box(state.observe(event.name, &event.data));
            }
            batch.bytes
        });
}
