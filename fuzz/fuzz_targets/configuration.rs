//! Any text as a configuration: it is read, or refused with errors that have a line of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use standin::config::parse;

#[path = "../../src/config/properties.rs"]
mod properties;

fuzz_target!(|text: &str| properties::check(text));
