//! The graph of a crate's modules: which file uses which other one, and whether there are cycles.
//!
//! Parsed from the text. A path that begins with `crate::`, `super::`, `self::` or the name of a child
//! module leads to a file; if that file only re-exports the name, to the file that defines it. Declaring a
//! child (`mod x;`) is not a use. Tests may use everything and are ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The crates that are checked.
pub const LAYERED: [&str; 2] = ["edge/src", "supabase/local/src"];

/// A module's path below the crate's root: `["storage", "cache"]`; empty for the root.
type Module = Vec<String>;

/// Which modules each module uses.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// What was parsed from one file.
#[derive(Default)]
struct Source {
    children: BTreeSet<String>,
    /// Names that the file imports, with their full paths as written.
    imports: BTreeMap<String, Vec<String>>,
    /// All paths in the file, imports included, as written.
    paths: Vec<Vec<String>>,
}

/// The cycles among the files below a crate's `src`, and among its top-level directories; each as `a → b →
/// a`.
pub fn circles(src: &Path) -> Result<Vec<String>> {
    let mut sources = BTreeMap::new();
    read_folder(src, &Vec::new(), &mut sources)?;
    // Files that only tests declare are tests.
    let declared: BTreeSet<Module> = sources
        .iter()
        .flat_map(|(module, source)| children(module, source))
        .collect();
    sources.retain(|module, _| module.is_empty() || declared.contains(module));
    let files = graph(&sources);
    let mut found = circles_of(&files);
    let folders = by_top_folder(&files);
    found.extend(
        circles_of(&folders)
            .into_iter()
            .map(|it| format!("folders: {it}")),
    );
    Ok(found)
}

fn children(module: &Module, source: &Source) -> Vec<Module> {
    let child = |name: &String| module.iter().chain([name]).cloned().collect();
    source.children.iter().map(child).collect()
}

