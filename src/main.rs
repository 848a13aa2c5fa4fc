//! The `standin` command: see `standin::cli`.

use std::process::ExitCode;

/// Many streams at once hold less memory with it than with the system's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    standin::cli::main()
}
