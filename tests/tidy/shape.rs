//! Rules about size: a file argues for its length, and a function is read at one sight.

use crate::source::{Source, is_word};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Files over the limit that are not excused, and excuses that nobody needs.
pub(crate) fn long_files(sources: &[Source], excused: &[(&str, &str)]) -> Vec<String> {
    let long = sources.iter().filter_map(|source| {
        let lines = source.code.lines().count();
        (lines > FILE_LINES_MAX).then(|| (source.path.clone(), lines))
    });
    excuse(long.collect(), excused)
}

/// Functions over the limit that are not excused, and excuses that nobody needs.
pub(crate) fn long_functions(sources: &[Source], excused: &[(&str, &str)]) -> Vec<String> {
    let functions = sources.iter().flat_map(|source| {
        let of_file = functions(&source.code).into_iter();
        of_file.map(|(name, lines)| (format!("{}:{name}", source.path), lines))
    });
    excuse(functions.filter(|(_, lines)| *lines > FUNCTION_LINES_MAX).collect(), excused)
}

fn excuse(long: Vec<(String, usize)>, excused: &[(&str, &str)]) -> Vec<String> {
    let is_excused = |name: &str| excused.iter().any(|(excuse, _)| *excuse == name);
    let is_long = |name: &str| long.iter().any(|(found, _)| found == name);
    let stale = excused.iter().filter(|(name, _)| !is_long(name));
    let stale: Vec<_> =
        stale.map(|(name, _)| format!("{name}: needs its excuse no more")).collect();
    let long = long.iter().filter(|(name, _)| !is_excused(name));
    long.map(|(name, lines)| format!("{name}: {lines} lines")).chain(stale).collect()
}

/// The functions with a body: name, and lines from `fn` to the closing brace.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let name: String = code[at + 3..].chars().take_while(|c| is_word(*c)).collect();
        let begins = !code[..at].chars().next_back().is_some_and(is_word) && !name.is_empty();
        let length = body_end(&code[at..]).filter(|_| begins);
        let lines = length.map(|length| code[at..at + length].matches('\n').count() + 1);
        found.extend(lines.map(|lines| (name, lines)));
    }
    found
}

/// Where the function that begins here ends, or nothing if it is a declaration.
fn body_end(code: &str) -> Option<usize> {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others = others.checked_sub(1)?,
            ';' if braces == 0 && others == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 && others == 0 {
                    return Some(at);
                }
            }
            _ => (),
        }
    }
    None
}

#[test]
fn long_files_are_seen_once_and_stale_excuses_too() {
    let long = Source::new("src/a.rs", &"\n".repeat(FILE_LINES_MAX + 1));
    let short = Source::new("src/b.rs", "\n");
    let sources = [long, short];

    assert_eq!(long_files(&sources, &[]), ["src/a.rs: 601 lines"]);
    assert_eq!(long_files(&sources, &[("src/a.rs", "one table")]), [""; 0]);
    assert_eq!(
        long_files(&sources[1..], &[("src/b.rs", "was long")]),
        ["src/b.rs: needs its excuse no more"]
    );
}

#[test]
fn long_functions_are_seen() {
    let body = "    let a = [0; 3];\n".repeat(FUNCTION_LINES_MAX - 1);
    let text =
        format!("trait T {{\n    fn no(a: [u8; 4]);\n}}\nfn long() {{\n{body}}}\nfn b() {{}}\n");

    let offences = long_functions(&[Source::new("src/a.rs", &text)], &[]);

    assert_eq!(offences, ["src/a.rs:long: 71 lines"]);
}

#[test]
fn functions_are_measured() {
    let text = "pub fn a<F: Fn(u8)>(f: F)\nwhere\n    F: Copy,\n{\n}\nstruct S(fn (u8));\n";

    assert_eq!(functions(text), [("a".to_owned(), 5)]);
}