fn read_folder(
    folder: &Path,
    module: &Module,
    sources: &mut BTreeMap<Module, Source>,
) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut child = module.clone();
        if path.is_dir() {
            child.push(name);
            read_folder(&path, &child, sources)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            if !["lib", "main", "mod"].contains(&name.as_str()) {
                child.push(name);
            }
            sources.insert(child, read_source(&fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

fn read_source(text: &str) -> Source {
    let tokens = without_tests(tokens(text));
    let mut source = Source::default();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "mod" if tokens.get(at + 2).is_some_and(|next| next == ";") => {
                source.children.insert(tokens[at + 1].clone());
                at += 3;
            }
            "use" => at = read_use(&tokens, at + 1, &[], &mut source),
            first if is_name(first) => {
                let mut path = vec![first.to_owned()];
                while tokens.get(at + 1).is_some_and(|next| next == "::")
                    && tokens.get(at + 2).is_some_and(|next| is_name(next))
                {
                    path.push(tokens[at + 2].clone());
                    at += 2;
                }
                if path.len() > 1 {
                    source.paths.push(path);
                }
                at += 1;
            }
            // The rest of a path whose beginning is not a name (`<T>::x`) or is part of a macro
            // (`$crate::x`).
            "::" | "$" => at += 2,
            _ => at += 1,
        }
    }
    source
}

/// Parses one tree of a `use`; returns where it ends.
fn read_use(tokens: &[String], mut at: usize, before: &[String], source: &mut Source) -> usize {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|next| next != "}") {
                    at = read_use(tokens, at, &path, source);
                    if tokens.get(at).is_some_and(|next| next == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "as" => {
                let alias = tokens.get(at + 1).cloned().unwrap_or_default();
                source.imports.insert(alias, path.clone());
                source.paths.push(path);
                return at + 2;
            }
            "self" if !path.is_empty() => at += 1,
            name if is_name(name) || name == "*" => {
                path.push(name.to_owned());
                at += 1;
            }
            _ => break,
        }
    }
    if let Some(name) = path.last() {
        source.imports.insert(name.clone(), path.clone());
        source.paths.push(path);
    }
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::` and single characters; comments and literals are skipped.
fn tokens(text: &str) -> Vec<String> {
    let signs: Vec<char> = text.chars().collect();
    let mut tokens: Vec<String> = Vec::new();
    let mut at = 0;
    while let Some(&sign) = signs.get(at) {
        let next = signs.get(at + 1).copied().unwrap_or(' ');
        match sign {
            '/' if next == '/' => at = end_of(&signs, at, |at| signs[at] == '\n'),
            '/' if next == '*' => {
                at = end_of(&signs, at + 2, |at| signs[at..].starts_with(&['*', '/'])) + 2
            }
            'r' | 'b' if starts_raw_text(&signs, at) => {
                let quote = end_of(&signs, at, |at| signs[at] == '"');
                let hashes = signs[at..quote].iter().filter(|sign| **sign == '#').count();
                let close: Vec<char> = std::iter::once('"')
                    .chain(std::iter::repeat_n('#', hashes))
                    .collect();
                at = end_of(&signs, quote + 1, |at| signs[at..].starts_with(&close)) + close.len();
            }
            '"' => at = end_of_text(&signs, at, '"'),
            // A character literal, or else a lifetime, whose name is tokenised as a name.
            '\'' if next == '\\' || signs.get(at + 2) == Some(&'\'') => {
                at = end_of_text(&signs, at, '\'')
            }
            ':' if next == ':' => {
                tokens.push("::".to_owned());
                at += 2;
            }
            _ if sign.is_alphanumeric() || sign == '_' => {
                let end = end_of(&signs, at, |at| {
                    !(signs[at].is_alphanumeric() || signs[at] == '_')
                });
                tokens.push(signs[at..end].iter().collect());
                at = end;
            }
            _ => {
                if !sign.is_whitespace() {
                    tokens.push(sign.to_string());
                }
                at += 1;
            }
        }
    }
    tokens
}

fn end_of(signs: &[char], from: usize, is_end: impl Fn(usize) -> bool) -> usize {
    (from..signs.len())
        .find(|at| is_end(*at))
        .unwrap_or(signs.len())
}

/// The end of a text or character literal that begins here; a backslash escapes the character after it.
fn end_of_text(signs: &[char], from: usize, quote: char) -> usize {
    let mut at = from + 1;
    while at < signs.len() && signs[at] != quote {
        at += if signs[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn starts_raw_text(signs: &[char], at: usize) -> bool {
    let in_name = at > 0 && (signs[at - 1].is_alphanumeric() || signs[at - 1] == '_');
    let mut rest = signs[at..].iter().skip_while(|sign| **sign == 'b');
    !in_name && rest.next() == Some(&'r') && rest.find(|sign| **sign != '#') == Some(&'"')
}

/// Skips the item after `#[cfg(test)]`: it ends with its braces or with a semicolon.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    let mark = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut left = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if !tokens[at..]
            .iter()
            .map(String::as_str)
            .take(mark.len())
            .eq(mark)
        {
            left.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += mark.len();
        let mut depth = 0_usize;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && matches!(token.as_str(), "}" | ";") {
                break;
            }
        }
    }
    left
}

fn graph(sources: &BTreeMap<Module, Source>) -> Graph {
    let mut graph = Graph::new();
    for (module, source) in sources {
        let uses = graph.entry(name_of(module)).or_default();
        for path in &source.paths {
            if let Some(used) = resolve(sources, module, path, 0)
                && used != *module
            {
                uses.insert(name_of(&used));
            }
        }
    }
    graph
}

fn name_of(module: &Module) -> String {
    if module.is_empty() {
        "the root".to_owned()
    } else {
        module.join("::")
    }
}

/// The module in which a path ends; `None` for paths that leave the crate.
fn resolve(
    sources: &BTreeMap<Module, Source>,
    from: &Module,
    path: &[String],
    depth: usize,
) -> Option<Module> {
    let mut module = from.clone();
    let (first, mut rest) = path.split_first()?;
    match first.as_str() {
        "crate" => module.clear(),
        "self" => {}
        "super" => {
            module.pop();
        }
        child if sources.get(from)?.children.contains(child) => rest = path,
        _ => return None,
    }
    while let Some(name) = rest.first() {
        let source = sources.get(&module)?;
        if name == "super" {
            module.pop();
        } else if source.children.contains(name) {
            module.push(name.clone());
        } else {
            // Re-exported from another module; a name that refers to itself would loop forever.
            let import = source.imports.get(name).filter(|_| depth < 8);
            let origin = import.and_then(|import| resolve(sources, &module, import, depth + 1));
            return Some(origin.unwrap_or(module));
        }
        rest = &rest[1..];
    }
    sources.contains_key(&module).then_some(module)
}

