//! Streams: passed on as they come, held until their first content, ended so that nobody is misled.

mod endings;
mod first_content;
mod formats;
mod many;
mod pressure;
mod relay;
