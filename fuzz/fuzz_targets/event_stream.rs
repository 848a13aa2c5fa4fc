//! Any bytes as a stream of events, of every API: the reads in which they come make no difference, and
//! what is read of them stays bounded.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use standin::gateway::sse::{Batch, Splitter};
use standin::policy::Format;
use standin::provider::stream::{MAX_TEXT, StreamState};

#[path = "../../src/gateway/sse/properties.rs"]
mod properties;

fuzz_target!(|input: &[u8]| {
    properties::check_input(input);
    for format in FORMATS {
        let mut state = StreamState::new(format);
        let mut splitter = Splitter::new();
        for batch in [splitter.push(Bytes::copy_from_slice(input)), splitter.finish()] {
            for event in batch.events() {
                state.observe(event.name, &event.data);
            }
        }
        assert!(state.continuable().unwrap_or_default().len() <= MAX_TEXT);
        state.at_end();
    }
});

const FORMATS: [Format; 6] = [
    Format::ChatCompletions,
    Format::Completions,
    Format::Responses,
    Format::Messages,
    Format::GenerateContent,
    Format::Other,
];
