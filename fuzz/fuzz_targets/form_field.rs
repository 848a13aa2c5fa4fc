//! Any bytes as a form with the boundary `X`: the model that is found is there, and replacing it
//! changes nothing else about the form.

#![no_main]

use libfuzzer_sys::fuzz_target;
use standin::gateway::form_field::{FormModel, find_form_model};

#[path = "../../src/gateway/form_field/properties.rs"]
mod properties;

fuzz_target!(|body: &[u8]| properties::check(body, "X"));
