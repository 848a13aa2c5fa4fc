//! Who may use whom: the table in `ARCHITECTURE.md`, held against what `src/` says.
//!
//! The table is read from the document, so the two can't disagree. What counts as use is every
//! path that begins at the crate's root, however it is written: `crate::gateway::…`, in a group
//! (`crate::{gateway, …}`), by as many `super::` as it takes to get there, or in `main.rs`
//! `standin::gateway::…`. A row may allow a part of a module alone: `gateway::suspension`. Comments
//! may name anything.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Names = BTreeSet<String>;

#[test]
fn modules_use_only_what_the_architecture_lets_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = modules(&root.join("src/lib.rs"));
    let table = table(&root.join("ARCHITECTURE.md"), &modules);
    let mut wrong = Vec::new();
    for file in rust_files(&root.join("src")) {
        let place = file.strip_prefix(root.join("src")).unwrap();
        let module = module_path(place);
        let text = without_comments(&fs::read_to_string(&file).unwrap());
        let used = match module.first() {
            None if place == Path::new("main.rs") => begun_by("standin::", &text),
            None => continue, // lib.rs names all modules: it is the crate's map
            Some(_) => used_in_module(&text, module.len()),
        };
        let user = module.first().map_or("main", String::as_str);
        let allowed = &table[user];
        for path in &used {
            let name = path.split("::").next().unwrap_or(path);
            if !modules.contains(name) || name == user {
                continue;
            }
            if !allowed.contains(name) && !allowed.contains(path) {
                wrong.push(format!("src/{}: {user} uses {path}", place.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "not in the table \"Who may use whom\" of ARCHITECTURE.md:\n{}",
        wrong.join("\n")
    );
}

/// The modules that `lib.rs` declares.
fn modules(lib: &Path) -> Names {
    let text = without_comments(&fs::read_to_string(lib).unwrap());
    let declared = |line: &str| {
        let name = line.trim().strip_suffix(';')?.rsplit_once("mod ")?.1;
        Some(name.to_owned())
    };
    let modules: Names = text.lines().filter_map(declared).collect();
    assert!(modules.contains("policy"), "{modules:?}");
    modules
}

/// The rows of the table: each module with those that it may use.
fn table(document: &Path, modules: &Names) -> BTreeMap<String, Names> {
    let text = fs::read_to_string(document).unwrap();
    let (_, section) = text.split_once("## Who may use whom").unwrap();
    let mut table = BTreeMap::new();
    for line in section.lines().skip_while(|line| !line.starts_with("|---")) {
        let Some(row) = line.strip_prefix("| ") else {
            if line.is_empty() {
                break;
            }
            continue;
        };
        let (module, allowed) = row.trim_end_matches(" |").split_once(" | ").unwrap();
        table.insert(module.to_owned(), read_allowed(allowed, modules));
    }
    // The thin one has no row: it parses nothing and knows the command line alone.
    table.insert("main".to_owned(), Names::from(["cli".to_owned()]));
    for module in modules {
        assert!(table.contains_key(module), "{module} has no row");
    }
    table
}

fn read_allowed(text: &str, modules: &Names) -> Names {
    if let Some(but) = text.strip_prefix("everything") {
        let but = but.strip_prefix(" but ").unwrap_or_default();
        return modules
            .iter()
            .filter(|name| *name != but)
            .cloned()
            .collect();
    }
    if text == "nothing of ours" {
        return Names::new();
    }
    text.split(", ").map(str::to_owned).collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// `gateway/judge/mod.rs` is `[gateway, judge]`; the two roots are `[]`.
fn module_path(file: &Path) -> Vec<String> {
    let file = file.with_extension("");
    let mut path: Vec<String> = file
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if matches!(path.last().unwrap().as_str(), "mod" | "lib" | "main") {
        path.pop();
    }
    path
}

fn without_comments(text: &str) -> String {
    let code = |line: &str| match line.find("//") {
        // A URL in a string has no space before its slashes.
        Some(at) if line[..at].trim_end().len() < at || at == 0 => line[..at].to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(|line| code(line) + "\n").collect()
}

/// What a module at `depth` below the root uses of the root's modules.
fn used_in_module(text: &str, depth: usize) -> Names {
    let mut used = begun_by("crate::", text);
    used.extend(begun_by(&"super::".repeat(depth), text));
    used
}

/// The names that follow `prefix` wherever a path begins with it: one, or those of a group.
fn begun_by(prefix: &str, text: &str) -> Names {
    let mut names = Names::new();
    for (at, _) in text.match_indices(prefix) {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|char| char.is_alphanumeric() || "_$".contains(char)) {
            continue;
        }
        let rest = &text[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => names.extend(path(rest)),
            Some(group) => names.extend(group_members(group)),
        }
    }
    names
}

/// The first identifier of each member of a group that has just been opened.
fn group_members(text: &str) -> Names {
    let mut names = Names::new();
    let mut depth = 0;
    let mut begins = true;
    for (at, char) in text.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => return names,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if begins && !char.is_whitespace() => {
                names.extend(path(&text[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    panic!("a group without an end: {text}")
}

/// The first identifier, and the one behind it where a path goes on: `gateway::suspension`.
fn path(text: &str) -> Option<String> {
    let first = identifier(text)?;
    let rest = text[first.len()..].strip_prefix("::");
    Some(match rest.and_then(identifier) {
        Some(second) => format!("{first}::{second}"),
        None => first,
    })
}

fn identifier(text: &str) -> Option<String> {
    let end = text.find(|char: char| !char.is_alphanumeric() && char != '_');
    let name = &text[..end.unwrap_or(text.len())];
    (!name.is_empty()).then(|| name.to_owned())
}

#[test]
fn every_way_to_use_a_module_is_seen() {
    let text = without_comments(
        "//! [`crate::told`]\n\
         use crate::one::Thing; // crate::told\n\
         use crate::{two::{inner, Deep}, three,\n    four::*};\n\
         pub(in crate::five) fn call() { crate::six::call(\"http://crate::seven\") }\n\
         use super::super::eight::Thing;\n\
         macro_rules! m { () => { $crate::told() } }\n\
         use my_crate::told;",
    );
    let used: Vec<_> = used_in_module(&text, 2).into_iter().collect();
    let expected = "eight::Thing five four one::Thing seven six::call three two";
    assert_eq!(used.join(" "), expected);
    assert_eq!(
        used_in_module("use super::eight::Thing;", 2),
        Names::new(),
        "a sibling"
    );
    assert_eq!(
        module_path(Path::new("gateway/judge/mod.rs")).join("::"),
        "gateway::judge"
    );
    assert!(module_path(Path::new("lib.rs")).is_empty());
}
