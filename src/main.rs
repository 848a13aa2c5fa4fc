//! The `standin` command: see `standin::cli`.

use std::process::ExitCode;

/// It costs less CPU a request than the system's; see BENCHMARKS.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    standin::cli::main()
}
