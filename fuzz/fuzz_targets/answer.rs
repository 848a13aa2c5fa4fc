//! Any bytes as an upstream's answer: how it is framed does not hang on the reads in which it comes, and a
//! connection is used again only if nothing is left on it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use standin::gateway::http1::properties;

fuzz_target!(|input: &[u8]| properties::check_input(input));
