//! Any bytes as an error's body: what is read of it is bounded.

#![no_main]

use libfuzzer_sys::fuzz_target;
use standin::provider::read_error_body;

#[path = "../../src/provider/error_body/properties.rs"]
mod properties;

fuzz_target!(|body: &[u8]| properties::check(body));
