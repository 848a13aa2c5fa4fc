//! How many instructions the hottest pure functions take: a count that a busy machine doesn't
//! change, so that a regression shows where times would not tell.
//!
//!     cargo bench --bench instructions               # held against instructions.txt
//!     cargo bench --bench instructions -- --write    # writes instructions.txt
//!
//! Each case runs once under valgrind's callgrind, which counts what happens inside [`counted`] and
//! nothing else. A case that takes over 5% more than `benches/instructions.txt` says fails. Another
//! compiler makes other instructions: where its version is not the one that the file was written
//! with, what differs is told and nothing fails.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark is a command, and one that can't run says so"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};

use standin::gateway::model_field::{find_model, splice};

mod cases;

/// How much a count may grow, in hundredths.
const TOLERANCE: u64 = 5;
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

/// A case: what it is called, and the preparation whose result is counted.
type Case = (&'static str, fn() -> Box<dyn FnMut()>);

const CASES: [Case; 9] = [
    ("scan and rewrite, 300 B", || rewriting(300)),
    ("scan and rewrite, 64 KiB", || rewriting(64 << 10)),
    ("scan and rewrite, 1 MiB", || rewriting(1 << 20)),
    ("route, 10 names", || by_name(10)),
    ("route, 100000 names", || by_name(100_000)),
    ("route, 10 patterns", || by_pattern(10)),
    ("route, 1000 patterns", || by_pattern(1_000)),
    ("choose of 2, 1 suspended", || choosing(2)),
    ("choose of 20, 19 suspended", || choosing(20)),
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--case", name] => run_case(name),
        _ if arguments.iter().any(|argument| argument == "--write") => write(),
        _ => compare(),
    }
}

/// What callgrind watches: the second of two runs. The first has looked at the processor's
/// features and touched the memory.
#[inline(never)]
fn counted(case: &mut dyn FnMut()) {
    case();
    black_box(());
}

fn run_case(name: &str) -> ExitCode {
    let (_, prepare) = CASES.iter().find(|(case, _)| *case == name).unwrap();
    let mut case = prepare();
    case();
    counted(&mut *case);
    ExitCode::SUCCESS
}

fn rewriting(size: usize) -> Box<dyn FnMut()> {
    let line = "The quick brown fox jumps over the lazy dog, and nobody knows why it does so.\\n"
        .repeat(50);
    let mut body = String::from(r#"{"model":"gpt-4o","messages":["#);
    while body.len() + 40 < size {
        let text = &line[..line.len().min(size - body.len() - 40)].trim_end_matches('\\');
        let _ = write!(body, r#"{{"role":"user","content":"{text}"}},"#);
    }
    body.push_str(r#"{"role":"user","content":""}]}"#);
    Box::new(move || {
        let model = find_model(black_box(body.as_bytes())).unwrap();
        black_box(splice(body.as_bytes(), &model.span, b"\"other\""));
    })
}

/// A thousand look-ups, so that no accident of the hash table decides.
fn by_name(policies: u32) -> Box<dyn FnMut()> {
    let routes = cases::names(policies);
    let names: Vec<_> = (0..1_000)
        .map(|turn| cases::name(turn * 7919 % policies))
        .collect();
    Box::new(move || {
        for name in &names {
            black_box(routes.find(black_box(name)));
        }
    })
}

fn by_pattern(policies: u32) -> Box<dyn FnMut()> {
    let routes = cases::patterns(policies);
    let names: Vec<_> = (0..policies).map(cases::name).collect();
    Box::new(move || {
        for name in &names {
            black_box(routes.find(black_box(name)));
        }
    })
}

fn choosing(targets: usize) -> Box<dyn FnMut()> {
    let chain = cases::Chain::all_but_the_last_suspended(targets);
    Box::new(move || {
        black_box(black_box(&chain).next());
    })
}

fn compare() -> ExitCode {
    let recorded = std::fs::read_to_string(RECORDED).expect("benches/instructions.txt");
    let recorded: BTreeMap<_, _> = recorded
        .lines()
        .filter_map(|line| line.split_once(": "))
        .collect();
    let same_compiler = recorded.get("compiler") == Some(&&*compiler());
    let mut failed = false;
    for (name, _) in CASES {
        let count = count(name);
        let before: Option<u64> = recorded.get(name).and_then(|count| count.parse().ok());
        let grown = before.is_none_or(|before| count * 100 > before * (100 + TOLERANCE));
        failed |= grown;
        let verdict = if grown { "GROWN" } else { "ok" };
        println!(
            "{name:28} {count:>10}  recorded {:>10}  {verdict}",
            before.unwrap_or(0)
        );
    }
    match (failed, same_compiler) {
        (false, _) => ExitCode::SUCCESS,
        (true, true) => {
            println!(
                "more instructions than recorded: find out why, or record them with -- --write"
            );
            ExitCode::FAILURE
        }
        (true, false) => {
            println!(
                "recorded with another compiler: look at the growth, and record anew with -- --write"
            );
            ExitCode::SUCCESS
        }
    }
}

fn write() -> ExitCode {
    let mut text = format!("compiler: {}\n", compiler());
    for (name, _) in CASES {
        let line = format!("{name}: {}\n", count(name));
        print!("{line}");
        text.push_str(&line);
    }
    std::fs::write(RECORDED, text).unwrap();
    ExitCode::SUCCESS
}

/// The instructions of one case, from callgrind's summary.
fn count(name: &str) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("profile");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=instructions::counted"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe().unwrap())
        .args(["--case", name])
        .output()
        .expect("valgrind is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    total(&profile).unwrap_or_else(|| panic!("{name}: nothing was counted"))
}

fn total(profile: &Path) -> Option<u64> {
    let profile = std::fs::read_to_string(profile).ok()?;
    let line = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))?;
    line.trim().parse().ok().filter(|&count| count > 0)
}

fn compiler() -> String {
    let output = Command::new("rustc")
        .arg("--version")
        .output()
        .expect("rustc");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
