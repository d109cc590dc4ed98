//! Golden files: what is true today, committed, so that a change of it is reviewed as a diff.
//!
//! `BLESS=1 cargo test -p postern-protocol` writes them anew. The compiler reads the variable, so
//! that this crate goes on reading nothing of its surroundings.

use std::path::Path;

const BLESS: bool = option_env!("BLESS").is_some();

/// Claims that a file beside the sources, named from `src`, says exactly this.
pub(crate) fn assert_golden(file: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    if BLESS {
        return std::fs::write(&path, actual).unwrap_or_else(|error| panic!("writing {file}: {error}"));
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some(difference) = first_difference(&golden, actual) {
        panic!(
            "{file} is no longer true, {difference}\n\
             If it should be: BLESS=1 cargo test -p postern-protocol, and let the diff be reviewed."
        );
    }
}

fn first_difference(golden: &str, actual: &str) -> Option<String> {
    let (mut golden_lines, mut actual_lines) = (golden.split('\n'), actual.split('\n'));
    for number in 1.. {
        match (golden_lines.next(), actual_lines.next()) {
            (None, None) => return None,
            (was, is) if was == is => {}
            (was, is) => {
                let shown =
                    |line: Option<&str>| line.map_or("(nothing)".to_owned(), |line| format!("{line:?}"));
                return Some(format!("line {number}:\n  was {}\n  now {}", shown(was), shown(is)));
            }
        }
    }
    unreachable!("every file ends")
}
