//! Any bytes as a request body: `find_model` must agree with `serde_json` about the model in it,
//! and the rewritten body with the body about everything else.

#![no_main]

use libfuzzer_sys::fuzz_target;
use standin::gateway::model_field::{ModelField, ModelFieldError, find_model, splice};

#[path = "../../src/gateway/model_field/properties.rs"]
mod properties;

fuzz_target!(|body: &[u8]| properties::check(body));
