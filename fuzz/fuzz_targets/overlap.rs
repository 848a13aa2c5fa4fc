//! Any texts as what was sent and as its continuation: what goes on is what the definition says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use standin::gateway::rescue::overlap::{Cut, Cutter, MIN_OVERLAP};

#[path = "../../src/gateway/rescue/overlap/properties.rs"]
mod properties;

fuzz_target!(|input: &[u8]| properties::check_input(input));