/// The same graph with everything below a directory of `src` as one module.
fn by_top_folder(files: &Graph) -> Graph {
    let top = |name: &String| name.split("::").next().unwrap_or(name).to_owned();
    let mut folders = Graph::new();
    for (file, uses) in files {
        let others = uses.iter().map(top).filter(|other| *other != top(file));
        folders.entry(top(file)).or_default().extend(others);
    }
    folders
}

/// One cycle for each group of modules that use each other, the shortest through its first module.
fn circles_of(graph: &Graph) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for start in graph.keys() {
        if seen.contains(start) {
            continue;
        }
        if let Some(circle) = way_back(graph, start) {
            seen.extend(circle.iter().cloned());
            found.push(circle.join(" → "));
        }
    }
    found
}

/// The shortest path from a module back to itself.
fn way_back(graph: &Graph, start: &String) -> Option<Vec<String>> {
    let mut ways = std::collections::VecDeque::from([vec![start.clone()]]);
    let mut reached = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in graph.get(way.last()?).into_iter().flatten() {
            let mut longer = way.clone();
            longer.push(next.clone());
            if next == start {
                return Some(longer);
            }
            if reached.insert(next) {
                ways.push_back(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let sources = files.iter().map(|(name, text)| {
            let module: Module = name
                .split("::")
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect();
            (module, read_source(text))
        });
        let files = graph(&sources.collect());
        let mut circles = circles_of(&files);
        circles.extend(circles_of(&by_top_folder(&files)));
        circles
    }

    #[test]
    fn modules_that_use_each_other_are_named_as_a_circle() {
        let root = ("", "mod a; mod b; mod c;");
        let circle = [
            root,
            ("a", "use crate::b::{self, One as Two};"),
            ("b", "fn f() { crate::c::g(); }"),
            ("c", "use super::a;"),
        ];
        assert_eq!(found(&circle), ["a → b → c → a", "a → b → c → a"]);
        let line = [
            root,
            ("a", "use crate::{b, c::X};"),
            ("b", "use super::c;"),
            ("c", "use std::a;"),
        ];
        assert!(found(&line).is_empty());
    }

    #[test]
    fn folders_are_held_as_their_files_are() {
        let files = [
            ("", "mod high; mod low;"),
            ("high", "pub mod x; pub mod y;"),
            ("low", "pub mod z;"),
            ("high::x", "use crate::low::z::Z;"),
            ("high::y", ""),
            ("low::z", "use crate::high::y::Y;"),
        ];
        assert_eq!(found(&files), ["high → low → high"]);
    }

    #[test]
    fn a_name_in_the_parent_s_file_is_a_use_of_that_file_and_a_re_export_of_its_origin() {
        let own = [
            ("", "mod a;"),
            ("a", "mod x; pub struct A; fn f() { x::g(); }"),
            ("a::x", "use super::A;"),
        ];
        assert_eq!(found(&own), ["a → a::x → a"]);
        let re_export = [
            ("", "mod a;"),
            ("a", "mod x; mod y; pub use x::X;"),
            ("a::x", ""),
            ("a::y", "use super::X;"),
        ];
        assert!(found(&re_export).is_empty());
    }

    #[test]
    fn tests_comments_and_texts_use_nothing() {
        let files = [
            ("", "mod a; mod b;"),
            ("a", "use crate::b::B;"),
            (
                "b",
                "// crate::a\n/* crate::a */ const T: &str = \"crate::a\\\"crate::a\"; const R: &str = r#\"\"crate::a\"#;\n\
                 const Q: char = '\"'; fn f<'a>(_: &'a str) {}\n\
                 #[cfg(test)] mod tests { use crate::a::A; fn f() { crate::a::g(); } }\n\
                 #[cfg(test)]\n#[path = \"x.rs\"] mod more;",
            ),
        ];
        assert!(found(&files).is_empty());
        let after = [
            ("", "mod a; mod b;"),
            ("a", "use crate::b;"),
            ("b", "#[cfg(test)] mod t { } use crate::a;"),
        ];
        assert_eq!(found(&after)[0], "a → b → a");
    }

    #[test]
    fn the_worker_and_the_stand_ins_import_downwards() -> Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for src in LAYERED {
            assert_eq!(circles(&root.join(src))?, [""; 0], "{src}");
        }
        Ok(())
    }
}
