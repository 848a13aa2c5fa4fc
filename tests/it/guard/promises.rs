//! `docs/security.md` names the tests of what it promises: each of them is there.

use std::path::{Path, PathBuf};

/// Where a path of the document is: below `tests/it`, below `src`, or in full.
fn find(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut places = ["tests/it", "src", ""]
        .map(|base| root.join(base).join(path))
        .into_iter();
    places
        .find(|place| place.exists())
        .unwrap_or_else(|| panic!("docs/security.md: no {path}"))
}

#[test]
fn every_promise_names_tests_that_exist() {
    let text = std::fs::read_to_string(find("docs/security.md")).unwrap();
    let mut named = 0;
    // What stands in the file that a table's head names.
    let mut of_table = String::new();
    for row in text.lines().filter_map(|line| line.strip_prefix('|')) {
        let cell = row.trim_end_matches('|').rsplit('|').next().unwrap();
        if cell.trim_start().starts_with("Test") {
            of_table.clear();
        }
        let mut source = of_table.clone();
        for word in cell.split('`').skip(1).step_by(2) {
            if word.contains(['/', '.']) {
                source = std::fs::read_to_string(find(word)).unwrap_or_default();
            } else {
                assert!(source.contains(&format!("fn {word}(")), "no {word}: {row}");
                named += 1;
            }
        }
        if cell.trim_start().starts_with("Test") {
            of_table = source;
        }
    }
    assert!(named > 50, "only {named} names were read");
}
